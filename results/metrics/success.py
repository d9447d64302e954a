"""Pass rates and their companions: from a round's held-out attempts to named values.

The task is the unit throughout: samples are first summed per task, and every interval resamples task
clusters. INFRA and INVALID attempts are not passes and stay in the denominator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plateau_bench.agents.base import Ending
from plateau_bench.results.metrics.breadth import TAUS, cover_at, forgotten, solved_sets
from plateau_bench.results.metrics.estimators import (
    Floats,
    all_of,
    at_least_one,
    mean_interval,
    ratio_interval,
)
from plateau_bench.results.records import Attempt, Estimate
from plateau_bench.tasks.base import Outcome

Values = dict[str, Estimate | None]
Columns = dict[str, Floats]

STRATA = ("head", "torso", "tail")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PassTable:
    """One round's attempts summed per task; row i of every array belongs to `task_ids[i]` (sorted)."""

    round: int
    task_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    strata: tuple[str, ...]
    n: Floats
    """Samples per task."""
    c: Floats
    """Samples that passed."""
    half_n: Floats
    """tasks x 2: samples of even and of odd rank, for picking on one half and scoring on the other."""
    half_c: Floats
    sums: Mapping[str, Floats]
    """Other per-task sums over samples: endings, outcomes, verified, tokens."""


def pass_table(attempts: Sequence[Attempt]) -> PassTable:
    """Sum one round's attempts per task.

    Raises ValueError for no attempts, attempts of several rounds, training seeds or arms, and for a
    sample that occurs twice.
    """
    if not attempts:
        raise ValueError("no attempts to measure")
    origins = {(a.arm, a.seed, a.round, a.split) for a in attempts}
    if len(origins) > 1:
        raise ValueError(
            f"attempts of one arm, seed, round and split are needed, not of {len(origins)}: {origins}"
        )
    by_task: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (a.task_id, a.sample)):
        by_task.setdefault(attempt.task_id, []).append(attempt)
    for task, rows in by_task.items():
        if len({a.sample for a in rows}) < len(rows):
            raise ValueError(f"task {task}: some sample is recorded twice")
    groups = list(by_task.values())
    passed = [
        np.array([a.verdict.outcome is Outcome.PASSED for a in rows], dtype=np.float64) for rows in groups
    ]
    facts = [[_facts(a) for a in rows] for rows in groups]
    return PassTable(
        round=attempts[0].round,
        task_ids=tuple(by_task),
        clusters=tuple(rows[0].cluster or rows[0].task_id for rows in groups),
        strata=tuple(rows[0].stratum for rows in groups),
        n=np.array([p.size for p in passed], dtype=np.float64),
        c=np.array([p.sum() for p in passed]),
        half_n=np.array([[p[0::2].size, p[1::2].size] for p in passed], dtype=np.float64),
        half_c=np.array([[p[0::2].sum(), p[1::2].sum()] for p in passed]),
        sums={name: np.array([sum(fact[name] for fact in rows) for rows in facts]) for name in facts[0][0]},
    )


def _facts(attempt: Attempt) -> dict[str, float]:
    outcome, verified = attempt.verdict.outcome, attempt.verdict.verified
    return {
        **{f"ending/{ending}": float(attempt.trajectory.ending is ending) for ending in Ending},
        "infra": float(outcome is Outcome.INFRA),
        "hack_rate": float(outcome is Outcome.INVALID),
        "verified": float(verified),
        "verified_passed": float(verified and outcome is Outcome.PASSED),
        "completion_tokens": float(attempt.trajectory.completion_tokens),
    }


def pass_metrics(table: PassTable, *, ks: Sequence[int] | None = None, seed: int) -> tuple[Values, Columns]:
    """Pass rates, endings and verifier quality: name -> estimate, and name -> value per task.

    'pass@k' for each of `ks` (default: the powers of two that every task has samples for), 'pass^k' (all n
    samples pass), 'pass^2', 'cover@<tau>', 'pass@1/<stratum>'. Raises ValueError if some task has fewer
    than k samples.
    """
    if ks is None:
        ks = [2**i for i in range(11) if 2**i <= table.n.min()]
    columns = {f"pass@{k}": at_least_one(table.n, table.c, k) for k in ks}
    columns["pass^k"] = (table.c == table.n).astype(np.float64)
    values: Values = {name: _share(column, table, seed) for name, column in columns.items()}
    if table.n.min() >= 2:
        values["pass^2"] = _share(all_of(table.n, table.c, 2), table, seed)
    for tau in TAUS:
        values[f"cover@{tau:g}"] = _share(cover_at(table.n, table.c, tau), table, seed)
    for stratum in STRATA:
        here = np.array([s == stratum for s in table.strata])
        if here.any():
            values[f"pass@1/{stratum}"] = _share(np.where(here, table.c / table.n, np.nan), table, seed)
    for name in ("infra", "hack_rate", *(f"ending/{ending}" for ending in Ending)):
        values[name] = _share(table.sums[name] / table.n, table, seed)
    values["truncated"] = values["ending/token_limit"]
    values["completion_tokens"] = mean_interval(
        table.sums["completion_tokens"] / table.n, table.clusters, seed=seed
    )
    values["verified_precision"] = ratio_interval(
        table.sums["verified_passed"], table.sums["verified"], table.clusters, seed=seed, bounds=(0.0, 1.0)
    )
    columns["pass@1/even"], columns["pass@1/odd"] = _halves(table)
    return values, columns


def _share(column: Floats, table: PassTable, seed: int) -> Estimate | None:
    return mean_interval(column, table.clusters, seed=seed, bounds=(0.0, 1.0))


def _halves(table: PassTable) -> tuple[Floats, Floats]:
    """Pass rate on samples of even and of odd rank; NaN where a task has a single sample."""
    with np.errstate(invalid="ignore"):
        rates = table.half_c / table.half_n
    return rates[:, 0], rates[:, 1]


def retention_metrics(table: PassTable, base: PassTable, *, seed: int) -> tuple[Values, Columns]:
    """`retention` over all tasks and for every stratum that occurs, and what else changed since round 0.

    'solved/<set>': shares of tasks that at least one sample of both rounds, one, or neither solves.
    'forgetting': mean fall since round 0, free of the luck of choosing; none at round 0 itself. No
    per-task columns.
    """
    values: Values = {}
    for stratum in ("", *(s for s in STRATA if s in base.strata)):
        values |= retention(table, base, stratum, seed=seed)
    for name, members in solved_sets(base.c, table.c).items():
        values[f"solved/{name}"] = _share(members, table, seed)
    if table.round != base.round:
        fall = forgotten(np.stack(_halves(base), axis=1)[None], np.stack(_halves(table), axis=1))
        values["forgetting"] = mean_interval(fall, table.clusters, seed=seed, bounds=(-1.0, 1.0))
    return values, {}


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
