"""PDT-1: the one procedure that decides whether a curve over rounds rises, levels off or falls.

Comparing the best round with the last one finds a "decline" in a third of flat runs, because the best
of many noisy rounds is lucky. Here every round is compared with the mean of the final ones, all
comparisons share one critical value (a max-T bootstrap), and what is resampled is what was drawn
independently: task clusters for a claim about checkpoints, training seeds and task clusters for a
claim about a strategy. The operating characteristics are measured in `results.validation`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from plateau_bench.results.claims.maxt import (
    MIN_CLUSTERS,
    STRATEGY_SEEDS,
    Comparisons,
    Curve,
    Fit,
    MaxT,
    resample,
)
from plateau_bench.results.claims.significance import ALPHA
from plateau_bench.results.claims.training_noise import training_noise
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.records import Estimate, RoundRecord

WINDOW = 2
"""The final rounds whose mean counts as "the end"."""
RATE_MARGIN = 0.02
"""A change of a pass rate that matters, 2 points."""
NOISE_LIMIT = 0.2
"""Training noise, in logits per round, above which fewer than `NOISY_SEEDS` seeds support no claim."""
NOISE_CAUTION = 0.1
NOISY_SEEDS = 5


class Label(StrEnum):
    """What a curve shows. `PLATEAU` alone: it ends level, but no rise before that was shown."""

    RISE = "rise"
    RISE_PLATEAU = "rise->plateau"
    RISE_DECLINE = "rise->decline"
    PLATEAU = "plateau"
    FLAT = "flat"
    DECLINE = "decline"
    INCONCLUSIVE = "inconclusive"


def curve_of(records: Sequence[RoundRecord], metric: str) -> Curve:
    """One training seed's rounds as a curve; raises ValueError if they differ in tasks or lack `metric`."""
    first = records[0].metrics
    for record in records:
        if record.metrics.task_ids != first.task_ids or metric not in record.metrics.per_task:
            raise ValueError(
                f"round {record.metrics.round} has no {metric} on the tasks of round {first.round}"
            )

    def matrix(name: str) -> Floats:
        return np.array([r.metrics.per_task[name] for r in records], dtype=np.float64).T

    split = f"{metric}/even" in first.per_task
    halves = (matrix(f"{metric}/even"), matrix(f"{metric}/odd")) if split else None
    return Curve(values=matrix(metric), clusters=first.clusters, halves=halves)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What PDT-1 says about one metric of one arm. Differences are in the metric's own unit."""

    label: Label
    level: str
    """'strategy' (would happen again with new training seeds) or 'checkpoint' (these checkpoints only)."""
    rise: Estimate | None
    """`rise_round` minus round 0, the rise with the highest lower bound; its bounds are simultaneous."""
    rise_round: int | None
    fall: Estimate | None
    """`fall_round` minus the mean of the final `w` rounds, likewise. Positive is a fall."""
    fall_round: int | None
    p_rise: float
    p_fall: float
    """Adjusted for all comparisons (max-T)."""
    p_plateau: float
    """For 'no round after T-3 is better than it by delta'."""
    material: bool
    """The fall's lower bound exceeds `delta`."""
    delta: float
    """The margin of `material` and of a plateau, in the metric's unit."""
    plateau_from: int | None
    """First round that no later one exceeds by `delta` or more; None if not shown or if it declines."""
    plateau_margin: float | None
    """Smallest `delta` for which a plateau could have been claimed."""
    peak_rounds: tuple[int, ...]
    """Every round that may be the best one (Hsu's multiple comparisons with the best)."""
    final_minus_base: Estimate | None
    """Mean of the final `w` rounds minus round 0, with a pointwise 95 % interval."""
    split_drop: float | None
    """Fall from the peak where the peak was picked on one half of the samples and measured on the other."""
    mde: float
    """Smallest true fall that would be found in 80 % of such runs."""
    critical: float
    sd_round: float | None
    """Training noise from round to round, in logits; None where one seed or another scale hides it."""
    notes: tuple[str, ...]


def classify(
    curves: Sequence[Curve],
    *,
    delta: float = RATE_MARGIN,
    boot: int = 2000,
    seed: int,
    crossed: bool = False,
) -> Phase:
    """Label the curve of one arm from one `Curve` per training seed; see `examine` for the procedure.

    Raises ValueError for no curve, fewer than two rounds, or curves of different length.
    """
    found = examine(curves, delta=delta, boot=boot, seed=seed, crossed=crossed)
    fit, rows, test = found.fit, found.rows, found.test
    risen, fallen = found.risen, found.fallen
    return Phase(
        label=found.label,
        level="strategy" if len(curves) >= STRATEGY_SEEDS else "checkpoint",
        rise=risen[1] if risen else None,
        rise_round=risen[0] + 1 if risen else None,
        fall=fallen[1] if fallen else None,
        fall_round=fallen[0] if fallen else None,
        p_rise=test.p_value(rows.rises),
        p_fall=test.p_value(rows.declines),
        p_plateau=found.level.p,
        material=_exceeds(fallen, delta),
        delta=delta,
        plateau_from=None if _exceeds(fallen, 0) else found.level.start,
        plateau_margin=found.level.margin,
        peak_rounds=_peaks(fit, rows),
        final_minus_base=_final_minus_base(fit, rows),
        split_drop=_split_drop(curves, rows.w),
        mde=test.mde(rows.declines),
        critical=test.critical,
        sd_round=found.noise,
        notes=tuple(found.notes),
    )


