"""By how many rounds a remedy puts off a loss, paired by training seed with the arm it should remedy.

A loss happens in the first round in which the falling course that fits a measure best (antitonic
regression, Ayer et al. 1955) is beyond a fixed threshold: noise of single rounds neither brings it
forward nor undoes it. It is known to lie between that round and the one before; an arm without the loss
is only known to be later than the last round, and enters with one round after it, so that a delay is then
a lower bound.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev

import numpy as np

from plateau_bench.results.claims.arms import Rounds, measured
from plateau_bench.results.claims.maxt import STRATEGY_SEEDS
from plateau_bench.results.claims.pdt1 import NOISE_LIMIT, NOISY_SEEDS, curve_of
from plateau_bench.results.claims.significance import ALPHA, holm
from plateau_bench.results.claims.training_noise import training_noise
from plateau_bench.results.metrics.estimators import (
    REPLICATES,
    Floats,
    cluster_codes,
    resample_counts,
    student,
    two_level,
)
from plateau_bench.results.records import Estimate, RoundRecord

_ROUNDING = 1 / 6
"""Variance that rounding to whole rounds leaves in a difference of two event times: 2 x 1/12."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a curve at most once."""

    key: str
    title: str
    metric: str
    meaning: str
    when: Callable[[Floats], Floats]
    """Round values (... x rounds) -> round of the event (...); `never(...)` where it does not happen."""
    margin: int = 0
    """So many rounds before the last one it can happen at the latest."""

    def never(self, last: int) -> int:
        return last - self.margin + 1


def falling_fit(values: Floats) -> Floats:
    """Best non-increasing fit, last axis: min over u <= t of the max over v >= t of mean(u..v)."""
    fit = np.full(values.shape, np.inf)
    for u in range(values.shape[-1]):
        means = np.cumsum(values[..., u:], axis=-1) / np.arange(1, values.shape[-1] - u + 1)
        highest = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fit[..., u:] = np.minimum(fit[..., u:], highest)
    return fit


def _first(happened: np.ndarray, never: int) -> Floats:
    return np.where(happened.any(axis=-1), happened.argmax(axis=-1), never).astype(np.float64)


def variety_lost(values: Floats) -> Floats:
    """First round in which the falling fit is below 80 % of round 0."""
    return _first(falling_fit(values) < 0.8 * values[..., :1], values.shape[-1])


def success_lost(values: Floats) -> Floats:
    """First round in which the falling fit is more than 2 points below round 0."""
    return _first(falling_fit(values) < values[..., :1] - 0.02, values.shape[-1])


def level_reached(values: Floats) -> Floats:
    """First round, at most the last but three, after which the best rising fit gains less than 2 points."""
    last = values.shape[-1] - 1
    rising = -falling_fit(-values)
    return _first(rising[..., -1:] - rising[..., : last - 2] < 0.02, last - 2)


