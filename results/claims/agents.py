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
    detectable: float | None
    """Smallest true difference that this experiment finds in nine of ten repetitions; None where all
    differences are the same, so that nothing is known of their spread."""

    @property
    def better(self) -> str | None:
        """The better agent, or None if the two are not distinguishable."""
        if self.p_holm > ALPHA:
            return None
        return self.a if self.difference.value > 0 else self.b

    def sentence(self) -> str:
        """`"a is better than b by 12.5 points..."` in words, with what could have been seen."""
        low, high = (100 * x for x in (self.difference.low, self.difference.high))
        points = 100 * abs(self.difference.value)
        found = f"{points:.1f} points ({low:+.1f} to {high:+.1f}), adjusted p {self.p_holm:.3g}"
        worse = self.b if self.better == self.a else self.a
        said = f"{self.better} is better than {worse} by {found}"
        units = "tasks" if self.clusters == self.tasks else f"tasks of {self.clusters} clusters"
        if self.better is None:
            said = f"{self.a} and {self.b} are not distinguishable: {found}"
            if self.difference.value == 0 and self.detectable is None:
                said = (
                    f"between {self.a} and {self.b} no difference was seen ({low:+.1f} to {high:+.1f} points)"
                )
            if self.smallest_p > ALPHA:
                return f"{said}; {self.tasks} {units} are too few to tell any difference"
        if self.detectable is None:
            return f"{said}; on all {self.tasks} {units} it was the same"
        return f"{said}; {self.tasks} tasks would show a difference of {100 * self.detectable:.1f} points"

    @property
    def smallest_p(self) -> float:
        """The smallest p that flipping the signs of so many clusters can give."""
        return 2.0 ** (1 - self.clusters)


def comparable(tables: Mapping[str, PassTable]) -> tuple[dict[str, PassTable], list[str]]:
    """(the agents that can be compared with all others of these, a sentence on each that cannot)."""
    kept: dict[str, PassTable] = {}
    notes = []
    for name, table in tables.items():
        problem = next((why for other in kept if (why := _too_little(other, name, kept[other], table))), "")
        if problem:
            notes.append(problem)
        else:
            kept[name] = table
    return kept, notes


def _too_little(a: str, b: str, left: PassTable, right: PassTable) -> str:
    """Why two agents cannot be compared, or ''."""
    common = {*left.task_ids} & {*right.task_ids}
    clusters = {c for task, c in zip(left.task_ids, left.clusters, strict=True) if task in common}
    if len(clusters) > 1:
        return ""
    shared = f"{len(common)} {'task' if len(common) == 1 else 'tasks'} in common"
    of_one = ", all of one cluster" if len(common) > 1 else ""
    return f"{a} and {b} are not compared: they have {shared}{of_one}, and tasks of two clusters are needed"


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
    if problem := _too_little(a, b, left, right):
        raise ValueError(problem)
    ours, theirs = np.array(rows).T
    differences = left.c[ours] / left.n[ours] - right.c[theirs] / right.n[theirs]
    # By cluster and without ties, so that the random signs do not hang on which tasks come first.
    told = sorted(np.flatnonzero(differences), key=lambda i: clusters[i])
    interval = mean_interval(differences, clusters, seed=seed, bounds=(-1.0, 1.0))
    assert interval is not None
    same = bool(np.ptp(differences) < 1e-12)
    if same:
        interval = _of_equal(float(differences[0]), len(set(clusters)))
    return Versus(
        a=a,
        b=b,
        tasks=len(rows),
        clusters=len(set(clusters)),
        difference=interval,
        p=sign_flip(differences[told], [clusters[i] for i in told], seed=seed),
        p_holm=1.0,
        detectable=None if same else minimum_detectable(clustered_se(differences, clusters), power=POWER),
    )


def _of_equal(value: float, clusters: int) -> Estimate:
    """The interval of a mean of which every cluster showed the same value between -1 and 1.

    A share q of clusters that differ, in the extreme by all that is possible, goes unseen with chance
    (1 - q)^clusters; the ends are where that chance is 2.5 % (the exact binomial interval at value 1).
    """
    unseen = 1.0 - 0.025 ** (1 / clusters)
    return Estimate(value, value - (1 + value) * unseen, value + (1 - value) * unseen, clusters)


def groups(order: Sequence[str], found: Sequence[Versus]) -> dict[str, str]:
    """Letters per agent; agents that share one are not distinguishable ('a', 'ab', 'b').

    `order` is from best to worst. A group is a maximal run of agents that no test tells apart; agents that
    were not compared have no letter.
    """
    apart = {frozenset((v.a, v.b)) for v in found if v.better is not None}
    order = [name for name in order if any(name in (v.a, v.b) for v in found)]
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
