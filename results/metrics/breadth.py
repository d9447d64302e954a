"""What a model can still solve at all, next to how often it does: sets of tasks, and losses.

Two rounds are compared task by task. Where a round or a task is chosen by its score, it is chosen on one
half of the samples and scored on the other: the best of several noisy scores always looks like a peak
that was lost.
"""

import numpy as np
from numpy.typing import ArrayLike

from plateau_bench.results.metrics.estimators import Floats

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
