"""Tests and intervals that need no bootstrap: of a share, and of paired differences."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import binomtest

ALPHA = 0.05
"""The level of every claim."""
_EXACT = 14
"""Up to 2^14 sign patterns are enumerated; beyond that they are drawn."""
_DRAWS = 9_999


def minimum_detectable(error: float, *, power: float = 0.8) -> float:
    """Smallest true difference with this standard error that a two-sided test finds with chance `power`."""
    return float(ndtri(1 - ALPHA / 2) + ndtri(power)) * error


def wilson(passed: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share of independent items (Wilson 1927). Raises ValueError for n = 0."""
    found = binomtest(passed, n).proportion_ci(1 - ALPHA, "wilson")
    return float(found.low), float(found.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def sign_flip(differences: ArrayLike, clusters: Sequence[str], *, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference under random signs of whole clusters (Fisher 1935).

    Every pattern of signs is enumerated for up to 14 clusters that differ, which makes it exact; for
    more, 9,999 random ones count next to the observed one. NaN differences are left out; 1 if none differ.
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
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_DRAWS, sums.size))
    return float((1 + (np.abs(signs @ sums) >= observed).sum()) / (1 + _DRAWS))
