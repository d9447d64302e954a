"""The configuration of a run: frozen dataclasses, filled from YAML and checked on load.

An unknown key is an error that names its nearest neighbours; a value of the wrong type is an error that
names the file and the key. Defaults are those of `configs/katas.yaml`.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """The configuration is wrong. The message names the file, the key and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmConfig:
    """One arm of the experiment: a strategy and its parameters."""

    strategy: str
    fraction: float = 0.25
    """Share of each round's examples that people wrote, from 0 to below 1."""
    verified: bool = True
    """Only human programs that pass their tests."""
    cap: int = 4
    """Most successes per task."""
    share: float = 0.5
    """Share of the successes that is kept, above 0."""
    successes: int = 1
    """Most successes of a hard task in one round."""
    temperatures: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2)
    """Practice temperatures to choose from."""
    lam: float = 0.5
    """Share of the new weights in the mix with the base's."""
    gamma: float = 0.9
    """Probability above which a token carries no loss."""
    p: float = 0.1
    """Chance of each input token to be swapped."""
    fp: float = 0.1
    """Share of wrong programs that the verifier accepts."""
    verifications: int = 20
    """Verdicts that are bought from people each round."""
    tolerance: float = 0.0
    """How much lower the pass rate on the selection split may be."""
    patience: int = 2
    """Rounds without gain before the best checkpoint goes on."""
    temperature: float | None = None
    """Of practice from round 1 on, in place of `practice.temperature`; round 0 is shared by all arms."""
    tampered: bool = False
    """Ablation: also learn from attempts in which tampering with the grading was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TasksConfig:
    suite: str = "katas"
    network: tuple[str, ...] | None = None
    """Hosts for tasks that ask for all of the internet, "*" for every public one. Null refuses such tasks."""
    train: int = 200
    """Tasks that the agent practises on; the same ones every round unless `fresh`."""
    fresh: bool = False
    """New train tasks each round, the same in every arm."""
    visible: int | None = None
    """Visible tests of each train task, at most: the strictness of the verifier. Null leaves the suite's."""
    held_out: int = 200
    """Tasks that only measure. Drawn anew for every seed."""
    selection: int = 60
    """Tasks that only pick checkpoints, in arms that do so; neither practised on nor reported."""
    quarantine: str | None = None
    """List of tasks to leave out; null: the one beside the suite, if there is one."""
    variants: tuple[str, ...] = ()
    """Kinds of variants of the held-out tasks to measure beside them: rename, paraphrase, edge, large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """The small base model that is made on the spot when `model.path` is not given."""

    corpus: int = 40_000
    """Generated stand-ins for human (instruction, program) pairs."""
    vocab: int = 768
    hidden: int = 96
    layers: int = 3
    heads: int = 3
    ffn: int = 256
    epochs: float = 1.1
    learning_rate: float = 4e-3
    batch_tokens: int = 2048
    # Left out of repr, so that checkpoints that were cached before these came keep their names.
    context: int = field(default=512, repr=False)
    """Positions of the model: the longest conversation, in tokens."""
    observed: float = field(default=0.0, repr=False)
    """Share of the corpus whose prompts and tool results carry loss too."""
    short_first: float = field(default=0.0, repr=False)
    """Share of pretraining, at its start, that sees only the shortest third of the corpus."""
    init_std: float = field(default=0.02, repr=False)
    """Standard deviation of the fresh weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    path: str | None = None
    """Checkpoint folder or hub id; null pretrains a small model from the suite's human corpus."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    name: str = "oneshot"
    """oneshot, tool, cli (a vendor's command line), or a dotted class."""
    vendor: str | None = None
    """Of cli: a shipped description, such as mini-swe-agent, or a YAML file."""
    serve: str | None = None
    """Ask each checkpoint through a server on it: vllm, sglang, transformers, or a command with {model} and
    {port}. Null samples from the weights in this process."""
    completion_tokens: int = 80
    """Longest completion, in tokens."""
    steps: int | None = None
    """Model calls of one attempt; null: no limit."""
    tokens: int | None = None
    """Tokens of one attempt, read and written, every call counted; null: no limit."""
    command_s: float = 60.0
    """Time limit of one command in an agent's box."""
    boxes: int = 16
    """Attempts with a box of their own that run at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PracticeConfig:
    """How the agent attempts train tasks each round."""

    samples: int = 4
    temperature: float = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How a checkpoint is measured on held-out tasks each round."""

    samples: int = 8
    temperature: float = 0.7
    """The agent's own temperature: the headline pass@1 is what a user would get."""
    drift_samples: int = 2
    """Ungraded samples per held-out task at temperature 1, for entropy, KL and n-gram measures."""
    human_text: int = 300
    """Held-out human programs for excess cross-entropy and rare-token perplexity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Supervised fine-tuning of one round."""

    examples: int = 800
    """At most this many examples a round, in every arm but accumulate."""
    epochs: int = 3
    learning_rate: float = 7e-4
    batch_tokens: int = 1024
    """Padded tokens in one optimizer step."""
    lora_rank: int = 0
    """0 trains all weights; above 0 trains LoRA matrices of this rank and merges them."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A whole experiment: `plateau run configs/katas.yaml`."""

    name: str
    arms: Mapping[str, ArmConfig]
    seeds: tuple[int, ...] = (1,)
    """Training seeds: each repeats everything, from pretraining on, with its own tasks."""
    rounds: int = 10
    """Rounds of learning; checkpoint 0 (the base) to checkpoint `rounds` are measured."""
    sandbox: str = "auto"
    device: str = "auto"
    workers: int = 0
    """Processes, each with one arm of one seed; 0 means one per CPU core (one on a GPU)."""
    threads: int = 1
    """CPU threads of each worker. Part of the config because it decides float rounding."""
    tasks: TasksConfig = field(default_factory=TasksConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    practice: PracticeConfig = field(default_factory=PracticeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def load_config(path: Path) -> RunConfig:
    """Read and check a YAML file. Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return parse_config(data, str(path))


def parse_config(data: Any, source: str) -> RunConfig:
    """Check plain data against RunConfig; `source` names it in errors. Raises ConfigError."""
    config: RunConfig = _build(RunConfig, data, source, "")
    given = {str(name): keys for name, keys in data["arms"].items()}
    for name, arm in config.arms.items():
        _check_arm(f"{source}: arms.{name}", name, arm, given[name])
    _check_values(config, source)
    return config


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The config as plain data: `parse_config(to_plain(c), "") == c`."""
    arms = {name: _plain_arm(arm) for name, arm in config.arms.items()}
    return dataclasses.asdict(config) | {"seeds": list(config.seeds), "arms": arms}


def _plain_arm(arm: ArmConfig) -> dict[str, Any]:
    """The strategy and the parameters that it takes."""
    from plateau_bench.harness.strategies import STRATEGIES

    values = {key: getattr(arm, key) for key in STRATEGIES[arm.strategy].parameters}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {"strategy": arm.strategy} | plain


def _check_arm(where: str, name: str, arm: ArmConfig, given: Mapping[str, Any]) -> None:
    """A known strategy, only parameters that it takes, and values that make sense."""
    from plateau_bench.harness.strategies import STRATEGIES

    def require(ok: bool, key: str, message: str) -> None:
        if not ok:
            raise ConfigError(f"{where}{key and '.'}{key}: {message}")

    usable = name.replace("_", "").replace("-", "").isalnum() and name not in ("base", "shared")
    require(usable, "", "use letters, digits, '_' and '-'; 'base' and 'shared' are taken")
    known = arm.strategy in STRATEGIES
    require(known, "strategy", f"unknown strategy {arm.strategy!r}{_near(arm.strategy, STRATEGIES)}")
    takes = STRATEGIES[arm.strategy].parameters
    for key in given:
        unused = f"the strategy {arm.strategy} does not use it; it takes {', '.join(takes) or 'nothing'}"
        require(key == "strategy" or key in takes, key, unused)
    require(0 <= arm.fraction < 1, "fraction", "a share from 0 to below 1")
    require(0 < arm.share <= 1, "share", "a share above 0, at most 1")
    for key in ("lam", "p", "fp", "tolerance"):
        require(0 <= getattr(arm, key) <= 1, key, "from 0 to 1")
    require(0 < arm.gamma <= 1, "gamma", "above 0, at most 1")
    for key in ("cap", "successes", "patience"):
        require(getattr(arm, key) >= 1, key, "at least 1")
    require(arm.verifications >= 0, "verifications", "0 or more")
    distinct = len(set(arm.temperatures)) == len(arm.temperatures) >= 1
    in_range = all(0 < temperature <= 5 for temperature in arm.temperatures)
    own = arm.temperature
    require(own is None or 0 < own <= 5, "temperature", "above 0 and up to 5")
    require(distinct and in_range, "temperatures", "different ones, each above 0 and up to 5")


def _check_values(config: RunConfig, source: str) -> None:
    def require(ok: bool, key: str, message: str) -> None:
        if not ok:
            raise ConfigError(f"{source}: {key}: {message}")

    require(bool(config.arms), "arms", "name at least one arm, as 'replace: {strategy: replace}'")
    require(bool(config.seeds), "seeds", "give at least one integer")
    require(len(set(config.seeds)) == len(config.seeds), "seeds", "each seed may appear once")
    require(config.rounds >= 1, "rounds", "at least 1")
    require(config.workers >= 0, "workers", "0 (one per core) or more")
    require(config.threads >= 1, "threads", "at least 1")
    for name, arm in config.arms.items():
        from plateau_bench.harness.strategies import STRATEGIES

        tries = STRATEGIES[arm.strategy].balance is not None
        enough = config.tasks.train > len(arm.temperatures)
        require(enough or not tries, f"arms.{name}.temperatures", "needs more tasks.train than temperatures")
    cli = config.agent.name == "cli"
    require(
        cli == (config.agent.vendor is not None), "agent.vendor", "needed with 'name: cli', and only then"
    )
    require(
        not cli or config.agent.serve is not None, "agent.serve", "a vendor's agent needs a server to ask"
    )
    for key, value in {
        "tasks.train": config.tasks.train,
        "tasks.visible": 1 if config.tasks.visible is None else config.tasks.visible,
        "tasks.held_out": config.tasks.held_out,
        "tasks.selection": config.tasks.selection,
        "practice.samples": config.practice.samples,
        "evaluate.samples": config.evaluate.samples,
        "evaluate.drift_samples": config.evaluate.drift_samples,
        "evaluate.human_text": config.evaluate.human_text,
        "agent.completion_tokens": config.agent.completion_tokens,
        "agent.steps": config.agent.steps or 1,
        "agent.boxes": config.agent.boxes,
        "train.examples": config.train.examples,
        "train.epochs": config.train.epochs,
        "train.batch_tokens": config.train.batch_tokens,
        "model.pretrain.context": config.model.pretrain.context,
        "model.pretrain.batch_tokens": config.model.pretrain.batch_tokens,
    }.items():
        require(value >= 1, key, "at least 1")
    for key, rate in {
        "train.learning_rate": config.train.learning_rate,
        "model.pretrain.learning_rate": config.model.pretrain.learning_rate,
        "model.pretrain.epochs": config.model.pretrain.epochs,
        "model.pretrain.init_std": config.model.pretrain.init_std,
    }.items():
        require(rate > 0, key, "above 0")
    for key, share in {
        "model.pretrain.observed": config.model.pretrain.observed,
        "model.pretrain.short_first": config.model.pretrain.short_first,
    }.items():
        require(0 <= share <= 1, key, "a share from 0 to 1")
    for key, temperature in {
        "practice.temperature": config.practice.temperature,
        "evaluate.temperature": config.evaluate.temperature,
    }.items():
        require(0 <= temperature <= 5, key, "from 0 (greedy) to 5")


def build(cls: type, data: Any, source: str) -> Any:
    """Fill a dataclass from plain data; `source` names the file in errors. Raises ConfigError."""
    return _build(cls, data, source, "")


def _build(cls: type, data: Any, source: str, prefix: str, default: Any = None) -> Any:
    """Fill the dataclass `cls` from a mapping, recursively; keys left out are those of `default`."""
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"{source}: {prefix.rstrip('.') or 'the file'}: expected keys and values, got {_kind(data)}"
        )
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            raise ConfigError(f"{source}: unknown key {prefix}{key}{_near(str(key), hints)}")
    made = {}
    for one in dataclasses.fields(cls):
        factory, key = one.default_factory, f"{prefix}{one.name}"
        own = factory() if factory is not dataclasses.MISSING else None
        if one.name in data:
            made[one.name] = _value(hints[one.name], data[one.name], source, key, own)
        elif default is None and own is None and one.default is dataclasses.MISSING:
            raise ConfigError(f"{source}: missing key {key}")
    return cls(**made) if default is None else dataclasses.replace(default, **made)


def _value(hint: Any, value: Any, source: str, key: str, default: Any = None) -> Any:
    """Check one value against its annotation; ints are accepted where floats are asked for."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, source, f"{key}.", default)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
        return _value(hint, value, source, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{source}: {key}: expected a list, got {_kind(value)}")
        return tuple(
            _value(typing.get_args(hint)[0], item, source, f"{key}[{i}]") for i, item in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {key}: expected keys and values, got {_kind(value)}")
        inner = typing.get_args(hint)[1]
        return {str(name): _value(inner, item, source, f"{key}.{name}") for name, item in value.items()}
    if hint is float and type(value) in (int, str):
        try:  # YAML reads 1e-3 (no dot) as a string
            return float(value)
        except ValueError:
            pass
    if type(value) is not hint:
        raise ConfigError(f"{source}: {key}: expected {hint.__name__}, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def _near(word: str, choices: typing.Iterable[str]) -> str:
    """'; did you mean a, b? (choices: ...)' for error messages."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{hint} (choices: {', '.join(choices)})"
