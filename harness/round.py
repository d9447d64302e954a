"""One round, left to right: measure the checkpoint, practise, choose, learn, record."""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from harness.dataset import Example, TrainingSet, from_attempt, from_human
from harness.measure import Reference, measure, sample_freely
from harness.seeds import derive
from harness.strategies import STRATEGIES, Material
from harness.workbench import Workbench
from results.records import Attempt, RoundMetrics, RoundRecord
from results.store import read_json, record_from_json, record_to_json, write_json
from tasks.base import Outcome

T = TypeVar("T")


def play_round(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundRecord:
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


def evaluate(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundMetrics:
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


def practise(bench: Workbench, index: int, checkpoint: str) -> list[Attempt]:
    """Attempts on the train tasks, verified by their visible tests."""
    return bench.roll_out(index, checkpoint, "practise")


def material(bench: Workbench, index: int, practised: list[Attempt]) -> Material:
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


def learn(bench: Workbench, index: int, start: str, training_set: TrainingSet) -> str:
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
