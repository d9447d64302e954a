"""Rules that people use to call a decline, as one-sided p-values, to be tried on the same runs as PDT-1.

All look for a fall from some earlier round; what they forget differs: that the round was picked
(naive), that there are several rounds (none corrects but Bonferroni and the max-T ones), that training
itself is noisy (all that pool seeds).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtr, stdtr

from plateau_bench.results.claims.maxt import STRATEGY_SEEDS, Curve, MaxT, resample
from plateau_bench.results.claims.pdt1 import examine
from plateau_bench.results.metrics.estimators import Floats

Rule = Callable[[Sequence[Curve], int], float]
"""(curves, bootstrap seed) -> p-value for "it has not declined"."""

_W = 2
_BOOT = 1000


def pooled(curves: Sequence[Curve]) -> Curve:
    """All seeds' tasks as if one checkpoint had been measured on them."""
    return Curve(
        values=np.vstack([curve.values for curve in curves]),
        clusters=tuple(f"{s}/{c}" for s, curve in enumerate(curves) for c in curve.clusters),
    )


def naive(curves: Sequence[Curve], seed: int = 0) -> float:
    """Best round against the last one: a paired z-test over tasks, as if the best had been known before."""
    values = np.vstack([curve.values for curve in curves])
    best = int(np.argmax(values.mean(axis=0)))
    return float(_paired(values[:, best] - values[:, -1]))


def bonferroni(curves: Sequence[Curve], seed: int = 0) -> float:
    """Each round against the last one, paired z over tasks, times the number of rounds."""
    values = np.vstack([curve.values for curve in curves])
    p = [_paired(values[:, u] - values[:, -1]) for u in range(values.shape[1] - 1)]
    return min(1.0, len(p) * min(p))


def all_pairs(curves: Sequence[Curve], seed: int) -> float:
    """Max-T over every earlier round minus every later one, tasks only."""
    pool = pooled(curves)
    rounds = pool.values.shape[1]
    eye = np.eye(rounds)
    weights = np.array([eye[u] - eye[v] for u in range(rounds) for v in range(u + 1, rounds)])
    fit = resample([pool], weights, _BOOT, seed, False)
    rows = range(len(weights))
    return MaxT(fit, rows).p_value(rows)


def window(w: int) -> Rule:
    """PDT-1 with another final window."""

    def rule(curves: Sequence[Curve], seed: int) -> float:
        found = examine(curves, w=w, boot=_BOOT, seed=seed)
        return found.test.p_value(found.rows.declines)

    return rule


def task_only(curves: Sequence[Curve], seed: int) -> float:
    """PDT-1 over tasks alone, blind to training noise."""
    found = examine([pooled(curves)], boot=_BOOT, seed=seed)
    return found.test.p_value(found.rows.declines)


def mann_kendall(curves: Sequence[Curve], seed: int = 0) -> float:
    """Mann-Kendall trend test on the round means from the best round on; 1 below four rounds."""
    means = _means(curves).mean(axis=0)
    tail = means[int(np.argmax(means)) :]
    n = len(tail)
    if n < 4:
        return 1.0
    s = sum(np.sign(tail[j] - tail[i]) for i in range(n) for j in range(i + 1, n))
    return float(ndtr((s + 1) / np.sqrt(n * (n - 1) * (2 * n + 5) / 18))) if s < 0 else 1.0


def segmented(curves: Sequence[Curve], seed: int = 0) -> float:
    """Two joined straight lines through the round means, best break; is the second slope negative?"""
    means = _means(curves).mean(axis=0)
    n = len(means)
    t = np.arange(n, dtype=np.float64)
    best = (np.inf, 1.0)
    for knot in range(1, n - 2):
        design = np.stack([np.ones(n), np.minimum(t, knot), np.maximum(t - knot, 0)], axis=1)
        coefficients, *_ = np.linalg.lstsq(design, means, rcond=None)
        rss = float(((means - design @ coefficients) ** 2).sum())
        if rss < best[0]:
            variance = rss / (n - 3) * np.linalg.inv(design.T @ design)[2, 2]
            best = (rss, float(stdtr(n - 3, coefficients[2] / np.sqrt(max(variance, 1e-18)))))
    return best[1]


def left_out_seed(curves: Sequence[Curve], seed: int = 0) -> float:
    """The peak is picked on the other seeds, the fall read on the one left out; t-test over seeds."""
    means = _means(curves)
    falls = []
    for s, own in enumerate(means):
        peak = int(np.argmax(np.delete(means, s, axis=0).mean(axis=0)[:-_W]))
        falls.append(own[peak] - own[-_W:].mean())
    return _over_seeds(np.array(falls))


def seed_bonferroni(curves: Sequence[Curve], seed: int = 0) -> float:
    """Each round against the final two, t-test over seeds, times the number of rounds."""
    means = _means(curves)
    end = means[:, -_W:].mean(axis=1)
    p = [_over_seeds(means[:, u] - end) for u in range(means.shape[1] - _W)]
    return min(1.0, len(p) * min(p))


def rivals(seeds: int) -> dict[str, Rule]:
    """Rules that make sense with this many training seeds, by name."""
    if seeds >= STRATEGY_SEEDS:
        return {
            "bonferroni": bonferroni,
            "task-only": task_only,
            "left-out-seed": left_out_seed,
            "seed-bonferroni": seed_bonferroni,
        }
    return {
        "bonferroni": bonferroni,
        "window-1": window(1),
        "window-3": window(3),
        "all-pairs": all_pairs,
        "mann-kendall": mann_kendall,
        "segmented": segmented,
    }


def _means(curves: Sequence[Curve]) -> Floats:
    return np.array([curve.values.mean(axis=0) for curve in curves])


def _paired(differences: Floats) -> float:
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return float(ndtr(-differences.mean() / error)) if error > 0 else float(differences.mean() <= 0)


def _over_seeds(falls: Floats) -> float:
    error = falls.std(ddof=1) / np.sqrt(len(falls))
    return float(stdtr(len(falls) - 1, -falls.mean() / error)) if error > 0 else float(falls.mean() <= 0)
