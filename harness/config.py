"""The configuration of a run: frozen dataclasses, filled from YAML and checked on load.

Sections stand beside what they configure, the parameters of an arm beside its strategy; this file puts them
together. Defaults are those of `configs/katas.yaml`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from plateau_bench.harness.attempts.settings import AgentConfig
from plateau_bench.harness.learning.settings import ModelConfig, TrainConfig
from plateau_bench.harness.strategies import Strategy, Tempered, find
from plateau_bench.harness.strategies.params import names, plain
from plateau_bench.results.store import SHARED
from plateau_bench.validate import folder_name, read_yaml, validated

TAKEN = ("base", SHARED)
"""Folders of a training seed beside those of its arms."""

Positive = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=5)]
"""0 is greedy."""


class ConfigError(ValueError):
    """The configuration is wrong. The message names the file, the key and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One arm of the experiment: `replace: {strategy: replace}`, and the strategy's parameters."""

    name: str
    """The strategy, as the config calls it."""
    strategy: Strategy = field(compare=False, repr=False)
    params: Any
    """Its parameters, of the class that the strategy names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TasksConfig:
    """Which tasks a run practises on and measures with."""

    suite: str = "katas"
    network: tuple[str, ...] | None = None
    """Hosts for tasks that ask for all of the internet, "*" for every public one. Null refuses such tasks."""
    train: Positive = 200
    """Tasks that the agent practises on; the same ones every round unless `fresh`."""
    fresh: bool = False
    """New train tasks each round, the same in every arm."""
    visible: Positive | None = None
    """Visible tests of each train task, at most: the strictness of the verifier. Null leaves the suite's."""
    held_out: Positive = 200
    """Tasks that only measure. Drawn anew for every seed."""
    selection: Positive = 60
    """Tasks that only pick checkpoints, in arms that do so; neither practised on nor reported."""
    quarantine: str | None = None
    """List of tasks to leave out; null: the one beside the suite, if there is one."""
    variants: tuple[str, ...] = ()
    """Kinds of variants of the held-out tasks to measure beside them: rename, paraphrase, edge, large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PracticeConfig:
    """How the agent attempts train tasks each round."""

    samples: Positive = 4
    temperature: Temperature = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How a checkpoint is measured on held-out tasks each round."""

    samples: Positive = 8
    temperature: Temperature = 0.7
    """The agent's own temperature: the headline pass@1 is what a user would get."""
    drift_samples: Positive = 2
    """Ungraded samples per held-out task at temperature 1, for entropy, KL and n-gram measures."""
    human_text: Positive = 300
    """Held-out human programs for excess cross-entropy and rare-token perplexity."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds:
        raise ValueError("give at least one integer")
    if len(set(seeds)) < len(seeds):
        raise ValueError("each seed may appear once")
    return seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A config as its file has it: what the arms hold depends on their strategies and comes later."""

    name: Annotated[str, AfterValidator(partial(folder_name, what="a run's name"))]
    arms: Mapping[str, Any]
    seeds: Annotated[tuple[int, ...], AfterValidator(_distinct)] = (1,)
    """Training seeds: each repeats everything, from pretraining on, with its own tasks."""
    rounds: Positive = 10
    """Rounds of learning; checkpoint 0 (the base) to checkpoint `rounds` are measured."""
    sandbox: str = "auto"
    device: str = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes, each with one arm of one seed; 0 means one per CPU core (one on a GPU)."""
    threads: Positive = 1
    """CPU threads of each worker. Part of the config because it decides float rounding."""
    tasks: TasksConfig = field(default_factory=TasksConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    practice: PracticeConfig = field(default_factory=PracticeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    improver: Mapping[str, Any] = field(default_factory=lambda: {"name": "finetune"})
    """What makes the next actor, and its parameters: `{name: NAME, ...}`; by default fine-tuning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(Written):
    """A whole experiment: `plateau run configs/katas.yaml`."""

    arms: Mapping[str, Arm]


def load_config(path: Path) -> RunConfig:
    """Read and check a YAML file. Raises ConfigError."""
    try:
        data = read_yaml(path)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return parse_config(data, str(path))


def parse_config(data: Any, source: str) -> RunConfig:
    """Check plain data against RunConfig; `source` names it in errors. Raises ConfigError."""
    try:
        written = validated(Written, data, source)
        arms = {key: _arm(key, given, source) for key, given in written.arms.items()}
        values = {one.name: getattr(written, one.name) for one in dataclasses.fields(Written)}
        config = RunConfig(**values | {"arms": arms})
        _fits_together(config, source)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return config


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The config as plain data: `parse_config(to_plain(c), "") == c`."""
    arms = {key: {"strategy": arm.name} | plain(arm.params) for key, arm in config.arms.items()}
    made = dataclasses.asdict(dataclasses.replace(config, arms={}))
    if config.improver == {"name": "finetune"}:  # runs from before there was a choice stay as they are
        del made["improver"]
    return made | {"seeds": list(config.seeds), "arms": arms}


def _arm(key: str, written: Any, source: str) -> Arm:
    """A known strategy, only parameters that it takes, and values that make sense."""
    where = f"arms.{key}"
    plain = key.isascii() and len(key) <= 100 and key.replace("_", "").replace("-", "").isalnum()
    if not plain or key in TAKEN:
        taken = " and ".join(map(repr, TAKEN))
        raise ValueError(f"{source}: {where}: use letters, digits, '_' and '-'; {taken} are taken")
    given = validated(dict[str, Any], written, source, where)
    if "strategy" not in given:
        raise ValueError(f"{source}: missing key {where}.strategy")
    name = validated(str, given.pop("strategy"), source, f"{where}.strategy")
    try:
        strategy = find(name)
    except ValueError as error:
        raise ValueError(f"{source}: {where}.strategy: {error}".replace("strategies: ", "")) from None
    takes = names(strategy.params)
    if unused := [one for one in given if one not in takes]:
        choices = f"the strategy {name} does not use it; it takes {', '.join(takes) or 'nothing'}"
        raise ValueError(f"{source}: {where}.{unused[0]}: {choices}")
    return Arm(name=name, strategy=strategy, params=validated(strategy.params, given, source, where))


def _fits_together(config: RunConfig, source: str) -> None:
    """What no field can check alone."""

    def require(ok: bool, key: str, message: str) -> None:
        if not ok:
            raise ValueError(f"{source}: {key}: {message}")

    require(bool(config.arms), "arms", "name at least one arm, as 'replace: {strategy: replace}'")
    for key, arm in config.arms.items():
        tried = len(arm.params.temperatures) if isinstance(arm.params, Tempered) else 0
        enough = config.tasks.train > tried
        require(enough, f"arms.{key}.temperatures", "needs more tasks.train than temperatures")
    agent = config.agent
    alone = (agent.name == "cli") == (agent.vendor is not None)
    require(alone, "agent.vendor", "needed with 'name: cli', and only then")
    served = agent.name != "cli" or agent.serve is not None
    require(served, "agent.serve", "a vendor's agent needs a server to ask")
