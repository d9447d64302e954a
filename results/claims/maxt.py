"""Simultaneous comparisons of rounds: estimates, bootstrap deviations and one critical value for a family.

The statistical machinery under `claims.pdt1`. A comparison is a row of weights over rounds that sum
to 0, such as "round 3 minus the mean of the last two".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from plateau_bench.results.claims.significance import ALPHA
from plateau_bench.results.metrics.estimators import Floats, cluster_codes, resample_counts, two_level
from plateau_bench.results.records import Estimate

POWER_Z = float(ndtri(0.8))

MIN_CLUSTERS = 8
"""Independent tasks that a comparison needs in every seed; of fewer the spread cannot be told."""
STRATEGY_SEEDS = 3
"""Training seeds from which on their spread is resampled, so that a claim is about the strategy."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """One training seed's values, tasks x rounds. NaN where a task has no value in a round.

    A comparison of rounds uses the tasks that have a value in all rounds it names, and is left out where
    they make fewer than `MIN_CLUSTERS` clusters. `halves` are two
    such matrices from disjoint samples, for an estimate of the fall that is not flattered by its peak.
    """

    values: Floats
    clusters: tuple[str, ...]
    halves: tuple[Floats, Floats] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.clusters) != len(self.values):
            raise ValueError(f"{self.values.shape} values need one cluster per row, not {len(self.clusters)}")


class Comparisons:
    """The comparisons of PDT-1 over rounds 0..last with a final window of w rounds."""

    def __init__(self, last: int, w: int) -> None:
        self.last, self.w = last, w
        pairs = [(u, v) for u in range(last + 1) for v in range(u + 1, last + 1)]
        eye = np.eye(last + 1)
        end = eye[last + 1 - w :].mean(axis=0)
        self.pair = {pair: k for k, pair in enumerate(pairs)}
        """(u, v), u < v -> row of "round v minus round u"."""
        self.rises = [self.pair[0, v] for v in range(1, last + 1)]
        self.declines = [len(pairs) + u for u in range(last - w + 1)]
        """Rows of "round u minus the mean of the final window", u in order."""
        self.weights: Floats = np.array(
            [eye[v] - eye[u] for u, v in pairs] + [eye[u] - end for u in range(last - w + 1)]
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fit:
    """Every comparison's estimate and its resampled deviations (replicates x comparisons)."""

    estimate: Floats
    deviation: Floats
    se: Floats
    stretch: float
    """Factor on standard errors: sqrt(S/(S-1)) where seeds are resampled, else 1."""
    clusters: int
    """Fewest independent tasks that any seed brings."""
    units: int
    """What an interval's n counts: seeds where they are resampled, else task clusters."""

    def studentised(self, rows: Sequence[int]) -> Floats:
        """Deviations over their standard error; 0 where a comparison does not vary or is undefined."""
        se = self.se[list(rows)]
        varies = np.nan_to_num(se) > 0
        scaled = np.nan_to_num(self.deviation[:, list(rows)]) / np.where(varies, se, 1.0)
        return np.where(varies, scaled, 0.0)

    def scores(self, rows: Sequence[int]) -> Floats:
        """Estimate over stretched standard error; infinite where it does not vary, NaN where undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self.estimate[list(rows)] / (self.stretch * self.se[list(rows)])
        return np.where(self.estimate[list(rows)] == 0, 0.0, t)


def resample(curves: Sequence[Curve], weights: Floats, boot: int, seed: int, crossed: bool) -> Fit:
    """Rademacher multipliers on task clusters below three seeds, else a bootstrap of seeds and clusters.

    `crossed`: all seeds share their tasks, so one draw of clusters serves them all; else each seed's
    tasks are drawn on their own.
    """
    # Where no value is missing a comparison of resampled round means is the resampled comparison, and
    # there are far fewer rounds than comparisons of them.
    complete = not any(np.isnan(curve.values).any() for curve in curves)
    parts = np.eye(weights.shape[1]) if complete else weights
    tops, bottoms = _sums_by_cluster(curves, parts, crossed)
    with np.errstate(invalid="ignore"):
        each = np.stack(
            [top.sum(axis=0) / bottom.sum(axis=0) for top, bottom in zip(tops, bottoms, strict=True)]
        )
    if not complete:
        each[:, np.min([(bottom > 0).sum(axis=0) for bottom in bottoms], axis=0) < MIN_CLUSTERS] = math.nan
    seeds = len(curves)
    if seeds < STRATEGY_SEEDS:
        deviation = _multipliers(tops, bottoms, each, boot, seed, crossed)
    else:
        replicates = np.empty((seeds, boot, len(parts)))
        for s, (top, bottom) in enumerate(zip(tops, bottoms, strict=True)):
            drawn = resample_counts(len(top), boot, seed, 0 if crossed else s)
            count = drawn @ (bottom[:, :1] if complete else bottom)
            replicates[s] = np.where(count > 0, (drawn @ top) / np.maximum(count, 1e-9), each[s])
        deviation = two_level(replicates, seed, aligned=crossed) - each.mean(axis=0)
    if complete:
        each, deviation = each @ weights.T, deviation @ weights.T
    se = deviation.std(axis=0, ddof=1)
    if seeds >= STRATEGY_SEEDS:
        se = _steady(se, weights)
    groups = [len(top) for top in tops]
    return Fit(
        estimate=each.mean(axis=0),
        deviation=deviation,
        se=se,
        stretch=math.sqrt(seeds / (seeds - 1)) if seeds >= STRATEGY_SEEDS else 1.0,
        clusters=min(groups),
        units=seeds if seeds >= STRATEGY_SEEDS else groups[0] if crossed else sum(groups),
    )


def _steady(se: Floats, weights: Floats) -> Floats:
    """No comparison is credited with less than the median standard error of its kind.

    The spread of three or five seeds is often far too small by luck for one comparison among many, and
    the luckiest one would decide. Kinds are comparisons with equal sums of squared weights.
    """
    steady = se.copy()
    kinds = np.round((weights**2).sum(axis=1), 9)
    for kind in np.unique(kinds):
        rows = (kinds == kind) & ~np.isnan(se)
        if rows.any():
            steady[rows] = np.maximum(se[rows], np.median(se[rows]))
    return steady


def _sums_by_cluster(
    curves: Sequence[Curve], weights: Floats, crossed: bool
) -> tuple[list[Floats], list[Floats]]:
    """Per seed: sums over each cluster's tasks of every comparison, and how many tasks it is defined for."""
    shared, _ = cluster_codes([c for curve in curves for c in curve.clusters])
    tops, bottoms, start = [], [], 0
    for curve in curves:
        codes, groups = cluster_codes(curve.clusters)
        if crossed:
            codes, groups = shared[start : start + len(codes)], int(shared.max()) + 1
            start += len(codes)
        missing = np.isnan(curve.values)
        defined = (missing.astype(np.float64) @ np.abs(weights).T) == 0
        member = np.zeros((groups, len(codes)))
        member[codes, np.arange(len(codes))] = 1.0
        tops.append(member @ np.where(defined, np.where(missing, 0.0, curve.values) @ weights.T, 0.0))
        bottoms.append(member @ defined.astype(np.float64))
    return tops, bottoms


