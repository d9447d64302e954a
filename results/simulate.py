"""Made-up curves with a known truth, and how often the detector calls them what."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from results.maxt import Curve
from results.phases import Phase, classify

SD_TASK = 1.5
"""Spread of task difficulty, in logits."""
SD_TASK_ROUND = 0.3
"""How differently one round of training moves different tasks, in logits."""

CURVES: dict[str, Callable[[int], list[float]]] = {
    "flat": lambda last: [0.0] * (last + 1),
    "rise": lambda last: [1.5 * t / last for t in range(last + 1)],
    "rise->plateau": lambda last: [min(t, 3) * 0.35 for t in range(last + 1)],
    "dip->recover": lambda last: [-0.6 if 0 < t < last - 3 else 0.0 for t in range(last + 1)],
    "fall 5 points": lambda last: _peaked(last, 0.30),
    "fall 10 points": lambda last: _peaked(last, 0.63),
    "late cliff": lambda last: [min(t, 3) * 0.35 - (1.0 if t > last - 2 else 0.0) for t in range(last + 1)],
}
"""Name -> logits per round 0..last, relative to round 0."""


def _peaked(last: int, fall: float) -> list[float]:
    """Up to round 3, then down by `fall` logits over the rounds before the final two."""
    down = max(1, last - 4)
    return [min(t, 3) * 0.35 - fall * min(max(t - 3, 0), down) / down for t in range(last + 1)]


def simulate(
    curve: Sequence[float], *, tasks: int, samples: int, seeds: int, sd_round: float, rng: np.random.Generator
) -> list[Curve]:
    """One `Curve` per training seed, each with tasks of its own.

    logit P(pass) = task difficulty + `curve` + task-round noise + training noise of sd `sd_round` that
    hits all tasks of one round of one seed alike; `samples` attempts per task and round.
    """
    drawn = []
    for _ in range(seeds):
        logit = rng.normal(0, SD_TASK, (tasks, 1)) + np.asarray(curve) + rng.normal(0, sd_round, len(curve))
        logit = logit + rng.normal(0, SD_TASK_ROUND, logit.shape)
        rate = 1 / (1 + np.exp(-logit))
        even, odd = (rng.binomial(m, rate) for m in (samples - samples // 2, samples // 2))
        halves = (even / (samples - samples // 2), odd / (samples // 2)) if samples > 1 else None
        names = tuple(f"t{i}" for i in range(tasks))
        drawn.append(Curve(values=(even + odd) / samples, clusters=names, halves=halves))
    return drawn


def label_rates(
    curve: Sequence[float],
    *,
    reps: int,
    tasks: int = 150,
    samples: int = 4,
    seeds: int = 5,
    sd_round: float = 0.0,
    boot: int = 1000,
    seed: int = 0,
    judge: Callable[[Phase], str] = lambda phase: phase.label.value,
) -> dict[str, float]:
    """Share of `reps` simulated runs that get each label."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for rep in range(reps):
        curves = simulate(curve, tasks=tasks, samples=samples, seeds=seeds, sd_round=sd_round, rng=rng)
        found[judge(classify(curves, boot=boot, seed=rep))] += 1
    return {label: count / reps for label, count in sorted(found.items())}
