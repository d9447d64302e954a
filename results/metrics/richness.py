"""How many kinds there are, seen and unseen, and how evenly a sample spreads over them.

All functions take class counts: how often each class occurred. The shared kernel is that a class with c
of n items is missing from k draws with chance C(n-c,k)/C(n,k), as in pass@k.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from plateau_bench.results.metrics.estimators import Floats


def hill(counts: Sequence[int], order: float = 1.0) -> float:
    """Effective number of classes (Hill 1973): (sum p^q)^(1/(1-q)); q = 1 is exp(entropy). NaN if empty.

    A plug-in value, biased downwards in small samples: compare rounds with `rarefied_hill1`.
    """
    p = np.asarray([x for x in counts if x > 0], dtype=np.float64)
    if p.size == 0:
        return math.nan
    p = p / p.sum()
    if order == 1.0:
        return float(np.exp(-(p * np.log(p)).sum()))
    return float((p**order).sum() ** (1.0 / (1.0 - order)))


def met_in(counts: Sequence[int] | Floats, total: int, draws: int) -> Floats:
    """Chance of meeting each class in `draws` of `total` items, 1 - C(total-c,draws)/C(total,draws).

    The same as `at_least_one`, through log-gamma instead of `draws` products: for budgets of thousands.
    """
    c = np.asarray(counts, dtype=np.float64)
    if not 0 <= draws <= total:
        raise ValueError(f"{draws} draws from {total} items")
    fits = total - c >= draws
    rest = np.where(fits, total - c, draws)
    logs = gammaln(rest + 1) - gammaln(rest - draws + 1) - gammaln(total + 1) + gammaln(total - draws + 1)
    return np.where(fits, -np.expm1(np.minimum(logs, 0.0)), 1.0)


def rarefied_hill1(counts: Sequence[int], draws: int = 4) -> float:
    """Expected Hill-1 of `draws` items drawn without replacement; NaN with fewer than `draws` items.

    The mean of exp(entropy) over every subset of that size, computed exactly, so it is the unbiased
    estimate (a U-statistic) of what `draws` fresh samples would show, whatever the number at hand.
    Ranges from 1 (one way of solving) to `draws`.
    """
    return _rarefied_hill1(tuple(sorted(x for x in counts if x > 0)), draws)


@lru_cache(maxsize=65536)
def _rarefied_hill1(counts: tuple[int, ...], draws: int) -> float:
    if sum(counts) < draws:
        return math.nan
    # How many subsets have a given profile of class sizes; 4 draws have five profiles: 4, 31, 22, 211, 1111.
    ways: dict[tuple[int, ...], int] = {(): 1}
    for count in counts:
        grown = dict(ways)
        for profile, number in ways.items():
            for taken in range(1, min(count, draws - sum(profile)) + 1):
                key = tuple(sorted((*profile, taken)))
                grown[key] = grown.get(key, 0) + number * math.comb(count, taken)
        ways = grown
    subsets = math.comb(sum(counts), draws)
    return sum(hill(profile) * (w / subsets) for profile, w in ways.items() if sum(profile) == draws)


def chao1(counts: Sequence[int]) -> float:
    """Lower bound on the number of classes, seen and unseen, from singletons and doubletons (Chao 1984)."""
    n, seen = sum(counts), sum(x > 0 for x in counts)
    once, twice = sum(x == 1 for x in counts), sum(x == 2 for x in counts)
    if n == 0:
        return math.nan
    unseen = once * once / (2 * twice) if twice else once * (once - 1) / 2
    return seen + (n - 1) / n * unseen


def coverage(counts: Sequence[int]) -> float:
    """Share of the probability mass that belongs to classes already seen (Good-Turing, Chao & Jost 2012)."""
    n = sum(counts)
    once, twice = sum(x == 1 for x in counts), sum(x == 2 for x in counts)
    if n == 0:
        return math.nan
    if once == 0:
        return 1.0
    if twice == 0:  # all singletons: the bias-corrected form of the same estimate
        return 1.0 - once / n * ((n - 1) * (once - 1) / ((n - 1) * (once - 1) + 2))
    return 1.0 - once / n * ((n - 1) * once / ((n - 1) * once + 2 * twice))


def simpson(counts: Sequence[int]) -> float:
    """Chance that two different items are of one class, sum n_i(n_i-1) / (n(n-1)); unbiased (Simpson 1949).

    1 means all alike. NaN below two items.
    """
    n = sum(counts)
    return sum(x * (x - 1) for x in counts) / (n * (n - 1)) if n > 1 else math.nan
