"""Estimators and intervals shared by every measure.

Two rules run through this module. Counts are turned into rates by formulas that are unbiased at the
number of samples at hand, never by plugging observed shares into a nonlinear formula. Uncertainty is
resampled over what was drawn independently: task clusters within a training seed, and training seeds
where there are several; never over samples of one task.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from plateau_bench.results.records import Estimate

Floats = NDArray[np.float64]
Values = dict[str, Estimate | None]
"""Metric name -> estimate; None where nothing was observed."""
Columns = dict[str, Floats]
"""Metric name -> one value per task."""

REPLICATES = 1000
_TAILS = ((1 - 0.95) / 2, (1 + 0.95) / 2)


def at_least_one(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Chance that k draws without replacement from n items hit one of c marked ones: 1 - C(n-c,k)/C(n,k).

    With n samples of a task of which c passed this is the unbiased pass@k (Chen et al. 2021,
    arXiv 2107.03374); with c the size of a class, its sum over classes is the rarefied richness.
    `n` and `c` broadcast. Raises ValueError if k > n anywhere: the formula would silently give 1.
    """
    return 1.0 - _none_of(n, c, k)


def all_of(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Chance that k draws without replacement are all marked, C(c,k)/C(n,k): the unbiased pass^k.

    Yao et al. 2024, arXiv 2406.12045. Raises ValueError if k > n anywhere.
    """
    total = np.asarray(n, dtype=np.float64)
    return _none_of(total, total - np.asarray(c, dtype=np.float64), k)


def _none_of(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Chance that k draws without replacement miss all c marked items: C(n-c,k)/C(n,k)."""
    total, marked = np.asarray(n, dtype=np.float64), np.asarray(c, dtype=np.float64)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if total.size and k > total.min():
        raise ValueError(f"k = {k} needs at least {k} samples per task, but some task has {int(total.min())}")
    if np.any(marked < 0) or np.any(marked > total):
        raise ValueError("a count must lie between 0 and the number of samples")
    missed = np.ones(np.broadcast_shapes(total.shape, marked.shape))
    for j in range(k):
        missed = missed * np.maximum(total - marked - j, 0.0) / (total - j)
    return missed


def cluster_codes(clusters: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    """Labels as codes 0..G-1, and G."""
    labels, codes = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return codes.reshape(-1), len(labels)


def clustered_se(values: ArrayLike, clusters: Sequence[str]) -> float:
    """Standard error of the mean where tasks of a cluster are correlated (Miller 2024, arXiv 2411.00640).

    sqrt(SE_CLT^2 + sum over clusters of the products of deviations of different tasks / N^2).
    NaN values are dropped; NaN below two values.
    """
    x = np.asarray(values, dtype=np.float64)
    keep = ~np.isnan(x)
    x, (codes, groups) = x[keep], cluster_codes([c for c, k in zip(clusters, keep, strict=True) if k])
    n = x.size
    if n < 2:
        return math.nan
    dev = x - x.mean()
    squares = float((dev**2).sum())
    within = float((np.bincount(codes, dev, groups) ** 2).sum()) - squares
    return math.sqrt(max(0.0, squares / (n * (n - 1)) + within / n**2))


@lru_cache(maxsize=16)
def resample_counts(groups: int, boot: int, seed: int, stream: int = 0) -> Floats:
    """How often each of `groups` units is drawn in each bootstrap replicate: boot x groups, cached."""
    rng = np.random.default_rng([seed, stream])
    draws = rng.integers(groups, size=(boot, groups)) + np.arange(boot)[:, None] * groups
    counts = np.bincount(draws.ravel(), minlength=boot * groups).reshape(boot, groups).astype(np.float64)
    counts.flags.writeable = False
    return counts


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int,
    boot: int = REPLICATES,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate | None:
    """Mean over tasks with a BCa cluster-bootstrap interval (Efron 1987); NaN values are dropped.

    `bounds` is the range a value can take: with one cluster the interval is that whole range, and where
    every task sits on a bound it is the exact binomial one over clusters instead of a point. None if no
    value is left or nothing finite bounds the mean (one cluster or all tasks on a bound, where the range
    has no end). `n` counts clusters. The same arguments give the same interval.
    """
    ones = np.ones(np.shape(values))
    return ratio_interval(values, ones, clusters, seed=seed, boot=boot, bounds=bounds)


def ratio_interval(
    top: ArrayLike,
    bottom: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int,
    boot: int = REPLICATES,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate | None:
    """Sum of `top` over sum of `bottom` (retention acc_t / acc_0) with a paired cluster-bootstrap interval.

    Tasks with a NaN on either side are dropped. None if nothing is left, the bottom sums to 0, or it
    rests on so few tasks that nothing finite bounds the ratio.
    `bounds` as in `mean_interval`.
    """
    tops, bottoms = _sums(np.asarray(top, np.float64), np.asarray(bottom, np.float64), clusters)
    if tops.size == 0 or bottoms.sum() == 0:
        return None
    told = (tops != 0) | (bottoms != 0)
    tops, bottoms = tops[told], bottoms[told]
    groups = tops.size
    value = float(tops.sum() / bottoms.sum())
    if (groups == 1 or value in bounds) and not np.isfinite(bounds).all():
        return None
    if groups == 1:
        return Estimate(value, *bounds, 1)
    if value in bounds:
        # Every task sits on the bound; a resample can only repeat it. Clopper-Pearson over clusters.
        reach = (1 - _TAILS[0] ** (1 / groups)) * (bounds[1] - bounds[0])
        return Estimate(value, max(bounds[0], value - reach), min(bounds[1], value + reach), groups)
    weights = resample_counts(groups, boot, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = (weights @ tops) / (weights @ bottoms)
        left_out = (tops.sum() - tops) / (bottoms.sum() - bottoms)
    low, high = _bca(value, replicates, left_out)
    low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(value, low, high, groups) if np.isfinite([low, high]).all() else None


def jackknife_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: Sequence[str],
    *,
    groups: int = 10,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate | None:
    """A statistic of a whole sample with a delete-a-group jackknife interval (Kott 2001).

    `statistic` takes the indices of the rows to use. Clusters are dealt into `groups` groups in order of
    name; the interval is Student's t with groups - 1 degrees of freedom around
    sqrt((G-1)/G * sum of squared deviations of the G statistics that each leave one group out). For
    statistics that a bootstrap would bend because it repeats rows, such as counts of different things.
    None where the statistic is NaN for all rows, or fewer than two groups leave a finite one.
    """
    codes, number = cluster_codes(clusters)
    value = statistic(np.arange(codes.size)) if codes.size else math.nan
    if math.isnan(value):
        return None
    groups = min(groups, number)
    left_out = [statistic(np.flatnonzero(codes % groups != g)) for g in range(groups)] if groups > 1 else []
    return spread(value, [x for x in left_out if math.isfinite(x)], bounds)


def spread(value: float, left_out: Sequence[float], bounds: tuple[float, float]) -> Estimate | None:
    """`value` with the interval that the leave-one-group-out statistics give; None below two of them."""
    g = len(left_out)
    if g < 2:
        return None
    x = np.asarray(left_out)
    half = float(stdtrit(g - 1, _TAILS[1]) * math.sqrt((g - 1) / g * ((x - x.mean()) ** 2).sum()))
    return Estimate(value, max(bounds[0], value - half), min(bounds[1], value + half), g)


def student(value: float, error: float, n: int) -> tuple[Estimate, float]:
    """A mean over `n` independent units with its standard error: Student's t interval and two-sided p-value.

    Without any spread the interval is a point, and p is 0, or 1 for a mean of 0.
    """
    half = float(stdtrit(n - 1, _TAILS[1])) * error
    p = 2 * float(stdtr(n - 1, -abs(value) / error)) if error else float(value == 0)
    return Estimate(value, value - half, value + half, n), p


def seeds_interval(
    values_by_seed: Sequence[ArrayLike],
    clusters_by_seed: Sequence[Sequence[str]],
    seed: int,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate | None:
    """Mean over training seeds of the mean over tasks, with a two-level bootstrap interval.

    Seeds are resampled, then task clusters within each drawn seed (each seed has its own held-out
    tasks). With one seed this is `mean_interval`. `n` counts seeds. None without values.
    """
    pairs = [(v, c) for v, c in zip(values_by_seed, clusters_by_seed, strict=True) if not np.isnan(v).all()]
    if len(pairs) < 2:
        return mean_interval(*pairs[0], seed=seed, bounds=bounds) if pairs else None
    centre, means = np.empty(len(pairs)), np.empty((len(pairs), REPLICATES))
    for s, (values, clusters) in enumerate(pairs):
        x = np.asarray(values, dtype=np.float64)
        top, bottom = _sums(x, np.ones_like(x), clusters)
        weights = resample_counts(top.size, REPLICATES, seed, s)
        centre[s] = top.sum() / bottom.sum()
        means[s] = (weights @ top) / (weights @ bottom)
    replicates = two_level(means[:, :, None], seed)[:, 0]
    return over_seeds(float(centre.mean()), replicates, len(pairs), bounds)


def over_seeds(value: float, replicates: Floats, seeds: int, bounds: tuple[float, float]) -> Estimate:
    """`value` with a bootstrap interval over training seeds.

    A bootstrap of S seeds understates their spread by (S-1)/S, and S is small, so deviations are
    stretched by sqrt(S/(S-1)); not those of a single one.
    """
    stretch = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    low, high = value + stretch * (np.quantile(replicates, _TAILS) - value)
    return Estimate(value, max(float(low), bounds[0]), min(float(high), bounds[1]), seeds)


def two_level(replicates: Floats, seed: int, *, aligned: bool = False) -> Floats:
    """Resample the seeds of S x boot x K replicates and average: boot x K.

    A seed drawn twice contributes two different inner replicates (rows shifted per slot), as two
    independent draws of its tasks would. `aligned`: row b of every seed stems from one draw of tasks
    that all seeds share, so rows stay together.
    """
    seeds, boot, _ = replicates.shape
    drawn = np.random.default_rng([seed, 1 << 20]).integers(seeds, size=(seeds, boot))
    rows = np.arange(boot)
    shift = 0 if aligned else max(1, boot // seeds)
    total = np.zeros(replicates.shape[1:])
    for j in range(seeds):
        total += replicates[drawn[j], (rows + j * shift) % boot]
    return total / seeds


def _sums(top: Floats, bottom: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums per cluster over the tasks where both are defined; clusters without such tasks vanish."""
    keep = ~(np.isnan(top) | np.isnan(bottom))
    codes, groups = cluster_codes(np.asarray(clusters, dtype=str)[keep])  # type: ignore[arg-type]
    sums = (np.bincount(codes, x[keep], groups).astype(np.float64) for x in (top, bottom))
    return next(sums), next(sums)


def _bca(value: float, replicates: Floats, left_out: Floats) -> tuple[float, float]:
    """Bias-corrected, accelerated quantiles; plain percentiles where the correction is undefined."""
    replicates = np.sort(replicates[~np.isnan(replicates)])
    tails = np.array(_TAILS)
    below = (np.mean(replicates < value) + np.mean(replicates <= value)) / 2
    regular = 0.0 < below < 1.0 and bool(np.isfinite(left_out).all())
    dev = left_out.mean() - left_out if regular else np.zeros(1)
    spread = float((dev**2).sum())
    if spread > 0.0:
        shift = ndtri(below)
        accel = float((dev**3).sum()) / (6.0 * spread**1.5)
        z = shift + ndtri(tails)
        tails = np.asarray(ndtr(shift + z / (1.0 - accel * z)))
    # "inverted_cdf" never mixes two replicates, so an infinite ratio cannot turn into NaN.
    low, high = np.quantile(replicates, tails, method="inverted_cdf")
    return float(low), float(high)