class Evidence(NamedTuple):
    """The tests behind a label, before anything is told about sizes and peaks."""

    fit: Fit
    rows: Comparisons
    test: MaxT
    risen: tuple[int, Estimate] | None
    fallen: tuple[int, Estimate] | None
    level: "_Level"
    noise: float | None
    label: Label
    notes: list[str]
    refused: bool
    """Too few tasks, or too noisy for the seeds at hand: inconclusive whatever the tests say."""


def _exceeds(found: tuple[int, Estimate] | None, margin: float) -> bool:
    return found is not None and found[1].low > margin


def examine(
    curves: Sequence[Curve],
    *,
    w: int = WINDOW,
    delta: float = RATE_MARGIN,
    boot: int = 2000,
    seed: int,
    crossed: bool = False,
) -> Evidence:
    """PDT-1's tests and label; raises as `classify` does.

    RISE: some round exceeds round 0; DECLINE: some round exceeds the mean of the final `w`; both with
    simultaneous lower bounds above 0 over one joint family at level `ALPHA`. PLATEAU from tau: no
    decline, and for every tau' from tau to T-3 no later round exceeds tau' by `delta` (metric units). That
    is a fixed sequence of intersection-union tests from T-3 downwards, so each is made at `ALPHA`. FLAT
    is a plateau from round 0 that no later round falls below by `delta` either, without rise.

    With three or more seeds the two-way bootstrap is used; its standard errors are stretched by
    sqrt(S/(S-1)) and none may be below the median of its kind. With fewer, Rademacher multipliers on
    task clusters speak of these checkpoints only. `crossed`: all seeds were measured on the same tasks;
    else each has tasks of its own. Too few clusters, or too much training noise for the seeds at hand,
    and the label is INCONCLUSIVE whatever the tests say.
    """
    rounds = {curve.values.shape[1] for curve in curves}
    if len(rounds) != 1 or min(rounds) < 2:
        raise ValueError(
            f"curves with one common number of rounds, at least 2, are needed; got {sorted(rounds)}"
        )
    last = rounds.pop() - 1
    notes = []
    if w > last:
        w = last
        notes.append(f"only {last + 1} rounds: the final window is {w} round(s)")
    rows = Comparisons(last, w)
    fit = resample(curves, rows.weights, boot, seed, crossed)
    test = MaxT(fit, [*rows.rises, *rows.declines])
    risen, fallen = test.best(rows.rises), test.best(rows.declines)
    level = _plateau(fit, rows, delta)
    noise = training_noise(curves)
    refused = fit.clusters < MIN_CLUSTERS or _too_noisy(len(curves), noise)
    label = Label.INCONCLUSIVE
    if not refused:
        never_below = _never_below_base(fit, rows, delta)
        label = _label(_exceeds(risen, 0), _exceeds(fallen, 0), level.start, never_below)
    notes += _notes(curves, fit, noise)
    return Evidence(fit, rows, test, risen, fallen, level, noise, label, notes, refused)


def _label(risen: bool, fallen: bool, plateau_from: int | None, never_below_base: bool) -> Label:
    if fallen:
        return Label.RISE_DECLINE if risen else Label.DECLINE
    if risen:
        return Label.RISE if plateau_from is None else Label.RISE_PLATEAU
    if plateau_from == 0 and never_below_base:
        return Label.FLAT
    return Label.INCONCLUSIVE if plateau_from is None else Label.PLATEAU


class _Level(NamedTuple):
    start: int | None
    margin: float | None
    p: float


def _plateau(fit: Fit, rows: Comparisons, delta: float) -> _Level:
    """From which round on no later one is better by `delta`.

    The highest of several pointwise upper bounds is already an upper bound for the highest of the
    differences, so no joint critical value is needed within one tau; and a fixed sequence over tau
    spends nothing, as each is only tried after all later ones held.
    """
    start = margin = None
    p = 1.0
    for tau in range(rows.last - 3, -1, -1):
        later = [rows.pair[tau, u] for u in range(tau + 1, rows.last + 1)]
        high = _upper(fit, later).max()
        if tau == rows.last - 3:
            if np.isnan(high):
                break
            margin = float(high)
            beyond = fit.deviation[:, later] * fit.stretch <= fit.estimate[later] - delta
            p = float((1 + beyond.sum(axis=0).max()) / (1 + len(beyond)))
        if not high < delta:
            break
        start = tau
    return _Level(start, margin, p)


