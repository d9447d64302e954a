"""Tests and intervals that need no bootstrap: of a share, of paired outcomes, of two samples of classes."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import binomtest, entropy

_EXACT = 14
"""Up to 2^14 sign patterns are enumerated; beyond that they are drawn."""


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def sign_flip(differences: ArrayLike, clusters: Sequence[str], *, draws: int = 9_999, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference under random signs of whole clusters (Fisher 1935).

    Every pattern of signs is enumerated for up to 14 clusters that differ, which makes it exact; for
    more, `draws` random ones count next to the observed one. NaN differences are left out; 1 if none differ.
    """
    x = np.asarray(differences, dtype=np.float64)
    known = [c for c, missing in zip(clusters, np.isnan(x), strict=True) if not missing]
    place = {cluster: i for i, cluster in enumerate(dict.fromkeys(known))}
    sums = np.bincount([place[c] for c in known], x[~np.isnan(x)], len(place))
    observed = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # a tie is a tie in any order of adding
    unequal = sums[sums != 0]
    if unequal.size <= _EXACT:
        patterns = (np.arange(2**unequal.size)[:, None] >> np.arange(unequal.size) & 1) * 2.0 - 1.0
        return float((np.abs(patterns @ unequal) >= observed).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, sums.size))
    return float((1 + (np.abs(signs @ sums) >= observed).sum()) / (1 + draws))


def class_kl_test(
    p: Sequence[Hashable], q: Sequence[Hashable], *, draws: int = 999, seed: int = 0
) -> tuple[float, float]:
    """How far two samples of classes lie apart: (KL divergence without its bias, p-value).

    The divergence in nats is that of the two histograms with 1/2 added to every class, minus its mean under
    random relabelling of the items, which is what small samples of one distribution show. The p-value is
    the share of relabellings, the observed labels included, with as large a divergence.
    """
    codes = {c: i for i, c in enumerate(dict.fromkeys([*p, *q]))}
    pooled = np.array([codes[c] for c in (*p, *q)])

    def value(order: np.ndarray) -> float:
        sides = np.split(pooled[order], [len(p)])
        return float(entropy(*(np.bincount(side, minlength=len(codes)) + 0.5 for side in sides)))

    rng = np.random.default_rng(seed)
    observed = value(np.arange(pooled.size))
    null = np.array([value(rng.permutation(pooled.size)) for _ in range(draws)])
    return observed - float(null.mean()), float((1 + (null >= observed - 1e-12).sum()) / (1 + draws))
