"""Made-up runs with a known truth, on which the detector is tried.

logit P(pass) = task difficulty + curve(round) + task-round noise + training noise of the round. The peak,
where there is one, is in round 3; the last two rounds of a fall are level, so that the named number of
points is what separates the peak from PDT-1's final window.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from plateau_bench.results.claims.maxt import Curve

SD_TASK = 1.5
"""Spread of task difficulty, in logits."""
SD_TASK_ROUND = 0.3
"""How differently one round of training moves different tasks, in logits."""
SHARED = 0.5
"""Share of both variances that tasks of one cluster have in common."""
_STEP, _PEAK = 0.35, 3

CURVES: dict[str, Callable[[int], list[float]]] = {
    "flat": lambda last: [0.0] * (last + 1),
    "rise": lambda last: [1.5 * t / last for t in range(last + 1)],
    "rise-plateau": lambda last: [min(t, _PEAK) * _STEP for t in range(last + 1)],
    "dip-recover": lambda last: [-0.6 if 0 < t < last - 3 else 0.0 for t in range(last + 1)],
    "fall-2": lambda last: _peaked(last, 0.02),
    "fall-5": lambda last: _peaked(last, 0.05),
    "fall-10": lambda last: _peaked(last, 0.10),
    "late-cliff": lambda last: [min(t, _PEAK) * _STEP - (t > last - 2) for t in range(last + 1)],
}
"""Name -> logits per round 0..last, relative to round 0. `shape` knows "fall-<points>" for any number."""


def shape(name: str, last: int) -> list[float]:
    """The curve called `name` over rounds 0..last. Raises ValueError for a name that means nothing."""
    if name in CURVES:
        return CURVES[name](last)
    try:
        kind, number = name.split("-")
        points = float(number)
        if kind == "fall" and 0 < points < 40:
            return _peaked(last, points / 100)
    except ValueError:
        pass
    raise ValueError(f"no curve {name!r}; known: {', '.join(CURVES)}, and fall-<points>, such as fall-7.5")


def true_rates(curve: Sequence[float]) -> list[float]:
    """Expected pass rate per round, over tasks."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    spread = nodes * math.hypot(SD_TASK, SD_TASK_ROUND)
    return [float((weights / (1 + np.exp(-(spread + x)))).sum() / weights.sum()) for x in curve]


def _peaked(last: int, fall: float) -> list[float]:
    """Up to round 3, then down by a rate of `fall` over the rounds before the final two."""
    down, drop = max(1, last - _PEAK - 1), _drop(fall)
    return [min(t, _PEAK) * _STEP - drop * min(max(t - _PEAK, 0), down) / down for t in range(last + 1)]


@lru_cache(maxsize=64)
def _drop(fall: float) -> float:
    """Logits down from the peak that take `fall` off the pass rate."""
    from scipy.optimize import brentq

    top = _STEP * _PEAK
    wanted = true_rates([top])[0] - fall
    return float(brentq(lambda x: true_rates([top - x])[0] - wanted, 0.0, 8.0))


def simulate(
    curve: Sequence[float],
    *,
    tasks: int,
    samples: int,
    seeds: int,
    sd_round: float,
    rng: np.random.Generator,
    cluster_size: int = 1,
) -> list[Curve]:
    """One `Curve` per training seed, each with tasks of its own.

    Training noise of sd `sd_round` hits all tasks of one round of one seed alike; `samples` attempts per
    task and round. Clusters of `cluster_size` tasks share half of the variance of difficulty and of the
    task-round noise.
    """
    names = tuple(f"t{i // cluster_size}" for i in range(tasks))
    drawn = []
    for _ in range(seeds):
        logit = _clustered(rng, SD_TASK, (tasks, 1), cluster_size) + np.asarray(curve)
        logit = logit + rng.normal(0, sd_round, len(curve))
        logit = logit + _clustered(rng, SD_TASK_ROUND, logit.shape, cluster_size)
        rate = 1 / (1 + np.exp(-logit))
        even, odd = (rng.binomial(m, rate) for m in (samples - samples // 2, samples // 2))
        halves = (even / (samples - samples // 2), odd / (samples // 2)) if samples > 1 else None
        drawn.append(Curve(values=(even + odd) / samples, clusters=names, halves=halves))
    return drawn


def _clustered(rng: np.random.Generator, sd: float, size: tuple[int, ...], cluster_size: int) -> np.ndarray:
    if cluster_size == 1:
        return rng.normal(0, sd, size)
    clusters = -(-size[0] // cluster_size)
    common = np.repeat(rng.normal(0, sd, (clusters, size[1])), cluster_size, axis=0)[: size[0]]
    return math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * rng.normal(0, sd, size)
