"""What stays the same over all rounds of one arm of one training seed, and where its files lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plateau_bench.harness.attempts.actors import weighted
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, roll_out
from plateau_bench.harness.config import SHARED, Arm, RunConfig
from plateau_bench.harness.rounds.improve import Improver
from plateau_bench.harness.rounds.suites import train_tasks
from plateau_bench.harness.strategies import Strategy
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import RunStore
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.suite import Suite

Progress = Callable[[str, int, int], None]
"""(phase, done, total)."""


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
    progress: Progress = field(default=lambda phase, done, total: None)

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
    def shared(self) -> Path:
        return self.store.round(self.seed, SHARED, 0)

    def owner(self, index: int) -> str:
        """Whose random numbers and attempts a round uses."""
        return SHARED if index == 0 else self.arm_name

    def folder(self, index: int) -> Path:
        return self.store.round(self.seed, self.arm_name, index)

    def attempts_path(self, index: int, purpose: str) -> Path:
        name = {"evaluate": "held_out.jsonl", "practise": "train.jsonl", "select": "selection.jsonl"}[purpose]
        return self.store.round(self.seed, self.owner(index), index) / name

    def practice_tasks(self, index: int) -> tuple[Task, ...]:
        """The train tasks of a round."""
        if not self.config.tasks.fresh:
            return self.train_tasks
        return train_tasks(self.config, self.suite, self.seed, index)

    def roll_out(
        self,
        index: int,
        checkpoint: str,
        purpose: str,
        *,
        tasks: Sequence[Task] | None = None,
        temperature: float | None = None,
        path: Path | None = None,
    ) -> list[Attempt]:
        """Attempts of `checkpoint` on the tasks of `purpose`: "evaluate", "practise" or "select".

        `index` is the round in which the checkpoint acts. The keywords stand in for what the purpose sets.
        """
        settings = self.config.practice if purpose == "practise" else self.config.evaluate
        if tasks is None:
            sets = {"evaluate": self.held_out, "select": self.selection}
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
        return roll_out(
            plan,
            self.improver.open(checkpoint).agent(self.config.agent, temperature),
            self.grader,
            path or self.attempts_path(index, purpose),
            lambda done, total: self.progress(purpose, done, total),
            backend=self.backend,
            boxes=self.config.agent.boxes,
        )
