"""Made-up runs in which the truth of every arm is known."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from plateau_bench.results.metrics.estimators import mean_interval
from plateau_bench.results.records import RoundMetrics, RoundRecord, RunResults

STRATA = ("head", "torso", "tail")
Shape = Callable[[int], float]


class Truth(NamedTuple):
    """Logits of success by round, effective classes by round, and how much harder the tail is hit."""

    success: Shape
    variety: Shape = lambda t: 3.0
    tail: Shape = lambda t: 0.0
    wrong: float = 0.05


def made(arms: Mapping[str, Truth], *, seeds: int = 3, rounds: int = 9, tasks: int = 60) -> RunResults:
    found = {
        name: {
            seed: tuple(_record(name, truth, seed, t, tasks) for t in range(rounds)) for seed in range(seeds)
        }
        for name, truth in arms.items()
    }
    return RunResults(name="made up", config={}, environment={}, rounds=found)


def _record(arm: str, truth: Truth, seed: int, t: int, tasks: int) -> RoundRecord:
    rng = np.random.default_rng([seed, t, sum(map(ord, arm))])
    strata = tuple(STRATA[i % 3] for i in range(tasks))
    level = np.random.default_rng(seed).normal(0, 1, tasks) + truth.success(t)
    level = level + np.array([truth.tail(t) if s == "tail" else 0.0 for s in strata])
    passed = rng.binomial(8, 1 / (1 + np.exp(-level)))
    hill = np.where(passed >= 4, np.clip(rng.normal(truth.variety(t), 0.3, tasks), 1, 4), np.nan)
    columns = {
        "pass@1": passed / 8,
        "pass@8": (passed > 0).astype(float),
        "hill1": hill,
        **{f"pass@1/{s}": np.where(np.array(strata) == s, passed / 8, np.nan) for s in STRATA},
    }
    names = tuple(f"t{seed}-{i}" for i in range(tasks))
    return RoundRecord(
        arm=arm,
        seed=seed,
        metrics=RoundMetrics(
            round=t,
            values={key: mean_interval(x, names, seed=0, boot=20) for key, x in columns.items()},
            task_ids=names,
            clusters=names,
            strata=strata,
            per_task={key: tuple(map(float, columns[key])) for key in ("pass@1", "pass@8", "hill1")},
        ),
        checkpoint_in="a",
        checkpoint_out="b",
        training={"precision_own": 1 - truth.wrong} if t < 8 else {},
    )


def rise(t: int) -> float:
    return 0.3 * min(t, 4)


def hump(peak: int) -> Shape:
    return lambda t: 0.35 * min(t, peak) - 0.5 * max(0, t - peak)


def narrow(rate: float) -> Shape:
    return lambda t: 1 + 2 * math.exp(-rate * t)
