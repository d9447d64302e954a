"""Which agent: a YAML file, or a short form such as `tool:openai:gpt-5` or `oracle`."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plateau_bench.agents import AGENTS, make_agent
from plateau_bench.agents.base import Agent, Limits
from plateau_bench.agents.models import require_torch
from plateau_bench.agents.models.prices import Price
from plateau_bench.harness.attempts.rollout import Plan
from plateau_bench.harness.evals.controls import Nop, Oracle, Replay
from plateau_bench.harness.evals.predicted import Predictions, read_predictions
from plateau_bench.plugins import names
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.tasks.loading import located
from plateau_bench.validate import as_folder_name, folder_name, read_yaml, validated

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from plateau_bench.agents.models.endpoint import Budget
    from plateau_bench.agents.vendors.agent import Vendor

CONTROLS = ("oracle", "nop")
LIMITS = Limits(completion_tokens=4096, steps=50)
"""Where an agent's file says nothing else."""
LOCAL_TEMPERATURE = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentSpec:
    """One agent of an evaluation."""

    name: str
    kind: str
    """oneshot, tool, cli, oracle (the suite's solutions), nop (does nothing), replay, predictions; or an
    agent from outside: the name of an installed one, package.module.Class, or file.py:Class."""
    vendor: str | None = None
    """Kind cli: a shipped description (mini-swe-agent, claude-code, ...) or a YAML file of one's own."""
    vendor_digest: str | None = None
    """Digest of the description when the evaluation began; filled in."""
    model: str | None = None
    """A checkpoint folder, or a name of LangChain's such as 'openai:gpt-5'."""
    base_url: str | None = None
    """For a server of one's own that speaks OpenAI's protocol; `model` is then 'openai:NAME'."""
    api_key_env: str | None = None
    """Environment variable with the key; null: the provider's usual one."""
    attempts: str | None = None
    """Kind replay: a file of attempts at the same tasks; predictions: SWE-bench's file of patches."""
    temperature: float | None = None
    """Null: what the endpoint takes by itself; weights in this process are sampled at LOCAL_TEMPERATURE."""
    timeout_s: float = 300.0
    """Time of one call of an endpoint."""
    price: Price | None = None
    limits: Limits = LIMITS

    @property
    def heat(self) -> float | None:
        """The temperature that is asked for, None if none is."""
        if self.temperature is None and self.is_local:
            return LOCAL_TEMPERATURE
        return self.temperature

    @property
    def is_local(self) -> bool:
        """Whether weights are run in this process."""
        if self.model is None or Path(self.model).exists():
            return self.model is not None
        provider, colon, _ = self.model.partition(":")
        return not colon or "/" in provider  # a folder with a time of day in its name


def read_agent(text: str) -> AgentSpec:
    """The agent of a YAML file, or of a short form: 'oracle', 'nop', 'replay:FILE', 'predictions:FILE',
    'KIND:MODEL' or 'VENDOR:MODEL'.

    Paths in it become absolute. Raises ValueError naming the file and the key.
    """
    spec = _read(text)
    _sensible(spec, text)
    kind = located(spec.kind) if ".py:" in spec.kind else spec.kind
    vendor = _absolute(spec.vendor) if str(spec.vendor).endswith((".yaml", ".yml")) else spec.vendor
    return replace(
        spec, kind=kind, vendor=vendor, model=_absolute(spec.model), attempts=_absolute(spec.attempts)
    )


def _absolute(name: str | None) -> str | None:
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def _sensible(spec: AgentSpec, where: str) -> None:
    """Every number of an agent has bounds, and its name is that of a folder."""
    folder_name(spec.name, f"{where}: name")
    numbers: dict[str, Any] = {"temperature": spec.temperature, "timeout_s": spec.timeout_s}
    numbers |= {f"limits.{key}": value for key, value in asdict(spec.limits).items()}
    numbers |= {f"price.{key}": value for key, value in asdict(spec.price).items()} if spec.price else {}
    for key, value in numbers.items():
        counted = key.startswith("limits.") and key != "limits.cost_usd" and not key.endswith("_s")
        least = 1 if counted and key != "limits.seconds" else 0
        if isinstance(value, int | float) and not least <= value < math.inf:
            raise ValueError(f"{where}: {key}: must be a number of at least {least}, not {value}")
        if key in ("timeout_s", "limits.seconds", "limits.command_s") and value == 0:
            raise ValueError(f"{where}: {key}: must be above 0")


