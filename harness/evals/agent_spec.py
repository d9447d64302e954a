"""Which agent: a YAML file, or a short form such as `tool:openai:gpt-5` or `oracle`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plateau_bench.agents import AGENTS, make_agent
from plateau_bench.agents.base import Agent, Limits, Trajectory
from plateau_bench.agents.models.prices import Price
from plateau_bench.harness.config import ConfigError
from plateau_bench.harness.evals.controls import Nop, Oracle, Replay
from plateau_bench.tasks.base import Task
from plateau_bench.validate import read_yaml, validated

CONTROLS = ("oracle", "nop")
LIMITS = Limits(completion_tokens=4096, steps=50)
"""What one attempt may spend unless the file says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentSpec:
    """One agent of an evaluation."""

    name: str
    kind: str
    """oneshot, tool, cli, oracle (the suite's solutions), nop (does nothing), replay, or a dotted class."""
    vendor: str | None = None
    """Kind cli: a shipped description (mini-swe-agent, claude-code, ...) or a YAML file of one's own."""
    vendor_digest: str | None = None
    """Of what the description said when the evaluation began; filled in."""
    model: str | None = None
    """A checkpoint folder, or a name of LangChain's such as 'openai:gpt-5'."""
    base_url: str | None = None
    """For a server of one's own that speaks OpenAI's protocol; `model` is then 'openai:NAME'."""
    api_key_env: str | None = None
    """Environment variable with the key; null: the provider's usual one."""
    attempts: str | None = None
    """Kind replay: the attempts file of an earlier evaluation; predictions: SWE-bench's file of patches."""
    temperature: float = 0.7
    timeout_s: float = 300.0
    """Of one call of an endpoint."""
    price: Price | None = None
    limits: Limits = LIMITS

    @property
    def is_local(self) -> bool:
        """Whether weights are run in this process."""
        return self.model is not None and (Path(self.model).exists() or ":" not in self.model)


def read_agent(text: str) -> AgentSpec:
    """A YAML file, 'oracle', 'nop', 'replay:FILE', 'KIND:MODEL' or 'VENDOR:MODEL'. Raises ConfigError."""
    if text.endswith((".yaml", ".yml")):
        try:
            data = read_yaml(Path(text))
            if isinstance(data, Mapping):
                data = {"name": Path(text).stem, **data}
                if isinstance(data.get("limits"), Mapping):  # what is not said stays
                    data["limits"] = {**asdict(LIMITS), **data["limits"]}
            return _with_vendor(validated(AgentSpec, data, text), text)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    kind, _, model = text.partition(":")
    if kind in CONTROLS and not model:
        return AgentSpec(name=kind, kind=kind)
    if kind == "replay" and model:
        return AgentSpec(name=f"replay-{Path(model).parent.name}", kind=kind, attempts=model)
    if kind == "predictions" and model:
        from plateau_bench.harness.evals.predicted import read_predictions

        name = read_predictions(Path(model)).model.replace("/", "__")
        return AgentSpec(name=name, kind=kind, attempts=model)
    if not model:
        raise ConfigError(
            f"--agent {text}: expected a YAML file, oracle, nop, replay:FILE, KIND:MODEL or VENDOR:MODEL"
        )
    name = text.replace("/", "-").replace(":", "-").strip("-")
    if kind in AGENTS or "." in kind and not kind.endswith((".yaml", ".yml")):
        return _with_vendor(AgentSpec(name=name, kind=kind, model=model), f"--agent {text}")
    return _with_vendor(AgentSpec(name=name, kind="cli", vendor=kind, model=model), f"--agent {text}")


def _with_vendor(spec: AgentSpec, where: str) -> AgentSpec:
    """A description is read at once: its mistakes come first, and it must not change on the way."""
    if spec.kind != "cli":
        return spec
    from plateau_bench.agents.vendors.agent import read_vendor

    if spec.vendor is None:
        raise ConfigError(f"{where}: vendor: an agent of kind cli needs one, as 'mini-swe-agent'")
    try:
        return replace(spec, vendor_digest=read_vendor(spec.vendor).digest)
    except ValueError as error:
        raise ConfigError(f"{where}: vendor: {error}") from None


def open_agent(spec: AgentSpec, tasks: Sequence[Task], earlier: Sequence[Trajectory], budget: Any) -> Agent:
    """The agent, ready to solve `tasks`; `earlier` are the trajectories that a replay repeats.

    Raises ValueError naming what is wrong with the model or the key.
    """
    if spec.kind == "oracle":
        return Oracle(tasks)
    if spec.kind == "nop":
        return Nop(boxed=Oracle(tasks).needs_box)
    if spec.kind == "replay":
        return Replay(earlier)
    if spec.kind == "predictions" and spec.attempts:
        from plateau_bench.harness.evals.predicted import Predictions, read_predictions

        return Predictions(tasks, read_predictions(Path(spec.attempts)))
    if spec.model is None:
        raise ConfigError(f"{spec.name}: model: an agent of kind {spec.kind} needs one")
    options: dict[str, Any] = {"limits": spec.limits, "temperature": spec.temperature}
    if spec.kind == "cli":
        from plateau_bench.agents.vendors.agent import read_vendor

        assert spec.vendor is not None
        options["vendor"] = replace(read_vendor(spec.vendor), name=spec.name)
    return make_agent(spec.kind, _model(spec, budget), **options)


def _model(spec: AgentSpec, budget: Any) -> Any:
    assert spec.model is not None
    if spec.is_local:
        from plateau_bench.agents.models.local import LocalChatModel

        try:
            return LocalChatModel.load(spec.model, name_or_path=spec.model)
        except (OSError, KeyError) as error:
            raise ConfigError(f"{spec.name}: model: {spec.model!r} cannot be loaded: {error}") from None
    from plateau_bench.agents.models.endpoint import open_endpoint

    key = None
    if spec.api_key_env is not None:
        key = os.environ.get(spec.api_key_env)
        if not key:
            raise ConfigError(f"{spec.name}: api_key_env: {spec.api_key_env} is not set; export it first")
    return open_endpoint(
        spec.model,
        base_url=spec.base_url,
        api_key=key,
        price=spec.price,
        timeout_s=spec.timeout_s,
        budget=budget,
    )
