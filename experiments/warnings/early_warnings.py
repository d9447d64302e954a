"""Early warnings: what a run shows in round t, held against a decline by round t + 2.

A moment is one round of one arm and training seed; `results.alarms` says what counts as a decline and on
which samples pass rates are read. Other measures of the graded attempts are marked `shared`, never chosen.

A candidate is scored on seeds that had no say in its direction and threshold, and its p-value allows for all
candidates tried: the arms' outcomes are permuted, whole arms at a time, and the best candidate of each
permutation is what has to be beaten. Whatever rises or falls with time in every arm gains nothing by that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from experiments.warnings.alarms import HORIZON, PASS_RATES, RULES, Means, declines, means_of
from plateau_bench.results.claims.arms import Rounds
from plateau_bench.results.metrics.estimators import Floats, over_seeds
from plateau_bench.results.metrics.registry import shares_attempts
from plateau_bench.results.records import Estimate

if TYPE_CHECKING:
    from rich.table import Table

FIRST = 2
"""Moments start here, so that a change over two rounds exists."""
FORMS = ("now", "since base", "over 1 round", "over 2 rounds")
PERMUTATIONS = 999
MIN_ARMS = 5
"""With fewer arms there are too few permutations for a p-value."""
_BOOT = 2000
_MISSING = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How well one candidate, or one rule that people use, warns."""

    name: str
    form: str
    """One of `FORMS`, or 'rule'."""
    warns: str
    """'high' or 'low' values warn; '' for a rule."""
    shared: bool
    """Read on samples that the fall is measured from as well: some of its score is regression to the mean."""
    auc: Estimate | None
    """Chance that a moment before a decline looks worse than another one of its seed; n counts seeds."""
    p: float | None
    """Adjusted for every candidate and rule; None where too few arms allow none."""
    hits: int
    false_alarms: int
    misses: int
    quiet: int
    """Moments with an alarm or without, before a decline or not; thresholds come from the other seeds."""

    @property
    def precision(self) -> float | None:
        return _share(self.hits, self.false_alarms)

    @property
    def recall(self) -> float | None:
        return _share(self.hits, self.misses)

    @property
    def false_alarm_rate(self) -> float | None:
        return _share(self.false_alarms, self.quiet)


def _share(some: int, others: int) -> float | None:
    return some / (some + others) if some + others else None


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyWarnings:
    """All scores of one run, best candidates first."""

    arms: int
    seeds: int
    moments: int
    declines: int
    candidates: tuple[Score, ...]
    rules: tuple[Score, ...]
    selected: Score | None
    """The candidate that was best on the other seeds, chosen anew for each seed and scored there."""
    chosen: tuple[str, ...]
    """Which one that was, seed by seed."""
    notes: tuple[str, ...]


def early_warnings(
    arms: Mapping[str, Rounds], *, metrics: Sequence[str] | None = None, seed: int = 0
) -> EarlyWarnings:
    """Score every round value and its changes as warnings of a decline two rounds later.

    `metrics`: only these (default: all that were measured). Arms are used if they have every seed and
    round that the most complete arm has. Raises ValueError with fewer than five measured rounds, or if
    an arm has no per-task pass@1.
    """
    arms, notes = _complete(arms)
    names = list(arms)
    seeds = list(next(iter(arms.values())))
    rounds = len(arms[names[0]][seeds[0]])
    moments = range(FIRST, rounds - HORIZON)
    declined = np.array(
        [[[declines(arms[a][s], t) for t in moments] for s in seeds] for a in names], dtype=bool
    )
    means: dict[tuple[str, int], Means] = {
        (a, s): [means_of(r) for r in arms[a][s]] for a in names for s in seeds
    }
    labels, values = _candidates(means, names, seeds, moments, metrics)
    rules = {
        name: np.array(
            [[[rule(arms[a][s], means[a, s], t) for t in moments] for s in seeds] for a in names],
            dtype=np.float64,
        )
        for name, rule in RULES.items()
    }
    pool = _Pool(np.concatenate([values, np.stack(list(rules.values()), axis=-1)], axis=-1), declined)
    if len(seeds) == 1:
        notes.append("one training seed: directions and thresholds were chosen where they were scored")
    if not declined.any() or declined.all():
        notes.append("no decline among the moments" if not declined.any() else "every moment is a decline")
        p: list[float | None] = [None] * pool.values.shape[-1]
    else:
        p = pool.p_values(PERMUTATIONS, seed, directed=len(labels))
        if len(names) < MIN_ARMS:
            notes.append(f"{len(names)} arms: too few for p-values, at least {MIN_ARMS} are needed")
    count = len(labels)
    scores = [_score(pool, k, *labels[k], p=p[k], seed=seed) for k in range(count)]
    fixed = [_score(pool, count + i, name, "rule", p=p[count + i], seed=seed) for i, name in enumerate(rules)]
    selected, chosen = _select(pool, labels, seed)
    return EarlyWarnings(
        arms=len(names),
        seeds=len(seeds),
        moments=declined.size,
        declines=int(declined.sum()),
        candidates=tuple(sorted(scores, key=lambda s: -(s.auc.value if s.auc else 0.0))),
        rules=tuple(fixed),
        selected=selected,
        chosen=chosen,
        notes=tuple(notes),
    )


