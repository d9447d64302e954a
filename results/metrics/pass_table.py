"""One round's attempts summed per task: what every measure of graded attempts starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plateau_bench.agents.base import Ending
from plateau_bench.results.metrics.estimators import Floats, mean_interval
from plateau_bench.results.records import Attempt, Estimate
from plateau_bench.tasks.base import Outcome


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

    def mean(self, column: Floats, seed: int, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate | None:
        """Mean over tasks of a column in the order of `task_ids`, with its interval (`mean_interval`)."""
        return mean_interval(column, self.clusters, seed=seed, bounds=bounds)


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
