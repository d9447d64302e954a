"""What a model can still solve at all, next to how often it does: sets of tasks, losses, crossovers.

Two rounds are compared task by task. Where a round or a task is chosen by its score, it is chosen on one
half of the samples and scored on the other: the best of several noisy scores always looks like a peak
that was lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plateau_bench.results.metrics.estimators import Floats, at_least_one, cluster_codes, resample_counts

TAUS = (0.1, 0.25, 0.5, 0.75, 0.9)
SETS = ("both", "only_base", "only_now", "neither")


def cover_at(n: ArrayLike, c: ArrayLike, tau: float) -> Floats:
    """Per task: 1 if its pass share c/n is at least `tau`, else 0 (Cover@tau, arXiv 2510.08325).

    Unlike pass@k at a large k it gives no credit for a lucky guess among many.
    """
    share = np.asarray(c, dtype=np.float64) / np.asarray(n, dtype=np.float64)
    return (share >= tau - 1e-12).astype(np.float64)


def solved_sets(base: ArrayLike, now: ArrayLike) -> dict[str, Floats]:
    """Membership of each task in 'both', 'only_base', 'only_now' or 'neither', from its passes in two rounds.

    A task is solved by a round if at least one sample passed; both rounds need equally many samples,
    or the round with more seems to solve more.
    """
    before, after = np.asarray(base) > 0, np.asarray(now) > 0
    members = (before & after, before & ~after, ~before & after, ~before & ~after)
    return {name: found.astype(np.float64) for name, found in zip(SETS, members, strict=True)}


def forgotten(earlier: ArrayLike, now: ArrayLike) -> Floats:
    """Per task: by how much its pass share fell from its best earlier round; 0 on average if nothing changed.

    `earlier` is rounds x tasks x 2 and `now` tasks x 2: pass shares on two halves of the samples. On one
    half the best earlier round is picked, and whether the task is below it now; on the other half the
    fall is scored, with its sign. Both ways, averaged. Picking and scoring on the same samples, or
    cutting falls off at 0 after scoring, would call noise forgetting.
    """
    past, present = np.asarray(earlier, dtype=np.float64), np.asarray(now, dtype=np.float64)
    total = np.zeros(present.shape[0])
    for pick, score in ((0, 1), (1, 0)):
        best = np.take_along_axis(past, past[:, :, pick].argmax(axis=0)[None, :, None], axis=0)[0]
        fell = best[:, pick] > present[:, pick]
        total += np.where(fell, best[:, score] - present[:, score], 0.0)
    unknown = np.isnan(past).any(axis=(0, 2)) | np.isnan(present).any(axis=1)
    return np.where(unknown, np.nan, total / 2)


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
    *,
    ks: Sequence[int] | None = None,
    seed: int = 0,
    level: float = 0.95,
    boot: int = 1000,
) -> Crossover:
    """Smallest k with pass@k(now) < pass@k(base) (Yue et al. 2504.13837), from paired (n, c) per task.

    The whole difference curve is resampled over task clusters; `confirmed` uses the quantile of the
    largest studentised deviation over all `ks` (default: 1 to the smallest n), so looking at many k costs
    nothing. Raises ValueError for k > n.
    """
    counts = [np.asarray(x, dtype=np.float64) for x in (*base, *now)]
    ks = tuple(ks or range(1, int(min(counts[0].min(), counts[2].min())) + 1))
    curves = np.stack(
        [at_least_one(counts[2], counts[3], k) - at_least_one(counts[0], counts[1], k) for k in ks]
    )
    codes, groups = cluster_codes(clusters)
    sums = np.stack([np.bincount(codes, row, groups) for row in curves], axis=1)
    sizes = np.bincount(codes, minlength=groups)
    weights = resample_counts(groups, boot, seed)
    replicates = (weights @ sums) / (weights @ sizes)[:, None]
    value = curves.mean(axis=1)
    error = replicates.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(error > 0, (value - replicates) / error, 0.0)
    critical = float(np.quantile(deviation.max(axis=1), level))
    below, surely = value < 0, value + critical * error < 0
    return Crossover(
        k=ks[int(below.argmax())] if below.any() else None,
        confirmed=ks[int(surely.argmax())] if surely.any() else None,
        share=float((replicates < 0).any(axis=1).mean()),
        differences=tuple(float(x) for x in value),
        ks=ks,
    )