def _multipliers(
    tops: list[Floats], bottoms: list[Floats], each: Floats, boot: int, seed: int, crossed: bool
) -> Floats:
    """Random signs on the clusters' centred sums (wild bootstrap): boot x comparisons."""
    rng = np.random.default_rng(seed)
    total = np.zeros((boot, each.shape[1]))
    signs: Floats | None = None
    for top, bottom, centre in zip(tops, bottoms, each, strict=True):
        groups = len(top)
        if signs is None or not crossed:
            signs = np.where(rng.random((boot, groups)) < 0.5, -1.0, 1.0)
        with np.errstate(invalid="ignore"):
            influence = (top - centre * bottom) / bottom.sum(axis=0)
        total += signs @ influence * math.sqrt(groups / max(1, groups - 1))
    return total / len(tops)


class MaxT:
    """One critical value for the lower bounds of a whole family of comparisons (Westfall-Young max-T)."""

    def __init__(self, fit: Fit, rows: Sequence[int]) -> None:
        self.fit = fit
        self.largest = fit.studentised(rows).max(axis=1)
        self.critical = float(np.quantile(self.largest, 1 - ALPHA))

    def best(self, rows: Sequence[int]) -> tuple[int, Estimate] | None:
        """Position in `rows` and estimate of the comparison with the highest simultaneous lower bound."""
        value = self.fit.estimate[list(rows)]
        reach = self.critical * self.fit.stretch * self.fit.se[list(rows)]
        low = value - reach
        if np.isnan(low).all():
            return None
        k = int(np.nanargmax(low))
        return k, Estimate(float(value[k]), float(low[k]), float(value[k] + reach[k]), self.fit.units)

    def p_value(self, rows: Sequence[int]) -> float:
        """Smallest adjusted p-value among `rows` for "no difference above 0"."""
        t = self.fit.scores(rows)
        if np.isnan(t).all():
            return 1.0
        return float((1 + (self.largest >= np.nanmax(t)).sum()) / (1 + len(self.largest)))

    def mde(self, rows: Sequence[int]) -> float:
        """Smallest true difference that a typical one of `rows` shows with 80 % power; NaN if none varies."""
        se = self.fit.se[list(rows)]
        se = se[se > 0]
        return float((self.critical + POWER_Z) * self.fit.stretch * np.median(se)) if se.size else math.nan