def _complete(arms: Mapping[str, Rounds]) -> tuple[dict[str, Rounds], list[str]]:
    """Arms with as many seeds and rounds as the most complete one has."""
    started: dict[str, Rounds] = {a: {s: r for s, r in by_seed.items() if r} for a, by_seed in arms.items()}
    started = {a: by_seed for a, by_seed in started.items() if by_seed}
    seeds = max((len(by_seed) for by_seed in started.values()), default=0)
    rounds = max((len(r) for by_seed in started.values() for r in by_seed.values()), default=0)
    if rounds < FIRST + HORIZON + 1:
        raise ValueError(
            f"early warnings need at least {FIRST + HORIZON + 1} measured rounds, this run has {rounds}"
        )
    kept = {
        a: by_seed
        for a, by_seed in started.items()
        if len(by_seed) == seeds and all(len(r) == rounds for r in by_seed.values())
    }
    left_out = sorted(set(arms) - set(kept))
    return kept, [f"unfinished, left out: {', '.join(left_out)}"] if left_out else []


def _candidates(
    means: Mapping[tuple[str, int], Means],
    arms: Sequence[str],
    seeds: Sequence[int],
    moments: range,
    metrics: Sequence[str] | None,
) -> tuple[list[tuple[str, str]], Floats]:
    """(metric, form) of each candidate, and their values: arms x seeds x moments x candidates, no NaN.

    Candidates missing in more than a fifth of the moments, or that never vary, are left out; other
    holes take their seed's median, which speaks neither way.
    """
    names = metrics or sorted({name for rounds in means.values() for m in rounds for name in m})
    length = len(next(iter(means.values())))
    labels, columns = [], []
    for name in names:
        x = np.array(
            [[[means[a, s][t].get(name, math.nan) for t in range(length)] for s in seeds] for a in arms]
        )
        at = np.array(moments)
        forms = (x[..., at], x[..., at] - x[..., :1], *(x[..., at] - x[..., at - back] for back in (1, 2)))
        for form, column in zip(FORMS, forms, strict=True):
            holes = np.isnan(column)
            if holes.mean() > _MISSING:
                continue
            filled = column.copy()
            for s in range(len(seeds)):
                filled[:, s][holes[:, s]] = np.nanmedian(column[:, s]) if not holes[:, s].all() else 0.0
            if np.ptp(filled) > 0:
                labels.append((name, form))
                columns.append(filled)
    shape = (len(arms), len(seeds), len(moments))
    return labels, np.stack(columns, axis=-1) if columns else np.empty((*shape, 0))


