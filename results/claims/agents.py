"""Agents against each other on the same tasks: is the difference real, and what could have been seen?

Differences are taken per task and tested over task clusters, never over samples (Miller 2024, arXiv
2411.00640). "Not distinguishable" is a finding about the experiment, so the smallest difference that it
would have found stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from plateau_bench.results.claims.significance import ALPHA, holm, minimum_detectable, sign_flip
from plateau_bench.results.metrics.estimators import clustered_se, mean_interval
from plateau_bench.results.metrics.pass_table import PassTable
from plateau_bench.results.records import Estimate

POWER = 0.9
"""The chance with which the printed detectable difference is found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Versus:
    """Agent a minus agent b in pass@1, over the tasks that both attempted."""

    a: str
    b: str
    tasks: int
    clusters: int
    difference: Estimate
    p: float
    """Two-sided, signs of whole clusters flipped (Fisher's permutation test of paired differences)."""
    p_holm: float
    """Adjusted over all pairs of the comparison (Holm 1979)."""
    detectable: float
    """Smallest true difference that this experiment finds in nine of ten repetitions."""

    @property
    def better(self) -> str | None:
        """The better agent, or None if the two are not distinguishable."""
        if self.p_holm > ALPHA:
            return None
        return self.a if self.difference.value > 0 else self.b

    def sentence(self) -> str:
        """`"a is better than b: 61.0 % against 48.5 %..."` in words, with what could have been seen."""
        low, high = (100 * x for x in (self.difference.low, self.difference.high))
        points = 100 * abs(self.difference.value)
        found = f"{points:.1f} points ({low:+.1f} to {high:+.1f}), p {self.p_holm:.3g}"
        seen = f"{self.tasks} tasks would show a difference of {100 * self.detectable:.1f} points"
        if self.better is None:
            return f"{self.a} and {self.b} are not distinguishable: {found}; {seen}"
        worse = self.b if self.better == self.a else self.a
        return f"{self.better} is better than {worse} by {found}; {seen}"


def versus(tables: Mapping[str, PassTable], *, seed: int = 0) -> list[Versus]:
    """Every pair of agents. Raises ValueError for a single agent, or a pair without two common tasks."""
    if len(tables) < 2:
        raise ValueError(f"a comparison needs two agents, and there is only {', '.join(tables) or 'none'}")
    pairs = [_pair(a, b, tables[a], tables[b], seed) for a, b in combinations(tables, 2)]
    adjusted = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=corrected) for pair, corrected in zip(pairs, adjusted, strict=True)]


def _pair(a: str, b: str, left: PassTable, right: PassTable, seed: int) -> Versus:
    place = {task: i for i, task in enumerate(right.task_ids)}
    rows = [(i, place[task]) for i, task in enumerate(left.task_ids) if task in place]
    clusters = [left.clusters[i] for i, _ in rows]
    if len(set(clusters)) < 2:
        raise ValueError(f"{a} and {b} have {len(rows)} tasks in common; tasks of two clusters are needed")
    ours, theirs = np.array(rows).T
    differences = left.c[ours] / left.n[ours] - right.c[theirs] / right.n[theirs]
    # By cluster and without ties, so that the random signs do not hang on which tasks come first.
    told = sorted(np.flatnonzero(differences), key=lambda i: clusters[i])
    interval = mean_interval(differences, clusters, seed=seed)
    assert interval is not None
    return Versus(
        a=a,
        b=b,
        tasks=len(rows),
        clusters=len(set(clusters)),
        difference=interval,
        p=sign_flip(differences[told], [clusters[i] for i in told], seed=seed),
        p_holm=1.0,
        detectable=minimum_detectable(clustered_se(differences, clusters), power=POWER),
    )


def groups(order: Sequence[str], found: Sequence[Versus]) -> dict[str, str]:
    """Letters per agent; agents that share one are not distinguishable ('a', 'ab', 'b').

    `order` is from best to worst. A group is a maximal run of agents that no test tells apart.
    """
    apart = {frozenset((v.a, v.b)) for v in found if v.better is not None}
    runs: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and all(
            frozenset((order[i], order[end + 1])) not in apart for i in range(start, end + 1)
        ):
            end += 1
        if not runs or end > runs[-1][1]:
            runs.append((start, end))
    return {
        agent: "".join(chr(97 + k) for k, (start, end) in enumerate(runs) if start <= i <= end)
        for i, agent in enumerate(order)
    }
