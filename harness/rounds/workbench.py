"""What stays the same over all rounds of one arm of one training seed, and where its files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.attempts.rollout import Plan, roll_out
from plateau_bench.harness.callbacks import Progress, quiet
from plateau_bench.harness.config import ArmConfig, RunConfig
from plateau_bench.harness.rounds.improve import Improver
from plateau_bench.harness.seeds import derive
from plateau_bench.harness.strategies import STRATEGIES, Strategy
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.results.store import SHARED, RoundFolder, RunStore
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.grading.boxes import stages
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
    """Of the held-out tasks: measured beside them, in figures of their own."""
    base: str
    models: Models
    backend: Backend
    grader: Grader
    improver: Improver
    progress: Progress = quiet

    @property
    def arm(self) -> ArmConfig:
        return self.config.arms[self.arm_name]

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES[self.arm.strategy]

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
            self.models.agent(self.config.agent, checkpoint, temperature),
            self.grader,
            path,
            self.progress,
            backend=self.backend,
            at_once=self.config.agent.boxes,
        )
        return list(read_attempts(path))


def selection_tasks(config: RunConfig, suite: Suite, seed: int, held_out: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks like the held-out ones but none of them, if an arm picks checkpoints by them; else none.

    Families (clusters) that no held-out task belongs to come first. Raises ValueError if the suite holds
    too few.
    """
    if all(STRATEGIES[arm.strategy].judge is None for arm in config.arms.values()):
        return ()
    count = config.tasks.selection
    try:
        drawn = suite.held_out_tasks(derive(seed, "selection tasks"), len(held_out) + count)
    except ValueError as error:
        raise ValueError(f"tasks.selection: {count} besides the held-out ones; {error}") from None
    digests, clusters = {task.digest for task in held_out}, {task.cluster for task in held_out}
    others = [task for task in drawn if task.digest not in digests]
    return tuple(sorted(others, key=lambda task: task.cluster in clusters)[:count])


def train_tasks(config: RunConfig, suite: Suite, seed: int, index: int = 0) -> tuple[Task, ...]:
    """The train tasks of a round; those of round 0 throughout, unless `tasks.fresh`.

    Raises ValueError for tasks whose attempts cannot be trained on, since they are several conversations.
    """
    words = ("train tasks", index) if config.tasks.fresh and index else ("train tasks",)
    tasks = suite.train_tasks(derive(seed, *words), config.tasks.train)
    if several := [task.id for task in tasks if len(stages(task)) > 1]:
        raise ValueError(
            f"tasks.train: {several[0]} has several steps, which cannot be trained on; "
            "give it split = 'held_out' in its [metadata], or use 'plateau eval'"
        )
    return tasks


def task_sets(config: RunConfig, suite: Suite, seed: int) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """(train tasks, held-out tasks) of a training seed. Raises ValueError if the suite holds too few."""
    return (
        train_tasks(config, suite, seed),
        suite.held_out_tasks(derive(seed, "held-out tasks"), config.tasks.held_out),
    )