class _Pool:
    """Ranks within each seed, from which every area under a ROC curve follows."""

    def __init__(self, values: Floats, declined: np.ndarray) -> None:
        self.values, self.declined = values, declined
        flat = values.transpose(1, 0, 2, 3).reshape(values.shape[1], -1, values.shape[3])
        self.ranks: Floats = rankdata(flat, axis=1)
        """seeds x moments x candidates."""
        self.higher, self.total = self.pairs(declined)

    def pairs(self, declined: np.ndarray) -> tuple[Floats, Floats]:
        """Per seed and candidate, pairs whose moment before a decline ranks higher; per seed, all pairs."""
        y = declined.transpose(1, 0, 2).reshape(declined.shape[1], -1).astype(np.float64)
        ones = y.sum(axis=1)
        higher = np.einsum("sm,smk->sk", y, self.ranks) - (ones * (ones + 1) / 2)[:, None]
        return higher, ones * (y.shape[1] - ones)

    def p_values(self, permutations: int, seed: int, *, directed: int) -> list[float | None]:
        """Max-T over all columns; columns before `directed` may warn either way, later ones when high."""
        arms = len(self.declined)
        if arms < MIN_ARMS:
            return [None] * self.values.shape[-1]
        rng = np.random.default_rng(seed)

        def strength(declined: np.ndarray) -> Floats:
            higher, pairs = self.pairs(declined)
            lean = higher.sum(axis=0) / pairs.sum() - 0.5
            lean[:directed] = np.abs(lean[:directed])
            return lean

        own = strength(self.declined)
        best = np.array([strength(self.declined[rng.permutation(arms)]).max() for _ in range(permutations)])
        return [float((1 + (best >= x - 1e-12).sum()) / (1 + permutations)) for x in own]

    def sign(self, k: int, left_out: int | None) -> float:
        """+1 if high values of candidate k precede declines in the other seeds, else -1."""
        higher, pairs = self.higher, self.total
        keep = [s for s in range(len(pairs)) if s != left_out]
        return 1.0 if higher[keep, k].sum() >= pairs[keep].sum() / 2 else -1.0


class _Tally(NamedTuple):
    """One candidate on one seed: concordant pairs, all pairs, and what its alarms met."""

    concordant: float
    pairs: float
    counts: tuple[int, int, int, int]


def _tally(pool: _Pool, k: int, s: int, *, rule: bool) -> _Tally:
    seeds = pool.values.shape[1]
    left_out = s if seeds > 1 else None
    sign = 1.0 if rule else pool.sign(k, left_out)
    higher, pairs = pool.higher, pool.total
    concordant = higher[s, k] if sign > 0 else pairs[s] - higher[s, k]
    others = [o for o in range(seeds) if o != left_out]
    x, y = sign * pool.values[:, s, :, k], pool.declined[:, s]
    limit = 0.5 if rule else _threshold(sign * pool.values[:, others, :, k], pool.declined[:, others])
    alarm = x >= limit
    counts = ((alarm & y).sum(), (alarm & ~y).sum(), (~alarm & y).sum(), (~alarm & ~y).sum())
    return _Tally(float(concordant), float(pairs[s]), tuple(map(int, counts)))  # type: ignore[arg-type]


def _threshold(x: Floats, y: np.ndarray) -> float:
    """Alarm from this value on: the largest difference of hit rate and false-alarm rate (Youden's J)."""
    if not y.any() or y.all():
        return math.inf
    order = np.argsort(-x.ravel(), kind="stable")
    ranked, hit = x.ravel()[order], y.ravel()[order]
    gain = np.cumsum(hit) / hit.sum() - np.cumsum(~hit) / (~hit).sum()
    ends = np.append(ranked[1:] != ranked[:-1], True)
    return float(ranked[int(np.argmax(np.where(ends, gain, -np.inf)))])


def _score(
    pool: _Pool, k: int, name: str, form: str, *, p: float | None, seed: int, tallies: Sequence[_Tally] = ()
) -> Score:
    rule = form == "rule"
    tallies = tallies or [_tally(pool, k, s, rule=rule) for s in range(pool.values.shape[1])]
    hits, false_alarms, misses, quiet = np.sum([t.counts for t in tallies], axis=0)
    warns = "" if rule or k < 0 else "high" if pool.sign(k, None) > 0 else "low"
    return Score(
        name=name,
        form=form,
        warns=warns,
        shared=not rule and shares_attempts(name) and name not in PASS_RATES,
        auc=_area(tallies, seed),
        p=p,
        hits=int(hits),
        false_alarms=int(false_alarms),
        misses=int(misses),
        quiet=int(quiet),
    )


