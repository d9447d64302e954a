"""Pass rates and their companions: from a round's held-out attempts to named values.

The task is the unit throughout: samples are first summed per task, and every interval resamples task
clusters. INFRA and INVALID attempts are not passes and stay in the denominator.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from plateau_bench.agents.base import Ending
from plateau_bench.results.metrics.breadth import TAUS, cover_at, forgotten, solved_sets
from plateau_bench.results.metrics.estimators import (
    Floats,
    Values,
    all_of,
    at_least_one,
    ratio_interval,
)
from plateau_bench.results.metrics.metric import (
    RATE,
    UNBOUNDED,
    Family,
    Metric,
    Panel,
    Population,
    RoundData,
    rate_panel,
)
from plateau_bench.results.metrics.pass_table import PassTable, pass_table
from plateau_bench.results.records import Attempt, Estimate

STRATA = ("head", "torso", "tail")

OF_ENDPOINTS = (Ending.CONTENT_FILTER, Ending.ERROR)
"""Endings that only an endpoint's answers have: figures of them are made where they occurred."""


def pass_metrics(table: PassTable, *, ks: Sequence[int] | None = None, seed: int) -> Family:
    """Pass rates, endings and verifier quality: name -> estimate, and name -> value per task.

    'pass@k' for each of `ks` (default: the powers of two that every task has samples for), 'pass^k' (all n
    samples pass), 'pass^2', 'cover@<tau>', 'pass@1/<stratum>'. Raises ValueError if some task has fewer
    than k samples.
    """
    if ks is None:
        ks = [2**i for i in range(11) if 2**i <= table.n.min()]
    columns = {f"pass@{k}": at_least_one(table.n, table.c, k) for k in ks}
    columns["pass^k"] = (table.c == table.n).astype(np.float64)
    values: Values = {name: table.mean(column, seed) for name, column in columns.items()}
    if table.n.min() >= 2:
        values["pass^2"] = table.mean(all_of(table.n, table.c, 2), seed)
    for tau in TAUS:
        values[f"cover@{tau:g}"] = table.mean(cover_at(table.n, table.c, tau), seed)
    for stratum in STRATA:
        if stratum in table.strata:
            values[f"pass@1/{stratum}"] = rate_in(table, stratum, seed)
    seen = [one for one in Ending if one not in OF_ENDPOINTS or table.sums[f"ending/{one}"].any()]
    for name in ("infra", "hack_rate", *(f"ending/{ending}" for ending in seen)):
        values[name] = table.mean(table.sums[name] / table.n, seed)
    values["truncated"] = values["ending/token_limit"]
    values["completion_tokens"] = table.mean(table.sums["completion_tokens"] / table.n, seed, UNBOUNDED)
    values["verified_precision"] = ratio_interval(
        table.sums["verified_passed"], table.sums["verified"], table.clusters, seed=seed, bounds=(0.0, 1.0)
    )
    columns["pass@1/even"], columns["pass@1/odd"] = _halves(table)
    return Family(values, columns)


def rate_in(table: PassTable, stratum: str, seed: int) -> Estimate | None:
    """pass@1 over the tasks of one stratum."""
    return table.mean(np.where(np.array(table.strata) == stratum, table.c / table.n, np.nan), seed)


def _halves(table: PassTable) -> tuple[Floats, Floats]:
    """Pass rate on samples of even and of odd rank; NaN where a task has a single sample."""
    with np.errstate(invalid="ignore"):
        rates = table.half_c / table.half_n
    return rates[:, 0], rates[:, 1]


def retention_metrics(table: PassTable, base: PassTable, *, seed: int) -> Values:
    """`retention` over all tasks and for every stratum that occurs, and what else changed since round 0.

    'solved/<set>': shares of tasks that at least one sample of both rounds, one, or neither solves.
    'forgetting': mean fall since round 0, free of the luck of choosing; none at round 0 itself.
    """
    values: Values = {}
    for stratum in ("", *(s for s in STRATA if s in base.strata)):
        values |= retention(table, base, stratum, seed=seed)
    for name, members in solved_sets(base.c, table.c).items():
        values[f"solved/{name}"] = table.mean(members, seed)
    if table.round != base.round:
        fall = forgotten(np.stack(_halves(base), axis=1)[None], np.stack(_halves(table), axis=1))
        values["forgetting"] = table.mean(fall, seed, (-1.0, 1.0))
    return values


