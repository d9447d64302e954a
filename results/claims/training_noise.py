"""Training noise: how much one more training run of the same strategy would differ, round by round."""

import math
from collections.abc import Sequence

import numpy as np

from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.metrics.estimators import Floats, cluster_codes


def training_noise(curves: Sequence[Curve]) -> float | None:
    """Standard deviation of round-level training noise, in logits, from how seeds disagree round by round.

    The residual of seed means after seed and round effects, less what task and sample noise explains
    (measured across task clusters), over the slope of the mean rate: mean p(1-p) over tasks, since a
    shift of every task's logit moves the mean by that. None below two seeds or three rounds, or where
    values are no rates.
    """
    seeds, rounds = len(curves), curves[0].values.shape[1]
    known = [c.values[~np.isnan(c.values).any(axis=1)] for c in curves]
    if seeds < 2 or rounds < 3 or any(not len(v) or v.min() < 0 or v.max() > 1 for v in known):
        return None
    slope = float(np.mean([np.mean(v.mean(axis=1) * (1 - v.mean(axis=1))) for v in known]))
    if slope == 0:
        return None
    means = np.array([v.mean(axis=0) for v in known])
    residual = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    observed = float((residual**2).sum()) / ((seeds - 1) * (rounds - 1))
    explained = float(np.mean([_sampling_variance(c) for c in curves])) * rounds / (rounds - 1)
    return math.sqrt(max(0.0, observed - explained)) / slope


def _sampling_variance(curve: Curve) -> Floats:
    """Variance of each round's mean around the seed's level, as task clusters show it."""
    whole = np.logical_not(np.isnan(curve.values).any(axis=1))
    rows, labels = curve.values[whole], [curve.clusters[i] for i in np.flatnonzero(whole)]
    dev = rows - rows.mean(axis=1, keepdims=True)
    dev = dev - dev.mean(axis=0)
    codes, groups = cluster_codes(labels)
    sums = np.zeros((groups, dev.shape[1]))
    np.add.at(sums, codes, dev)
    return np.asarray((sums**2).sum(axis=0) / len(rows) ** 2 * groups / max(1, groups - 1))
