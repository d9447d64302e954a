"""What a run's config can be told before anything is made: an own base model, and what training needs."""

import shlex
import shutil
import sys
from importlib.util import find_spec

from plateau_bench.agents.models import require_torch
from plateau_bench.agents.models.loading import read_tokenizer
from plateau_bench.agents.models.template import template_of
from plateau_bench.harness.attempts.settings import AgentConfig
from plateau_bench.harness.learning.settings import ModelConfig, TrainConfig


def check_training(model: ModelConfig, train: TrainConfig, agent: AgentConfig) -> None:
    """Raise ValueError or ModelUnavailable for what would stop a run after an hour.

    A base that is not there or cannot be talked to by this agent, LoRA without peft, a server that is not
    installed.
    """
    if train.lora_rank and find_spec("peft") is None:
        raise ValueError("train.lora_rank needs the package peft: pip install 'plateau-bench[lora]'")
    if agent.serve in ("vllm", "sglang") and shutil.which(agent.serve) is None:
        raise ValueError(f"agent.serve: {agent.serve} is not on the path; install it, or serve otherwise")
    if agent.serve and " " in agent.serve:
        program = shlex.split(agent.serve)[0].format(python=sys.executable)
        if shutil.which(program) is None:
            raise ValueError(f"agent.serve: {program}: no such program")
    if model.path is None:
        return
    require_torch(f"model.path: {model.path!r}")
    try:
        tokenizer = read_tokenizer(model.path)
    except ValueError as error:
        raise ValueError(f"model.path: {error}") from None
    template = template_of(tokenizer)
    if agent.name == "tool" and not getattr(tokenizer, "response_template", None):
        from plateau_bench.agents.tool import tool_schemas

        template.require_tools(tool_schemas())