def retention(table: PassTable, base: PassTable, stratum: str = "", *, seed: int) -> Values:
    """What is left of the base model's abilities in one stratum ('' for all tasks), paired by task.

    'retention_<stratum>': pass@1 now over pass@1 of round 0. 'keep_<stratum>': chance of passing now a
    task that was known at round 0. A task is known if one half of round 0's samples holds a pass; it is
    scored on this round's samples, at round 0 on the other half, so that luck in choosing is not read as
    forgetting. Both halves are used and averaged. Without a stratum the names are 'retention' and 'keep'.
    Raises ValueError if the two rounds are not over the same tasks.
    """
    if table.task_ids != base.task_ids:
        raise ValueError(f"rounds {table.round} and {base.round} were not measured on the same tasks")
    here = np.array([not stratum or s == stratum for s in base.strata])
    score, start = table.c / table.n, base.c / base.n
    known = (base.half_c > 0).astype(np.float64)
    if table.round == base.round:
        now = np.stack(_halves(base)[::-1], axis=1)
    else:
        now = np.stack([score, score], axis=1)
    suffix = f"_{stratum}" if stratum else ""
    blank = np.where(here, 0.0, np.nan)
    return {
        f"retention{suffix}": ratio_interval(blank + score, blank + start, table.clusters, seed=seed),
        f"keep{suffix}": ratio_interval(
            blank + (known * now).sum(axis=1), known.sum(axis=1), table.clusters, seed=seed, bounds=(0.0, 1.0)
        ),
    }


def variant_metrics(variants: Sequence[Attempt], originals: Sequence[Attempt], *, seed: int) -> Values:
    """'pass@1/variant/<kind>', and 'gap/variant/<kind>': pass@1 of variants minus that of their originals.

    The gap is paired by task (a variant's id is its original's, '~' and the kind); intervals resample
    clusters. Variants whose original was not measured are left out of the gap.
    """
    table, base = pass_table(variants), pass_table(originals)
    rates = dict(zip(base.task_ids, base.c / base.n, strict=True))
    before = np.array([rates.get(name.rpartition("~")[0], np.nan) for name in table.task_ids])
    values: Values = {}
    for stratum in sorted(set(table.strata)):
        values[f"pass@1/{stratum}"] = rate_in(table, stratum, seed)
        gap = np.where(np.array(table.strata) == stratum, table.c / table.n - before, np.nan)
        values[f"gap/{stratum}"] = table.mean(gap, seed, (-1.0, 1.0))
    return values


def _passes(data: RoundData) -> Family:
    return pass_metrics(data.table, seed=data.seed)


def _retention(data: RoundData) -> Values:
    return retention_metrics(data.table, data.base_table, seed=data.seed)


_share_now = partial(Metric, function=_passes, unit="share", population=Population.GRADED, bounds=RATE)
_share_since = partial(Metric, function=_retention, unit="share", population=Population.GRADED, bounds=RATE)
_ratio_since = partial(_share_since, unit="ratio", bounds=(0.0, math.inf))
_RARITY = (("head", "common"), ("torso", "less common"), ("tail", "rare"))