def _upper(fit: Fit, rows: list[int]) -> Floats:
    """Pointwise one-sided upper bounds."""
    reach = np.quantile(-fit.studentised(rows), 1 - ALPHA, axis=0)
    return fit.estimate[rows] + reach * fit.stretch * fit.se[rows]


def _never_below_base(fit: Fit, rows: Comparisons, delta: float) -> bool:
    reach = np.quantile(fit.studentised(rows.rises), 1 - ALPHA, axis=0)
    low = fit.estimate[rows.rises] - reach * fit.stretch * fit.se[rows.rises]
    return bool((low > -delta).all())


def _peaks(fit: Fit, rows: Comparisons) -> tuple[int, ...]:
    """Rounds that no other round is shown to exceed, each judged against all others (Hsu 1981)."""
    kept = []
    for u in range(rows.last + 1):
        others = [v for v in range(rows.last + 1) if v != u]
        pairs = [rows.pair[min(u, v), max(u, v)] for v in others]
        sign = np.array([1.0 if v > u else -1.0 for v in others])
        critical = np.quantile((fit.studentised(pairs) * sign).max(axis=1), 1 - ALPHA)
        scores = fit.scores(pairs) * sign
        if not np.nanmax(np.nan_to_num(scores, nan=-math.inf)) > critical:
            kept.append(u)
    return tuple(kept)


def _final_minus_base(fit: Fit, rows: Comparisons) -> Estimate | None:
    k = rows.declines[0]
    if np.isnan(fit.estimate[k]):
        return None
    reach = float(np.quantile(np.abs(fit.deviation[:, k]), 0.95)) * fit.stretch
    value = -float(fit.estimate[k])
    return Estimate(value, value - reach, value + reach, fit.units)


def _split_drop(curves: Sequence[Curve], w: int) -> float | None:
    means = []
    for curve in curves:
        if curve.halves is None:
            return None
        whole = ~np.isnan(np.hstack(curve.halves)).any(axis=1)
        if not whole.any():
            return None
        means.append([half[whole].mean(axis=0) for half in curve.halves])
    first, second = np.mean(means, axis=0)
    drops = []
    for pick, score in ((first, second), (second, first)):
        peak = int(np.argmax(pick[: len(pick) - w]))
        drops.append(score[peak] - score[-w:].mean())
    return float(np.mean(drops))


def _too_noisy(seeds: int, noise: float | None) -> bool:
    return STRATEGY_SEEDS <= seeds < NOISY_SEEDS and noise is not None and noise > NOISE_LIMIT


def _notes(curves: Sequence[Curve], fit: Fit, noise: float | None) -> list[str]:
    seeds, notes = len(curves), []
    if seeds < STRATEGY_SEEDS:
        notes.append(
            f"{seeds} training seed(s): this is about these checkpoints; whether the strategy would do it "
            f"again needs at least {STRATEGY_SEEDS} seeds"
        )
    if fit.clusters < MIN_CLUSTERS:
        notes.append(f"only {fit.clusters} independent tasks: at least {MIN_CLUSTERS} are needed for a claim")
    if np.isnan(fit.estimate).any():
        notes.append(
            f"some rounds share fewer than {MIN_CLUSTERS} independent tasks with a value: comparisons "
            "between them are left out"
        )
    if _too_noisy(seeds, noise):
        notes.append(
            f"training noise of {noise:.2f} logits is too large for {seeds} seeds; use {NOISY_SEEDS}"
        )
    elif noise is not None and noise > NOISE_CAUTION and STRATEGY_SEEDS <= seeds < NOISY_SEEDS:
        notes.append(f"training noise of {noise:.2f} logits: with {seeds} seeds error rates are approximate")
    return notes


class Collapse(NamedTuple):
    """Whether success held or rose while diversity fell. Not claimed means "not shown", not "safe"."""

    claimed: bool | None
    """None where one of the two could not be judged."""
    p: float | None
    """The larger Holm-adjusted p-value of the two parts."""


def silent_collapse(success: Phase | None, diversity: Phase | None) -> Collapse:
    """RISE or PLATEAU of the pass rate AND DECLINE of diversity (correct-only Hill-1), Holm over the two.

    The first part is a choice of two, so its smaller p-value counts twice. Nothing is claimed where the
    pass rate declines or either phase was refused a label for want of tasks or seeds.
    """
    if success is None or diversity is None:
        return Collapse(None, None)
    held = min(1.0, 2 * min(success.p_rise, success.p_plateau))
    first, second = sorted((held, diversity.p_fall))
    p = max(min(1.0, 2 * first), second)
    fits = success.label in (Label.RISE, Label.RISE_PLATEAU, Label.FLAT, Label.PLATEAU)
    falls = diversity.label in (Label.DECLINE, Label.RISE_DECLINE)
    return Collapse(fits and falls and p <= ALPHA, p)
