"""What stays the same over all rounds of one arm of one training seed, and where its files lie."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import ArmConfig, RunConfig
from harness.grading import Grader
from harness.improve import Improver
from harness.models import Models
from harness.rollout import Plan, roll_out
from harness.seeds import derive
from results.records import Attempt
from results.store import RunStore
from sandbox.base import Backend
from tasks.base import Task
from tasks.suite import Suite

SHARED = "shared"
"""Round 0 acts with the base model in every arm, so it is played once per training seed."""

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
    base: str
    models: Models
    backend: Backend
    grader: Grader
    improver: Improver
    progress: Progress = field(default=lambda phase, done, total: None)

    @property
    def arm(self) -> ArmConfig:
        return self.config.arms[self.arm_name]

    @property
    def shared(self) -> Path:
        return self.store.round(self.seed, SHARED, 0)

    def owner(self, index: int) -> str:
        """Whose random numbers and attempts a round uses."""
        return SHARED if index == 0 else self.arm_name

    def folder(self, index: int) -> Path:
        return self.store.round(self.seed, self.arm_name, index)

    def attempts_path(self, index: int, purpose: str) -> Path:
        name = {"evaluate": "held_out.jsonl", "practise": "train.jsonl"}[purpose]
        return self.store.round(self.seed, self.owner(index), index) / name

    def roll_out(self, index: int, checkpoint: str, purpose: str) -> list[Attempt]:
        """The attempts of this round on the held-out or the train tasks."""
        settings = self.config.evaluate if purpose == "evaluate" else self.config.practice
        plan = Plan(
            arm=self.owner(index),
            seed=self.seed,
            round=index,
            purpose=purpose,
            tasks=self.held_out if purpose == "evaluate" else self.train_tasks,
            samples=settings.samples,
            temperature=settings.temperature,
        )
        agent = self.models.agent(self.config.agent, checkpoint, settings.temperature)
        return roll_out(
            plan,
            agent,
            self.grader,
            self.attempts_path(index, purpose),
            lambda done, total: self.progress(purpose, done, total),
            backend=self.backend,
            boxes=self.config.agent.boxes,
        )


def task_sets(config: RunConfig, suite: Suite, seed: int) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """(train tasks, held-out tasks) of a training seed. Raises ValueError if the suite holds too few."""
    return (
        suite.train_tasks(derive(seed, "train tasks"), config.tasks.train),
        suite.held_out_tasks(derive(seed, "held-out tasks"), config.tasks.held_out),
    )