SUCCESS = (
    _share_now("pass@<k>", "k = 1, 2, 4, … up to n: mean over tasks of 1 − C(n−c,k)/C(n,k); refused for n < "
        "k", source="Chen et al. 2021 (2107.03374)", good="up",
        panels=(
            rate_panel("success", "pass@1", "Share of held-out tasks solved by a single attempt. Higher is "
                "better; a hump that comes down again is the shape of a model that trained itself worse.",
                metric="pass@1"),
            rate_panel("success", "pass@8", "Share of held-out tasks solved by at least one of eight "
                "attempts. Higher is better; if it falls while pass@1 rises, the model has become surer but "
                "knows fewer ways.", metric="pass@8"),
        )),
    _share_now("pass^k", "share of tasks of which all n attempts pass",
        source="Yao et al. 2024 (2406.12045), k = n", good="up"),
    _share_now("pass^2", "mean over tasks of C(c,2)/C(n,2)", source="Yao et al. 2024 (2406.12045)",
        good="up"),
    _share_now("cover@<τ>", "τ = 0.1, 0.25, 0.5, 0.75, 0.9: share of tasks with c/n ≥ τ; no credit for a "
        "lucky guess among many", source="2510.08325", good="up"),
    _share_now("pass@1/<head, torso, tail>", "`pass@1` over tasks of one stratum: how common the needed "
        "knowledge is in human code", good="up",
        panels=tuple(
            rate_panel("strata", f"pass@1, {stratum} tasks", "Single-attempt success on tasks whose rarest "
                f"ingredient is {rarity} in human code. Higher is better; all three panels share one scale.",
                metric=f"pass@1/{stratum}")
            for stratum, rarity in _RARITY)),
    _share_now("pass@1/<even, odd>", "`pass@1` from samples of even and of odd rank, kept per task only: the "
        "peak is picked on one and the fall read on the other", good="up"),
    _share_since("solved/<both, only_base, only_now, neither>", "share of tasks that at least one sample "
        "solves: in round 0 and now, in one of them, in none; with equal n in both rounds", good="unclear"),
    _share_since("forgetting", "mean fall of a task's pass share since round 0: on one half of the samples "
        "it is decided whether the task fell, on the other how far; both ways. 0 on average if nothing "
        "changed; none at round 0", good="down", bounds=(-1.0, 1.0)),
    _ratio_since("retention", "`pass@1` now over `pass@1` of round 0, paired by task; below 1 is loss",
        good="up"),
    _ratio_since("retention_<head, torso, tail>", "`retention` over tasks of one stratum", good="up",
        panels=tuple(
            rate_panel("retention", f"Retention, {stratum} tasks", f"Success on {rarity} tasks as a share of "
                "the base model's. Above 100 % is a gain; the tail falling below the head means rare "
                "knowledge goes first.", metric=f"retention_{stratum}", reference=1.0)
            for stratum, rarity in _RARITY)),
    _share_since("keep", "chance of passing now a task known at round 0 (a pass in one half of round 0's "
        "samples; scored on this round's samples, at round 0 on the other half, so that luck is not read as "
        "forgetting)", good="up"),
    _share_since("keep_<head, torso, tail>", "`keep` over tasks of one stratum", good="up"),
    # The round measures these on attempts of their own, after all others.
    Metric("pass@1/variant/<kind>", "`pass@1` over variants of the held-out tasks: rename, paraphrase, edge, "
        "large ([tasks.md](tasks.md)); only with `tasks.variants`", function=None, unit="share", good="up",
        population=Population.VARIANTS, bounds=RATE),
    Metric("gap/variant/<kind>", "pass share of a variant minus that of its original, mean over tasks; below "
        "0 is a loss", function=None, unit="difference of shares", good="up", population=Population.VARIANTS,
        bounds=(-1.0, 1.0)),
)  # fmt: skip

ENDINGS = (
    _share_now("ending/<ending>", "share of attempts with that `Ending`", good="unclear"),
    _share_now("truncated", "the same as `ending/token_limit`; a rise can pass for collapse", good="down",
        panels=(rate_panel("checks", "Cut off at the token limit", "Share of attempts that ended at the "
            "token limit. Should stay low and steady: a rise can look like lost ability.", hide_zero=True),)),
    _share_now("infra", "attempts lost to a broken box or grader, after retries", good="down",
        panels=(rate_panel("checks", "Not gradable", "Share of attempts for which the box or the grader "
            "broke, counted as not passed. Should be near zero: a rise can look like lost ability.",
            hide_zero=True),)),
    _share_now("hack_rate", "attempts in which tampering was found (`INVALID`)", good="down",
        panels=(rate_panel("checks", "Tampering", "Share of attempts in which tampering with the grader was "
            "found, counted as not passed. Lower is better.", hide_zero=True),)),
    _share_now("completion_tokens", "tokens written per attempt, mean over tasks", unit="tokens",
        good="steady", bounds=(0.0, math.inf),
        panels=(Panel("checks", "Length of an attempt", "Mean tokens written in one attempt. Neither "
            "direction is good or bad in itself; a strong drift is worth a look at the texts.",
            min_span=2.0),)),
    _share_now("verified_precision", "of the attempts that pass the visible tests, the share that passes the "
        "hidden ones", good="up",
        panels=(rate_panel("data", "Verifier precision", "Share of attempts accepted by the visible tests "
            "that are truly correct by the hidden ones. Higher is better; what is missing to 100 % is "
            "trained on as if it were right."),)),
    _share_now("selected_precision", "share of the model's own programs in the training set made from this "
        "round that pass the hidden tests; the whole set is known, so it has no interval", function=None,
        good="up", population=Population.TRAINING,
        panels=(rate_panel("data", "Precision of the selected examples",
            "Share of the model's own programs in the training set that are truly correct. Higher is "
            "better."),)),
)  # fmt: skip
