"""Paired comparisons of two rounds, and how many tasks or samples would settle them.

A task's score has two sources of noise: which tasks were drawn (omega^2) and which samples (sigma^2 / n).
More samples help against the second only; `variance_split` tells which of the two to buy.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import binomtest

from plateau_bench.results.metrics.estimators import cluster_codes

_EXACT = 14
"""Up to 2^14 sign patterns are enumerated; beyond that they are drawn."""


class VarianceSplit(NamedTuple):
    """Where the variance of a task's pass share comes from (Miller 2024, arXiv 2411.00640)."""

    tasks: float
    """omega^2: variance of the true pass rates over tasks; unbiased, so a draw can fall below 0."""
    samples: float
    """E[sigma^2] = mean of p(1-p): variance of one sample of a task; unbiased."""


def variance_split(n: ArrayLike, c: ArrayLike) -> VarianceSplit:
    """omega^2 = Var_i(p_i) - mean_i[p_i(1-p_i)/(n_i-1)], with p = c/n; needs 2 tasks of 2 samples.

    Raises ValueError for less.
    """
    total = np.asarray(n, dtype=np.float64)
    p = np.asarray(c, dtype=np.float64) / total
    if p.size < 2 or total.min() < 2:
        raise ValueError("the variance over tasks needs at least 2 tasks with at least 2 samples each")
    within = p * (1 - p) / (total - 1)
    return VarianceSplit(float(p.var(ddof=1) - within.mean()), float((within * total).mean()))


def tasks_needed(
    delta: float,
    *,
    difference_variance: float,
    samples: tuple[float, float] = (1.0, 1.0),
    sample_variances: tuple[float, float] = (0.0, 0.0),
    alpha: float = 0.05,
    power: float = 0.8,
) -> int:
    """N = (z_{1-a/2} + z_power)^2 (omega_d^2 + s_A^2/n_A + s_B^2/n_B) / delta^2, paired, rounded up.

    Tasks (independent clusters) for a two-sided test to find a true difference `delta` (Miller 2024).
    Raises ValueError for delta = 0.
    """
    if delta == 0:
        raise ValueError("no number of tasks finds a difference of 0")
    variance = difference_variance + sum(s / n for s, n in zip(sample_variances, samples, strict=True))
    return math.ceil((_z(alpha) + float(ndtri(power))) ** 2 * variance / delta**2)


def minimum_detectable(error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided test with this standard error finds with chance `power`."""
    return (_z(alpha) + float(ndtri(power))) * error


def _z(alpha: float) -> float:
    return float(ndtri(1 - alpha / 2))


def wilson(passed: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share of independent items (Wilson 1927). Raises ValueError for n = 0."""
    found = binomtest(passed, n).proportion_ci(level, "wilson")
    return float(found.low), float(found.high)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value from the tasks that only one of two rounds passed, one sample each.

    2 P(X <= min) for X binomial(only_a + only_b, 1/2), at most 1 (McNemar 1947, exact form).
    """
    n = only_a + only_b
    return float(binomtest(only_a, n).pvalue) if n else 1.0


def sign_flip(differences: ArrayLike, clusters: Sequence[str], *, draws: int = 9_999, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference under random signs of whole clusters (Fisher 1935).

    Every pattern of signs is enumerated for up to 14 clusters that differ, which makes it exact; for
    more, `draws` random ones count next to the observed one. NaN differences are left out; 1 if none differ.
    """
    x = np.asarray(differences, dtype=np.float64)
    keep = ~np.isnan(x)
    codes, groups = cluster_codes([c for c, k in zip(clusters, keep, strict=True) if k])
    sums = np.bincount(codes, x[keep], groups)
    sums = sums[sums != 0]
    if not sums.size:
        return 1.0
    observed = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # a tie is a tie in any order of adding
    if sums.size <= _EXACT:
        patterns = (np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1) * 2.0 - 1.0
        return float((np.abs(patterns @ sums) >= observed).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, sums.size))
    return float((1 + (np.abs(signs @ sums) >= observed).sum()) / (1 + draws))
