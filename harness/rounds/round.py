"""One round, left to right: measure the checkpoint, practise, choose, learn, judge, record."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from plateau_bench.harness.learning.dataset import TrainingSet
from plateau_bench.harness.learning.ledger import Ledger
from plateau_bench.harness.rounds.choosing import account, choose, judge, seen
from plateau_bench.harness.rounds.measure import drift_samples, measure
from plateau_bench.harness.rounds.practice import practise
from plateau_bench.harness.rounds.workbench import Workbench
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.metrics.drift_values import Reference
from plateau_bench.results.metrics.success import variant_metrics
from plateau_bench.results.records import Attempt, Purpose, RoundMetrics, RoundRecord
from plateau_bench.results.store import read_json, record_from_json, record_to_json, write_json


def play_round(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundRecord:
    """Play round `index` with `checkpoint`; what finished before a crash is not repeated."""
    strategy, ledger, clock = bench.strategy, Ledger(), Stopwatch()
    history = bench.store.finished_rounds(bench.seed, bench.arm_name)[:index]
    with clock("evaluate"):
        metrics = evaluate(bench, reference, index, checkpoint, previous)
    training: dict[str, Any] = {}
    following = None
    if strategy.trains and index < bench.config.rounds:
        with clock("practise"):
            practised = practise(bench, index, checkpoint)
        with clock("choose"):
            chosen = choose(bench, index, practised, ledger)
        if chosen.examples:  # a round without a single success leaves the checkpoint as it is
            start = bench.base if strategy.start == "base" else checkpoint
            with clock("learn"):
                made = learn(bench, index, start, chosen, practised)
            with clock("judge"):
                following, training = judge(bench, index, checkpoint, made, ledger, history)
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
    write_json(bench.folder(index).record, record_to_json(record))
    return record


def evaluate(
    bench: Workbench, reference: Reference, index: int, checkpoint: str, previous: str
) -> RoundMetrics:
    """Held-out attempts at the agent's temperature, and samples to measure drift on."""
    if index == 0 and bench.shared.record.exists():
        return record_from_json(read_json(bench.shared.record)).metrics
    attempts = bench.roll_out(index, checkpoint, Purpose.EVALUATE)
    samples = drift_samples(bench, checkpoint, attempts, bench.owner(index), index)
    models = bench.weights(now=checkpoint, base=bench.base, previous=previous)
    base_attempts = list(read_attempts(bench.shared.attempts(Purpose.EVALUATE)))
    bench.progress("measuring", 0, 1)
    metrics = measure(index, attempts, base_attempts, samples, models, reference, bench.seed)
    return with_variants(bench, metrics, attempts, checkpoint)


def with_variants(
    bench: Workbench, metrics: RoundMetrics, attempts: Sequence[Attempt], checkpoint: str
) -> RoundMetrics:
    """The metrics, and those of the variants of the held-out tasks, if the run has any."""
    if not bench.variants:
        return metrics
    path = bench.owned(metrics.round).variants
    varied = bench.roll_out(metrics.round, checkpoint, Purpose.EVALUATE, tasks=bench.variants, path=path)
    values = {**metrics.values, **variant_metrics(varied, attempts, seed=bench.seed)}
    return replace(metrics, values=values)


def learn(bench: Workbench, index: int, start: str, chosen: TrainingSet, practised: Sequence[Attempt]) -> str:
    """Make the next actor, unless it is already there whole; returns its name."""
    folder = bench.folder(index)
    if not folder.checkpoint.exists():
        if bench.has_weights:
            chosen.save(folder.training_set)
        seed = derive(bench.seed, bench.arm_name, index, "train")
        lesson = seen(bench, index, practised, chosen)
        bench.improver.improve(start, lesson, folder.checkpoint, seed=seed, progress=bench.progress)
    return bench.store.name_of(folder.checkpoint)


class Stopwatch:
    """Remembers how long each step took: `with clock("learn"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)