def _read(text: str) -> AgentSpec:
    if text.endswith((".yaml", ".yml")):
        data = read_yaml(Path(text))
        if isinstance(data, Mapping):
            data = {"name": Path(text).stem, **data}
            if isinstance(data.get("limits"), Mapping):
                data["limits"] = asdict(LIMITS) | data["limits"]
        return _with_vendor(validated(AgentSpec, data, text), text)
    kind, _, model = text.partition(":")
    if kind.endswith(".py"):  # file.py:Class:MODEL
        name, _, model = model.partition(":")
        kind = f"{kind}:{name}"
    if kind in CONTROLS and not model:
        return AgentSpec(name=kind, kind=kind)
    where = f"--agent {text}"
    if not model:
        raise ValueError(
            f"{where}: expected a YAML file, oracle, nop, replay:FILE, KIND:MODEL or VENDOR:MODEL"
        )
    if kind == "replay":
        name = as_folder_name(f"replay-{Path(model).absolute().parent.name}")
        return AgentSpec(name=name, kind=kind, attempts=model)
    if kind == "predictions":
        name = as_folder_name(read_predictions(Path(model)).model.replace("/", "__"))
        return AgentSpec(name=name, kind=kind, attempts=model)
    name = as_folder_name(text.replace("/", "-").replace(":", "-").strip("-"))
    if kind in names("agents", AGENTS) or ("." in kind and not kind.endswith((".yaml", ".yml"))):
        return _with_vendor(AgentSpec(name=name, kind=kind, model=model), where)
    return _with_vendor(AgentSpec(name=name, kind="cli", vendor=kind, model=model), where)


def _with_vendor(spec: AgentSpec, where: str) -> AgentSpec:
    """A description is read at once: its mistakes come first, and it must not change on the way."""
    if spec.kind != "cli":
        return spec
    if spec.vendor is None:
        raise ValueError(f"{where}: vendor: an agent of kind cli needs one, as 'mini-swe-agent'")
    try:
        return replace(spec, vendor_digest=_vendor(spec.vendor).digest)
    except ValueError as error:
        raise ValueError(f"{where}: vendor: {error}") from None


def _vendor(name: str) -> "Vendor":
    from plateau_bench.agents.vendors.agent import read_vendor

    return read_vendor(name)


def open_agent(spec: AgentSpec, plan: Plan, budget: "Budget | None") -> Agent:
    """The agent, ready to make the attempts of `plan`.

    Raises ValueError naming what is wrong with the model, the key or the file that is replayed.
    """
    if spec.kind == "oracle":
        return Oracle(plan.tasks)
    if spec.kind == "nop":
        return Nop(plan.tasks)
    if spec.kind == "replay" and spec.attempts:
        return Replay(plan, read_attempts(Path(spec.attempts)))
    if spec.kind == "predictions" and spec.attempts:
        return Predictions(plan.tasks, read_predictions(Path(spec.attempts)))
    if spec.kind in ("replay", "predictions"):
        raise ValueError(f"{spec.name}: attempts: an agent of kind {spec.kind} needs a file")
    options: dict[str, Any] = {"limits": spec.limits, "temperature": spec.heat}
    if spec.kind == "cli" and spec.vendor:
        options["vendor"] = replace(_vendor(spec.vendor), name=spec.name)
    return make_agent(spec.kind, open_model(spec, budget), **options)


def require_prices(specs: Iterable[AgentSpec], max_usd: float | None) -> None:
    """Raise ValueError if a budget in US dollars could not be held for lack of an agent's price."""
    for spec in specs:
        asks = spec.model is not None and not spec.is_local
        if max_usd is not None and asks and spec.price is None:
            raise ValueError(f"--max-usd needs a price for agent {spec.name!r}")


def open_model(spec: AgentSpec, budget: "Budget | None") -> "BaseChatModel":
    """The model that an agent asks. Raises ValueError naming what is wrong with it, or with its key."""
    name = spec.model
    if name is None:
        raise ValueError(f"{spec.name}: model: an agent of kind {spec.kind} needs one")
    if spec.is_local:
        require_torch(f"{spec.name}: model: {spec.model!r}")
        from plateau_bench.agents.models.local import LocalChatModel

        try:
            return LocalChatModel.load(name, name_or_path=name)
        except ValueError as error:
            raise ValueError(f"{spec.name}: model: {error}") from None
    from plateau_bench.agents.models.endpoint import Budget, open_endpoint

    key = None
    if spec.api_key_env is not None:
        key = os.environ.get(spec.api_key_env)
        if not key:
            raise ValueError(f"{spec.name}: api_key_env: {spec.api_key_env} is not set; export it first")
    return open_endpoint(
        name,
        base_url=spec.base_url,
        api_key=key,
        price=spec.price,
        timeout_s=spec.timeout_s,
        budget=budget or Budget(),
    )
