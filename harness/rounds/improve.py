"""What changes between rounds: by default the weights, by fine-tuning.

An improver makes the next actor out of what the last one did. A round knows the protocol alone, so that a
memory document or an agent's own scaffold can be improved by the same loop and judged by the same measures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from plateau_bench.harness.attempts.actors import Actor, Checkpoint
from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.config import Arm, RunConfig
from plateau_bench.harness.learning.dataset import TrainingSet
from plateau_bench.harness.learning.settings import TrainConfig
from plateau_bench.harness.strategies.lessons import Lesson
from plateau_bench.plugins import load
from plateau_bench.validate import validated


@dataclass(frozen=True, kw_only=True, slots=True)
class Practised:
    """One attempt as an improver sees it: nothing of hidden tests or solutions."""

    task_id: str
    instruction: str
    answer: str
    accepted: bool
    """By the visible tests."""
    chosen: int
    """How often the strategy's choice holds it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What an improver learns from after one round."""

    attempts: Sequence[Practised]
    examples: TrainingSet
    """The strategy's choice as token ids; without tokens for actors without weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where an improver works: one arm of one training seed, or what its arms share."""

    root: Path
    """The run folder; an actor's name may be a path below it."""
    base: str
    """The name of the actor of round 0: `model.path`, or the checkpoint that was pretrained."""
    models: Models
    train: TrainConfig
    arm: Arm | None
    """None in round 0, which all arms share and in which nothing is improved."""


class Improver(Protocol):
    """Opens actors and makes new ones.

    A class called `NAME(params, setting)`, where `params` is an object of its dataclass `NAME.Params`,
    filled from the section `improver` of the config.
    """

    def open(self, name: str) -> Actor:
        """The actor called `name`: the base, or a folder that `improve` made."""

    def improve(self, start: str, seen: Seen, folder: Path, *, seed: int, progress: Progress) -> None:
        """Learn from `seen`, starting at the actor `start`; `folder` appears whole when done."""


class FineTune:
    """Improver of weights: actors are Hugging Face checkpoints, and the strategy says how they learn."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Params:
        """No parameters: the section `train` says how to fine-tune, and the arm's strategy."""

    def __init__(self, params: Params, setting: Setting) -> None:
        self._setting = setting

    def open(self, name: str) -> Checkpoint:
        return Checkpoint(name, self._setting.models)

    def improve(self, start: str, seen: Seen, folder: Path, *, seed: int, progress: Progress) -> None:
        from plateau_bench.agents.models.checkpoint import save

        setting, arm = self._setting, self._setting.arm
        assert arm is not None
        model, tokenizer = setting.models.fresh(start)
        lesson = Lesson(
            model=model,
            base=lambda: setting.models.fresh(setting.base)[0],
            pad_id=tokenizer.pad_token_id,
            config=setting.train,
            seed=seed,
            progress=lambda done, total: progress("training", done, total),
        )
        save(arm.strategy.learn(lesson, seen.examples.examples, arm.params), tokenizer, folder)


IMPROVERS = {"finetune": FineTune}


def improver_of(config: RunConfig) -> Callable[[Setting], Improver]:
    """The improver that the config names, to be told where it works.

    Raises ValueError if there is none of this name or its parameters are wrong.
    """
    params = dict(config.improver)
    name = validated(str, params.pop("name", "finetune"), "improver", "name")
    kind: Any = load("improvers", name, IMPROVERS)
    if not hasattr(kind, "Params") or not hasattr(kind, "improve"):
        raise ValueError(f"improver.name: {name!r} is no improver; it needs Params, open and improve")
    settings = validated(kind.Params, params, "improver")
    return lambda setting: kind(settings, setting)
