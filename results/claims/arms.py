"""Arms against the first arm, paired by training seed and task."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

import numpy as np

from plateau_bench.results.claims.significance import holm, sign_flip
from plateau_bench.results.metrics.estimators import Floats, seeds_interval, student
from plateau_bench.results.records import Estimate, RoundRecord, RunResults

Rounds = Mapping[int, tuple[RoundRecord, ...]]
"""Training seed -> its rounds in order, equally many for every seed."""

_METRIC = "pass@1"


_Paired = tuple[list[float], list[str]]
"""Per-task differences of one training seed, and the cluster of each task."""


def compare_arms(arms: Mapping[str, Rounds]) -> list[dict[str, Any]]:
    """Every arm minus the first: pass@1 at the last common round, and at each arm's best round.

    The best round of an arm is picked on one half of the task clusters and scored on the other half,
    both ways: picking and scoring on the same tasks would flatter the arm with the noisier curve.
    Holm's correction runs over all rows. `difference` and `p` are None where the arms share no seed and task.
    """
    base, *others = arms
    rows: list[dict[str, Any]] = []
    for arm in others:
        last = min(len(records) for a in (arm, base) for records in arms[a].values()) - 1
        for at in ("final", "best"):
            pairs = _pair(arms[arm], arms[base], last, best=at == "best")
            rows.append(
                {
                    "arm": arm,
                    "minus": base,
                    "at": at,
                    "round": last if at == "final" else None,
                    "metric": _METRIC,
                    "seeds": len(pairs),
                    "difference": _interval(pairs),
                    "p": _p_value(pairs),
                }
            )
    adjusted = iter(holm([row["p"] for row in rows if row["p"] is not None]))
    return [row | {"p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def measured(rounds: Rounds, metric: str) -> bool:
    """Whether every round has the metric task by task."""
    return all(metric in r.metrics.per_task for records in rounds.values() for r in records)


def arms_of(results: RunResults, wanted: Sequence[str], more_than: int) -> dict[str, Rounds]:
    """The wanted arms, cut to equally many rounds.

    Raises ValueError if one is missing or a training seed of it has not finished `more_than` rounds and one.
    """
    for name in wanted:
        if not all(len(rounds) > more_than for rounds in results.rounds.get(name, {0: ()}).values()):
            raise ValueError(f"run {results.name!r}: arm {name} is missing or not finished")
    last = min(len(rounds) for name in wanted for rounds in results.rounds[name].values())
    return {name: {seed: rounds[:last] for seed, rounds in results.rounds[name].items()} for name in wanted}


def curve(rounds: Rounds, metric: str) -> Floats:
    """Seeds x rounds of a metric's values; NaN where there is none."""
    return np.array(
        [
            [estimate.value if (estimate := r.metrics.values.get(metric)) else math.nan for r in records]
            for records in rounds.values()
        ]
    )


def _pair(arm: Rounds, base: Rounds, last: int, *, best: bool) -> list[_Paired]:
    """One entry per training seed that both arms have, over the tasks that both were measured on."""
    mine, other = (
        _best_scores(side, last) if best else {seed: _scores(r[last]) for seed, r in side.items()}
        for side in (arm, base)
    )
    pairs = []
    for seed in (seed for seed in arm if seed in base):
        ours, theirs, clusters = mine[seed], other[seed], _clusters(arm[seed][last])
        tasks = [task for task in ours if task in theirs]
        if tasks:
            pairs.append(([ours[task] - theirs[task] for task in tasks], [clusters[task] for task in tasks]))
    return pairs


def _best_scores(rounds: Rounds, last: int) -> dict[int, dict[str, float]]:
    """Each task's score at the round that was best on the other half of the clusters."""
    halves = {seed: _halves(records[last]) for seed, records in rounds.items()}

    def scores(seed: int, t: int, half: int) -> dict[str, float]:
        return {task: x for task, x in _scores(rounds[seed][t]).items() if halves[seed][task] == half}

    def mean(t: int, half: int) -> float:
        return fmean(fmean(scores(seed, t, half).values() or [0.0]) for seed in rounds)

    first, second = (max(range(last + 1), key=partial(mean, half=1 - half)) for half in (0, 1))
    return {seed: scores(seed, first, 0) | scores(seed, second, 1) for seed in rounds}


def _scores(record: RoundRecord) -> dict[str, float]:
    values = record.metrics.per_task.get(_METRIC, ())
    return {t: v for t, v in zip(record.metrics.task_ids, values, strict=False) if v == v}


def _clusters(record: RoundRecord) -> dict[str, str]:
    return dict(zip(record.metrics.task_ids, record.metrics.clusters, strict=True))


def _halves(record: RoundRecord) -> dict[str, int]:
    clusters = _clusters(record)
    half = {cluster: i % 2 for i, cluster in enumerate(sorted(set(clusters.values())))}
    return {task: half[cluster] for task, cluster in clusters.items()}


def _interval(pairs: Sequence[_Paired]) -> Estimate | None:
    if not pairs:
        return None
    if not any(difference for differences, _ in pairs for difference in differences):
        # A resample of zeros is zero, yet tasks not seen may differ: Clopper-Pearson over clusters.
        clusters = sum(len(set(labels)) for _, labels in pairs)
        reach = 1 - 0.025 ** (1 / clusters)
        return Estimate(0.0, -reach, reach, len(pairs) if len(pairs) > 1 else clusters)
    differences, labels = zip(*pairs, strict=True)
    return seeds_interval(differences, labels, seed=0, bounds=(-1.0, 1.0))


def _p_value(pairs: Sequence[_Paired]) -> float | None:
    """Two-sided. Several seeds: paired t over seed means; one seed: sign flips of whole clusters."""
    if not pairs:
        return None
    if len(pairs) == 1:
        return sign_flip(*pairs[0])
    means = [fmean(differences) for differences, _ in pairs]
    return student(fmean(means), stdev(means) / math.sqrt(len(means)), len(means))[1]