EVENTS = (
    Event("variety", "variety lost", "hill1", "Hill-1 falls below 80 % of its base value", variety_lost),
    Event("success", "success lost", "pass@1", "pass@1 falls 2 points below the base", success_lost),
    Event(
        "plateau",
        "growth ends",
        "pass@1",
        "pass@1 stops growing: less than 2 points are still to come",
        level_reached,
        margin=3,
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """One arm's event against the same event in the arm it is paired with. Rounds throughout."""

    happened: tuple[float | None, ...] = ()
    """Seed by seed, the round by which it had happened; None: not within the run."""
    median: float | None = None
    """None: in half of the seeds or more it did not happen."""
    gain: float | None = None
    """Difference of the medians over seeds; a lower bound where `at_least`."""
    at_least: bool = False
    mean: Estimate | None = None
    """Mean paired difference with a 95 % interval; n counts seeds. None below three seeds."""
    p: float | None = None
    """Two-sided; None where nothing may be claimed about the strategy."""
    p_holm: float | None = None
    """Corrected over the arms."""

    @property
    def significant(self) -> bool:
        return self.p_holm is not None and self.p_holm <= ALPHA


def delays(arms: Mapping[str, Rounds], base: str) -> dict[str, dict[str, Delay]]:
    """Event -> arm -> delay against `base`, for every arm and each event whose metric all have.

    Holm's correction runs over the arms of one event. Arms are cut to the seeds and rounds that they
    share with `base`. No p-value below three seeds, nor below five where training noise exceeds 0.2 logits.
    Raises ValueError if there is no arm `base`.
    """
    if base not in arms:
        raise ValueError(f"no arm {base!r} to compare with; arms: {', '.join(arms)}")
    found: dict[str, dict[str, Delay]] = {}
    for event in EVENTS:
        if not all(measured(rounds, event.metric) for rounds in arms.values()):
            continue
        by_arm = {arm: _delay(event, arms[arm], arms[base], same=arm == base) for arm in arms}
        tested = [arm for arm, delay in by_arm.items() if delay.p is not None]
        adjusted = dict(zip(tested, holm([by_arm[arm].p or 0.0 for arm in tested]), strict=True))
        found[event.key] = {arm: replace(delay, p_holm=adjusted.get(arm)) for arm, delay in by_arm.items()}
    return found


def _delay(event: Event, arm: Rounds, base: Rounds, *, same: bool) -> Delay:
    seeds = [seed for seed in arm if seed in base]
    last = min((len(side[s]) for side in (arm, base) for s in seeds), default=0) - 1
    never = event.never(last)
    if last < max(1, event.margin):
        return Delay()
    sides = [[side[s][: last + 1] for s in seeds] for side in (arm, base)]
    ours, theirs = ([float(event.when(_means(records, event.metric))) for records in side] for side in sides)
    middle, reference = median(ours), median(theirs)
    mean = p = None
    if not same and len(seeds) >= STRATEGY_SEEDS and reference < never:
        mean, p = _test(event, sides[0], sides[1], ours, theirs)
    return Delay(
        happened=tuple(None if at >= never else at for at in ours),
        median=None if middle >= never else middle,
        gain=None if same or reference >= never else middle - reference,
        at_least=not same and middle >= never,
        mean=mean,
        p=p,
    )


def _means(records: Sequence[RoundRecord], metric: str) -> Floats:
    columns = np.array([r.metrics.per_task[metric] for r in records], dtype=np.float64)
    known = ~np.isnan(columns)
    return np.asarray(np.where(known, columns, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _test(
    event: Event,
    arm: Sequence[Sequence[RoundRecord]],
    base: Sequence[Sequence[RoundRecord]],
    ours: Sequence[float],
    theirs: Sequence[float],
) -> tuple[Estimate, float | None]:
    """Mean paired difference, and its p-value by Student's t over seeds.

    Where each seed has tasks of its own, the spread over seeds holds all luck: of training and of tasks.
    Where all share their tasks it does not, and the standard error comes from PDT-1's two-way bootstrap,
    stretched by sqrt(S/(S-1)). Either is put to a t distribution with S - 1 degrees of freedom, since
    so few seeds have no bootstrap tails as thin as Holm's correction over many arms needs; and neither
    may be less than what rounding to whole rounds leaves.
    """
    seeds = len(ours)
    differences = [x - y for x, y in zip(ours, theirs, strict=True)]
    error = stdev(differences) / math.sqrt(seeds)
    if len({records[0].metrics.task_ids for records in arm}) == 1:
        error = max(error, _bootstrap_error(event, arm, base))
    error = max(error, math.sqrt(_ROUNDING / seeds))
    estimate, p = student(fmean(differences), error, seeds)
    too_noisy = seeds < NOISY_SEEDS and any(_noisy(side) for side in (arm, base))
    return estimate, None if too_noisy else p


def _bootstrap_error(
    event: Event, arm: Sequence[Sequence[RoundRecord]], base: Sequence[Sequence[RoundRecord]]
) -> float:
    """Standard error of the mean paired difference: seeds and their common task clusters resampled."""
    seeds = len(arm)
    replicates = np.empty((seeds, REPLICATES, 1))
    for s, sides in enumerate(zip(arm, base, strict=True)):
        later, earlier = (_resampled(event, records) for records in sides)
        replicates[s, :, 0] = later - earlier
    spread = float(two_level(replicates, 0, aligned=True)[:, 0].std(ddof=1))
    return spread * math.sqrt(seeds / (seeds - 1))


def _noisy(side: Sequence[Sequence[RoundRecord]]) -> bool:
    noise = training_noise([curve_of(records, "pass@1") for records in side])
    return noise is not None and noise > NOISE_LIMIT


def _resampled(event: Event, records: Sequence[RoundRecord]) -> Floats:
    """The event's round in each bootstrap replicate of the task clusters; equal draws for all."""
    columns = np.array([r.metrics.per_task[event.metric] for r in records], dtype=np.float64).T
    codes, groups = cluster_codes(records[0].metrics.clusters)
    known = ~np.isnan(columns)
    sums, counts = np.zeros((2, groups, columns.shape[1]))
    np.add.at(sums, codes, np.where(known, columns, 0.0))
    np.add.at(counts, codes, known.astype(np.float64))
    drawn = resample_counts(groups, REPLICATES, 0)
    return event.when((drawn @ sums) / np.maximum(drawn @ counts, 1e-9))