def _area(tallies: Sequence[_Tally], seed: int) -> Estimate | None:
    """Concordant share of the pairs within seeds; the interval resamples seeds, which are few."""
    top = np.array([tally.concordant for tally in tallies])
    bottom = np.array([tally.pairs for tally in tallies])
    if bottom.sum() == 0:
        return None
    value = float(top.sum() / bottom.sum())
    seeds = len(tallies)
    if seeds == 1:
        return Estimate(value, 0.0, 1.0, 1)
    drawn = np.random.default_rng(seed).integers(seeds, size=(_BOOT, seeds))
    below = bottom[drawn].sum(axis=1)
    replicates = top[drawn].sum(axis=1)[below > 0] / below[below > 0]
    return over_seeds(value, replicates, seeds, (0.0, 1.0))


def _select(
    pool: _Pool, labels: Sequence[tuple[str, str]], seed: int
) -> tuple[Score | None, tuple[str, ...]]:
    """The best unshared candidate of the other seeds, scored on each left-out seed."""
    open_to = [k for k, (name, _) in enumerate(labels) if not shares_attempts(name) or name in PASS_RATES]
    seeds = pool.values.shape[1]
    higher, pairs = pool.higher, pool.total
    if seeds < 2 or not open_to or pairs.sum() == 0:
        return None, ()
    tallies, chosen = [], []
    for s in range(seeds):
        others = [o for o in range(seeds) if o != s]
        if pairs[others].sum() == 0:
            continue
        lean = np.abs(higher[others].sum(axis=0) / pairs[others].sum() - 0.5)
        k = max(open_to, key=lambda k: lean[k])
        tallies.append(_tally(pool, k, s, rule=False))
        chosen.append(", ".join(labels[k]))
    if not tallies:
        return None, ()
    return _score(pool, -1, "best of the other seeds", "chosen", p=None, seed=seed, tallies=tallies), tuple(
        chosen
    )


def warnings_table(found: EarlyWarnings, top: int = 12) -> "Table":
    """The best candidates, the choice made without the scored seed, and the rules that people use."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = (
        f"signs in round t of a decline by round t + {HORIZON}: {found.declines} of {found.moments} moments, "
        f"{found.arms} arms, {found.seeds} seeds"
    )
    table = Table(title=Text(title), box=SIMPLE_HEAD, pad_edge=False)
    for name in ("sign", "form", "warns"):
        table.add_column(name, overflow="fold")
    for name in ("AUC", "95 % interval", "p, adjusted", "precision", "recall", "false alarms"):
        table.add_column(name, justify="right")
    chosen = [found.selected] if found.selected else []
    for score in [*found.candidates[:top], *chosen, *found.rules]:
        auc = score.auc
        table.add_row(
            Text(score.name + (" *" if score.shared else "")),
            score.form,
            score.warns,
            f"{auc.value:.2f}" if auc else "-",
            f"{auc.low:.2f} to {auc.high:.2f}" if auc and auc.n > 1 else "-",
            "-" if score.p is None else f"{score.p:.3f}",
            *(
                "-" if share is None else f"{100 * share:.0f} %"
                for share in (score.precision, score.recall, score.false_alarm_rate)
            ),
        )
    return table


def to_plain(found: EarlyWarnings) -> dict[str, Any]:
    """Plain data for --json."""
    plain = asdict(found)

    def row(score: Score) -> dict[str, Any]:
        shares = {name: getattr(score, name) for name in ("precision", "recall", "false_alarm_rate")}
        return asdict(score) | shares | {"auc": score.auc and score.auc._asdict()}

    plain |= {"candidates": [row(s) for s in found.candidates], "rules": [row(s) for s in found.rules]}
    return plain | {"selected": found.selected and row(found.selected)}
