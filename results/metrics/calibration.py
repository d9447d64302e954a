"""Whether a model's confidence matches how often it is right.

Confidence is either the share of the modal class among a task's samples (self-consistency, for any model)
or the length-normalised probability of a text, exp(mean log p). A model that trains on its own output can
grow "more confident yet more ignorant": that is a rising signed over-confidence.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from plateau_bench.results.metrics.estimators import Floats, Values, jackknife_interval, mean_interval
from plateau_bench.results.metrics.metric import RATE, Metric, Population, RoundData
from plateau_bench.results.metrics.program_classes import program_key
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome

BINS = 15


def modal_confidence(
    classes: Iterable[Sequence[Hashable]], passed: Iterable[Sequence[bool]]
) -> tuple[Floats, Floats]:
    """Per task: share of its samples in the most frequent class, and the share of those that passed.

    Of equally frequent classes the one that occurs first counts. NaN for a task without samples.
    """
    confidence, right = [], []
    for keys, marks in zip(classes, passed, strict=True):
        if not keys:
            confidence.append(math.nan)
            right.append(math.nan)
            continue
        mode, count = Counter(keys).most_common(1)[0]
        confidence.append(count / len(keys))
        right.append(sum(m for k, m in zip(keys, marks, strict=True) if k == mode) / count)
    return np.array(confidence), np.array(right)


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of |B|/N * |mean right - mean confidence| (Guo et al. 2017).

    Bins of equal mass in order of confidence (Nixon et al. 2019); equal confidences share their mean
    `right`, so their order does not matter. Biased upwards in small samples: compare equal N only.
    """
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    _, group = np.unique(p, return_inverse=True)
    y = (np.bincount(group, y) / np.bincount(group))[group]
    order = np.argsort(p, kind="stable")
    gaps = np.array_split(y[order] - p[order], min(bins, p.size))
    return float(sum(abs(gap.sum()) for gap in gaps) / p.size)


def auroc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Chance that a right item has more confidence than a wrong one, ties as half; NaN if all are alike.

    `right` may be fractional (share of a class that passed): an item then counts as both, by weight.
    """
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    ones, zeros = y.sum(), (1 - y).sum()
    if ones <= 0 or zeros <= 0:
        return math.nan
    _, group = np.unique(p, return_inverse=True)
    up, down = np.bincount(group, y), np.bincount(group, 1 - y)
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / (ones * zeros))


def calibration_metrics(attempts: Sequence[Attempt], *, seed: int) -> Values:
    """Calibration of one round: 'overconfidence', 'brier', 'ece', 'auroc' by task, '<name>/text' by attempt.

    By task: confidence is the share of the modal class of programs. By attempt: exp(mean log p) of what
    the model wrote, where the log-probabilities are known. Attempts without program text are left out.
    """
    ordered = sorted(attempts, key=lambda a: (a.task_id, a.sample))
    clusters = {a.task_id: a.cluster or a.task_id for a in ordered}
    known: dict[str, list[tuple[str, bool]]] = {}
    for attempt in ordered:
        if (key := program_key(attempt.trajectory.code)) is not None:
            known.setdefault(attempt.task_id, []).append((key, attempt.verdict.outcome is Outcome.PASSED))
    confidence, right = modal_confidence(
        [[k for k, _ in rows] for rows in known.values()], [[ok for _, ok in rows] for rows in known.values()]
    )
    values = measures(confidence, right, [clusters[t] for t in known], "", seed)
    scored = [a for a in ordered if a.trajectory.logprobs]
    likely = np.exp([math.fsum(a.trajectory.logprobs) / len(a.trajectory.logprobs) for a in scored])
    passed = np.array([a.verdict.outcome is Outcome.PASSED for a in scored], dtype=np.float64)
    return values | measures(likely, passed, [clusters[a.task_id] for a in scored], "/text", seed)


def measures(p: Floats, y: Floats, clusters: Sequence[str], suffix: str, seed: int) -> Values:
    """The four measures of confidences `p` in items that are right as far as `y`; Brier 1950."""
    return {
        f"overconfidence{suffix}": mean_interval(p - y, clusters, seed=seed, bounds=(-1.0, 1.0)),
        f"brier{suffix}": mean_interval((p - y) ** 2, clusters, seed=seed, bounds=(0.0, 1.0)),
        f"ece{suffix}": jackknife_interval(lambda i: ece(p[i], y[i]), clusters, bounds=(0.0, 1.0)),
        f"auroc{suffix}": jackknife_interval(lambda i: auroc(p[i], y[i]), clusters, bounds=(0.0, 1.0)),
    }


def _calibration(data: RoundData) -> Values:
    return calibration_metrics(data.attempts, seed=data.seed)


_metric = partial(Metric, function=_calibration, unit="0–1", population=Population.GRADED, bounds=RATE)
METRICS = (
    _metric("overconfidence", 'mean confidence − share right; rising means "more confident yet more '
        'ignorant", 0 is calibrated', unit="−1–1", good="steady", bounds=(-1.0, 1.0)),
    _metric("brier", "mean (confidence − right)²", source="Brier 1950", good="down"),
    _metric("ece", "Σ over 15 bins of equal mass of |B|/N · |right − confidence|; biased upwards, more so "
        "for few tasks", source="Guo et al. 2017; Nixon et al. 2019", good="down"),
    _metric("auroc", "chance that something right has more confidence than something wrong", good="up"),
    _metric("overconfidence/text", "`overconfidence` by attempt", unit="−1–1", good="steady",
        bounds=(-1.0, 1.0)),
    _metric("<brier, ece>/text", "`brier` and `ece` by attempt", good="down"),
    _metric("auroc/text", "`auroc` by attempt", good="up"),
)  # fmt: skip
