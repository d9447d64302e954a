"""From which k on a later round's pass@k is below the base model's; in no report yet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plateau_bench.results.metrics.estimators import REPLICATES, at_least_one, cluster_codes, resample_counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossover:
    """Where pass@k of a later round drops below that of the base."""

    k: int | None
    """Smallest k with a lower estimate than the base's; None if there is none."""
    confirmed: int | None
    """Smallest k whose simultaneous 95 % upper bound of the difference lies below 0."""
    share: float
    """Share of bootstrap replicates in which the curves cross."""
    differences: tuple[float, ...]
    """pass@k now minus base for each of `ks`."""
    ks: tuple[int, ...]


def crossover(
    base: tuple[ArrayLike, ArrayLike],
    now: tuple[ArrayLike, ArrayLike],
    clusters: Sequence[str],
) -> Crossover:
    """Smallest k with pass@k(now) < pass@k(base) (Yue et al. 2504.13837), from paired (n, c) per task.

    The whole difference curve is resampled over task clusters; `confirmed` uses the quantile of the
    largest studentised deviation over all `ks` (1 to the smallest n), so looking at many k costs nothing.
    """
    counts = [np.asarray(x, dtype=np.float64) for x in (*base, *now)]
    ks = tuple(range(1, int(min(counts[0].min(), counts[2].min())) + 1))
    curves = np.stack(
        [at_least_one(counts[2], counts[3], k) - at_least_one(counts[0], counts[1], k) for k in ks]
    )
    codes, groups = cluster_codes(clusters)
    sums = np.stack([np.bincount(codes, row, groups) for row in curves], axis=1)
    sizes = np.bincount(codes, minlength=groups)
    weights = resample_counts(groups, REPLICATES, 0)
    replicates = (weights @ sums) / (weights @ sizes)[:, None]
    value = curves.mean(axis=1)
    error = replicates.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(error > 0, (value - replicates) / error, 0.0)
    critical = float(np.quantile(deviation.max(axis=1), 0.95))
    below, surely = value < 0, value + critical * error < 0
    return Crossover(
        k=ks[int(below.argmax())] if below.any() else None,
        confirmed=ks[int(surely.argmax())] if surely.any() else None,
        share=float((replicates < 0).any(axis=1).mean()),
        differences=tuple(float(x) for x in value),
        ks=ks,
    )
