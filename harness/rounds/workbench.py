"""What stays the same over all rounds of one arm of one training seed, and where its files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plateau_bench.harness.attempts.actors import weighted
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, roll_out
from plateau_bench.harness.callbacks import Progress, quiet
from plateau_bench.harness.config import Arm, RunConfig
from plateau_bench.harness.rounds.improve import Improver
from plateau_bench.harness.rounds.suites import train_tasks
from plateau_bench.harness.strategies import Strategy
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.results.store import SHARED, RoundFolder, RunStore
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.suite import Suite


@dataclass(frozen=True, kw_only=True, slots=True)
class Workbench:
    """The tools of one arm of one training seed."""

    config: RunConfig
    store: RunStore
    seed: int
    arm_name: str
    suite: Suite
    train_tasks: tuple[Task, ...]
    held_out: tuple[Task, ...]
    selection: tuple[Task, ...]
    """Tasks that only pick checkpoints; empty unless an arm of the run does that."""
    variants: tuple[Task, ...]
    """Variants of the held-out tasks: measured beside them, in figures of their own."""
    base: str
    """The name of the actor of round 0."""
    backend: Backend
    grader: Grader
    improver: Improver
    progress: Progress = quiet

    @property
    def arm(self) -> Arm:
        return self.config.arms[self.arm_name]

    @property
    def strategy(self) -> Strategy:
        return self.arm.strategy

    @property
    def has_weights(self) -> bool:
        """Whether the run's actors are weights; if not, no measure and no lesson is made of tokens."""
        return self.improver.open(self.base).has_weights

    def weights(self, **names: str) -> dict[str, Any]:
        """The transformers models of actors, by the same keywords; empty if actors have no weights."""
        actors = {key: self.improver.open(name) for key, name in names.items()}
        return {key: actor.weights() for key, actor in actors.items() if weighted(actor)}

    def tokenizer(self) -> Any:
        """The base's tokenizer. Raises ValueError if actors have no weights."""
        actor = self.improver.open(self.base)
        if not weighted(actor):
            raise ValueError(
                f"arms.{self.arm_name}: its strategy uses human programs as tokens, "
                "and what the config's improver makes has no tokens"
            )
        return actor.tokenizer()

    @property
    def shared(self) -> RoundFolder:
        """Where round 0 lies, which all arms share."""
        return self.store.round(self.seed, SHARED, 0)

    def owner(self, index: int) -> str:
        """Whose random numbers and attempts a round uses."""
        return SHARED if index == 0 else self.arm_name

    def folder(self, index: int) -> RoundFolder:
        """Where the arm's own files of a round lie."""
        return self.store.round(self.seed, self.arm_name, index)

    def owned(self, index: int) -> RoundFolder:
        """Where the attempts of a round lie."""
        return self.store.round(self.seed, self.owner(index), index)

    def practice_tasks(self, index: int) -> tuple[Task, ...]:
        """The train tasks of a round."""
        if not self.config.tasks.fresh:
            return self.train_tasks
        return train_tasks(self.config, self.suite, self.seed, index)

    def roll_out(
        self,
        index: int,
        checkpoint: str,
        purpose: Purpose,
        *,
        tasks: Sequence[Task] | None = None,
        temperature: float | None = None,
        path: Path | None = None,
    ) -> list[Attempt]:
        """Attempts of `checkpoint` on the tasks of `purpose`, made now as far as they are not on the disk.

        `index` is the round in which the checkpoint acts. The keywords stand in for what the purpose sets.
        """
        settings = self.config.practice if purpose is Purpose.PRACTISE else self.config.evaluate
        if tasks is None:
            sets = {Purpose.EVALUATE: self.held_out, Purpose.SELECT: self.selection}
            tasks = sets[purpose] if purpose in sets else self.practice_tasks(index)
        if temperature is None:
            temperature = settings.temperature
        plan = Plan(
            arm=self.owner(index),
            seed=self.seed,
            round=index,
            purpose=purpose,
            tasks=tuple(tasks),
            samples=settings.samples,
            temperature=temperature,
        )
        path = path or self.owned(index).attempts(purpose)
        roll_out(
            plan,
            self.improver.open(checkpoint).agent(self.config.agent, temperature),
            self.grader,
            path,
            self.progress,
            backend=self.backend,
            at_once=self.config.agent.boxes,
        )
        return list(read_attempts(path))
