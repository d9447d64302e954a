"""One round, left to right: measure the checkpoint, practise, choose, learn, record."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.config import ArmConfig, RunConfig
from harness.dataset import Example, TrainingSet, from_attempt, from_human
from harness.grading import Grader
from harness.improve import Improver
from harness.measure import Reference, measure, sample_freely
from harness.models import Models
from harness.rollout import Plan, roll_out
from harness.seeds import derive
from harness.strategies import STRATEGIES, Material
from results.records import Attempt, RoundMetrics, RoundRecord
from results.store import RunStore, read_json, record_from_json, record_to_json, write_json
from tasks.base import Outcome, Task
from tasks.suite import Suite

T = TypeVar("T")

SHARED = "shared"
"""Round 0 acts with the base model in every arm, so it is played once per training seed."""

Progress = Callable[[str, int, int], None]
"""(phase, done, total)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What stays the same over all rounds of one arm of one training seed."""

    config: RunConfig
    store: RunStore
    seed: int
    arm_name: str
    suite: Suite
    train_tasks: tuple[Task, ...]
    held_out: tuple[Task, ...]
    base: str
    models: Models
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
        )


def play_round(bench: Bench, reference: Reference, index: int, checkpoint: str, previous: str) -> RoundRecord:
    """Play round `index` with `checkpoint`; what finished before a crash is not repeated."""
    strategy, clock = STRATEGIES[bench.arm.strategy], Stopwatch()
    metrics = clock("evaluate", lambda: evaluate(bench, reference, index, checkpoint, previous))
    training: dict[str, Any] = {}
    learnt = None
    if strategy.trains and index < bench.config.rounds:
        practised = clock("practise", lambda: practise(bench, index, checkpoint))
        training_set = TrainingSet(tuple(strategy.choose(material(bench, index, practised), bench.arm)))
        start = bench.base if strategy.start == "base" else checkpoint
        if training_set.examples:  # a round without a single success leaves the checkpoint as it is
            learnt = clock("learn", lambda: learn(bench, index, start, training_set))
        training = training_set.facts() | practice_facts(practised)
    record = RoundRecord(
        arm=bench.arm_name,
        seed=bench.seed,
        metrics=metrics,
        checkpoint_in=checkpoint,
        checkpoint_out=learnt,
        training=training,
        timings=clock.seconds,
    )
    write_json(bench.folder(index) / "round.json", record_to_json(record))
    return record


def evaluate(bench: Bench, reference: Reference, index: int, checkpoint: str, previous: str) -> RoundMetrics:
    """Held-out attempts at the agent's temperature, and free samples at temperature 1."""
    if index == 0 and (marker := bench.shared / "round.json").exists():
        return record_from_json(read_json(marker)).metrics
    settings, now = bench.config.evaluate, bench.models
    attempts = bench.roll_out(index, checkpoint, "evaluate")
    free = now.agent(bench.config.agent, checkpoint, 1.0)
    samples = sample_freely(
        free, bench.held_out, settings.drift_samples, bench.seed, bench.owner(index), index
    )
    models = {
        "now": now.weights(checkpoint),
        "base": now.weights(bench.base),
        "previous": now.weights(previous),
    }
    base_attempts = list(bench.store.read_attempts(bench.shared / "held_out.jsonl"))
    bench.progress("measuring", 0, 1)
    return measure(index, attempts, base_attempts, samples, models, reference, bench.seed)


def practise(bench: Bench, index: int, checkpoint: str) -> list[Attempt]:
    """Attempts on the train tasks, verified by their visible tests."""
    return bench.roll_out(index, checkpoint, "practise")


def material(bench: Bench, index: int, practised: list[Attempt]) -> Material:
    """What the strategy may draw on."""
    tokenizer = bench.models.tokenizer(bench.base)

    def human(count: int) -> list[Example]:
        samples = bench.suite.fresh_human(
            derive(bench.seed, bench.arm_name, index, "human"), count, verified=bench.arm.verified
        )
        return [
            from_human(
                tokenizer, s.instruction, s.program, source=f"round-{index:02d}/human/{i}", correct=s.correct
            )
            for i, s in enumerate(samples)
        ]

    def earlier() -> list[Attempt]:
        paths = [bench.attempts_path(i, "practise") for i in range(index)]
        return [attempt for path in paths for attempt in bench.store.read_attempts(path)]

    return Material(
        current=practised,
        earlier=earlier,
        human=human,
        as_example=from_attempt,
        budget=bench.config.train.examples,
        rng=random.Random(derive(bench.seed, bench.arm_name, index, "choose")),
    )


def learn(bench: Bench, index: int, start: str, training_set: TrainingSet) -> str:
    """Make the next checkpoint, unless it is already there whole; returns its name."""
    folder = bench.folder(index) / "checkpoint"
    if not folder.exists():
        training_set.save(bench.folder(index) / "training_set.jsonl")
        bench.improver.improve(
            start,
            training_set,
            folder,
            seed=derive(bench.seed, bench.arm_name, index, "train"),
            progress=lambda done, total: bench.progress("training", done, total),
        )
    return bench.store.name_of(folder)


def practice_facts(practised: list[Attempt]) -> dict[str, Any]:
    """How practice went, by the visible tests (what was known) and the hidden ones (what was true)."""
    verified = [attempt for attempt in practised if attempt.verdict.verified]
    right = sum(attempt.verdict.outcome is Outcome.PASSED for attempt in verified)
    return {
        "practice_attempts": len(practised),
        "practice_verified": len(verified),
        "practice_precision": right / len(verified) if verified else None,
    }


class Stopwatch:
    """Runs steps and remembers how long each took: `clock("learn", lambda: ...)`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, step: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return step()
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)
