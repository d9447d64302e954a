"""One round, left to right: measure the checkpoint, practise, choose, learn, judge, record."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from plateau_bench.harness.learning.dataset import TrainingSet
from plateau_bench.harness.learning.ledger import Ledger
from plateau_bench.harness.rounds.choosing import account, choose, judge, seen
from plateau_bench.harness.rounds.measure import Reference, drift_samples, measure
from plateau_bench.harness.rounds.practice import practise
from plateau_bench.harness.rounds.workbench import Workbench
from plateau_bench.harness.seeds import derive
from plateau_bench.results.metrics.variants import variant_metrics
from plateau_bench.results.records import Attempt, RoundMetrics, RoundRecord
from plateau_bench.results.store import read_json, record_from_json, record_to_json, write_json

T = TypeVar("T")


def play_round(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundRecord:
    """Play round `index` with `checkpoint`; what finished before a crash is not repeated."""
    strategy, ledger, clock = bench.strategy, Ledger(), Stopwatch()
    history = bench.store.finished_rounds(bench.seed, bench.arm_name)[:index]
    metrics = clock("evaluate", lambda: evaluate(bench, reference, index, checkpoint, previous))
    training: dict[str, Any] = {}
    following = None
    if strategy.trains and index < bench.config.rounds:
        practised = clock("practise", lambda: practise(bench, index, checkpoint))
        chosen = clock("choose", lambda: choose(bench, index, practised, ledger))
        if chosen.examples:  # a round without a single success leaves the checkpoint as it is
            start = bench.base if strategy.start == "base" else checkpoint
            made = clock("learn", lambda: learn(bench, index, start, chosen, practised))
            following, training = clock(
                "judge", lambda: judge(bench, index, checkpoint, made, ledger, history)
            )
        training = account(bench, chosen, practised, ledger, history) | training
    record = RoundRecord(
        arm=bench.arm_name,
        seed=bench.seed,
        metrics=metrics,
        checkpoint_in=checkpoint,
        checkpoint_out=following,
        training=training,
        timings=clock.seconds,
    )
    write_json(bench.folder(index) / "round.json", record_to_json(record))
    return record


def evaluate(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundMetrics:
    """Held-out attempts at the agent's temperature, and samples to measure drift on."""
    if index == 0 and (marker := bench.shared / "round.json").exists():
        return record_from_json(read_json(marker)).metrics
    attempts = bench.roll_out(index, checkpoint, "evaluate")
    samples = drift_samples(bench, index, checkpoint, bench.owner(index), index)
    models = bench.weights(now=checkpoint, base=bench.base, previous=previous)
    base_attempts = list(bench.store.read_attempts(bench.shared / "held_out.jsonl"))
    bench.progress("measuring", 0, 1)
    metrics = measure(index, attempts, base_attempts, samples, models, reference, bench.seed)
    return with_variants(bench, metrics, attempts, checkpoint)


def with_variants(
    bench: Workbench, metrics: RoundMetrics, attempts: Sequence[Attempt], checkpoint: str
) -> RoundMetrics:
    """The metrics, and those of the variants of the held-out tasks, if the run has any."""
    if not bench.variants:
        return metrics
    path = bench.attempts_path(metrics.round, "evaluate").with_name("variants.jsonl")
    varied = bench.roll_out(metrics.round, checkpoint, "evaluate", tasks=bench.variants, path=path)
    values = {**metrics.values, **variant_metrics(varied, attempts, seed=bench.seed)}
    return replace(metrics, values=values)


def learn(bench: Workbench, index: int, start: str, chosen: TrainingSet, practised: Sequence[Attempt]) -> str:
    """Make the next actor, unless it is already there whole; returns its name."""
    folder = bench.folder(index) / "checkpoint"
    if not folder.exists():
        if bench.has_weights:
            chosen.save(bench.folder(index) / "training_set.jsonl")
        bench.improver.improve(
            start,
            seen(bench, index, practised, chosen),
            folder,
            seed=derive(bench.seed, bench.arm_name, index, "train"),
            progress=lambda done, total: bench.progress("training", done, total),
        )
    return bench.store.name_of(folder)


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
