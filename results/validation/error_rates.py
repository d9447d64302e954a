"""How often PDT-1 is right: false-positive rates and power on simulated runs with a known truth.

A cell is a curve, a design and a number of repetitions. Every repetition draws a run, labels it exactly
as a report would (refusals included), and asks the naive best-versus-last rule as well. Cells are
independent of each other and of the number of processes: equal designs give equal figures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import product
from zlib import crc32

import numpy as np

from experiments.detector.other_rules import naive, rivals
from plateau_bench.results.claims.pdt1 import examine
from plateau_bench.results.claims.significance import wilson
from plateau_bench.results.metrics.calibration import auroc
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.validation.simulate import shape, simulate, true_rates

ALPHA, DELTA, W = 0.05, 0.02, 2
LAST = 10
BOOT = 1000
CLAIMS = ("rise", "decline", "plateau", "naive")
_SHARE_DRAWS = 25
"""So many repetitions use one draw of bootstrap weights: it is what costs most."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Design:
    """What a simulated run is like."""

    curve: str
    tasks: int = 150
    samples: int = 8
    seeds: int = 5
    sd_round: float = 0.0
    cluster_size: int = 1

    @property
    def told(self) -> str:
        """All of it but the curve, in words."""
        clusters = f", clusters of {self.cluster_size}" if self.cluster_size > 1 else ""
        size = f"{self.tasks} tasks x {self.samples}, {self.seeds} seeds"
        return f"{size}, training noise {self.sd_round:g}{clusters}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cell:
    """One design, tried: which repetitions claimed what."""

    design: Design
    claimed: Mapping[str, np.ndarray]
    """Claim or rule -> one bool per repetition."""
    p_fall: Floats
    """PDT-1's adjusted p-value of the decline, per repetition; 1 where a label was refused."""
    p_naive: Floats

    @property
    def reps(self) -> int:
        return len(self.p_fall)

    def rate(self, claim: str) -> float:
        return float(self.claimed[claim].mean())

    def wilson(self, claim: str) -> tuple[float, float]:
        return wilson(int(self.claimed[claim].sum()), self.reps)

    def is_false(self, claim: str) -> bool:
        """Whether the claim is untrue of the curve; a rival's claim is a decline."""
        true = truth(self.design.curve)
        return not true.get(claim, true["decline"])


def truth(curve: str, last: int = LAST) -> dict[str, bool]:
    """Which claims are true of a curve.

    A plateau claim says that no later round is better by the margin. That is false where even the last
    round from which it may be claimed, T-3, is exceeded; of a fall it is true, though PDT-1
    should see the decline instead.
    """
    rates = np.array(true_rates(shape(curve, last)))
    falls = bool(rates[: last + 1 - W].max() > rates[-W:].mean() + 1e-9)
    return {
        "rise": bool(rates[1:].max() > rates[0] + 1e-9),
        "decline": falls,
        "plateau": bool(rates[last - 2 :].max() - rates[last - 3] < DELTA),
        "naive": falls,
    }


def grid(
    curves: Sequence[str],
    tasks: Sequence[int],
    samples: Sequence[int],
    seeds: Sequence[int],
    sd_round: Sequence[float],
    cluster_size: Sequence[int],
) -> list[Design]:
    """Every combination. Raises ValueError for a curve of no known name or a size that cannot be."""
    for curve in curves:
        shape(curve, LAST)
    if min(*tasks, *samples, *seeds, *cluster_size) < 1 or min(sd_round) < 0:
        raise ValueError("tasks, samples, seeds and cluster sizes start at 1, training noise at 0")
    return [
        Design(curve=c, tasks=n, samples=k, seeds=s, sd_round=sd, cluster_size=g)
        for c, n, k, s, sd, g in product(curves, tasks, samples, seeds, sd_round, cluster_size)
    ]


def try_cell(design: Design, reps: int, *, with_rivals: bool = False, last: int = LAST) -> Cell:
    """Simulate and label `reps` runs of one design."""
    rng = np.random.default_rng(crc32(repr(design).encode()))
    sizes = asdict(design)
    curve = shape(sizes.pop("curve"), last)
    others = rivals(design.seeds) if with_rivals else {}
    claimed: dict[str, list[bool]] = {name: [] for name in (*CLAIMS, *others)}
    p_fall, p_naive = np.ones(reps), np.ones(reps)
    for rep in range(reps):
        curves = simulate(curve, rng=rng, **sizes)
        seed = rep // _SHARE_DRAWS
        found = examine(curves, alpha=ALPHA, w=W, delta=DELTA, boot=BOOT, seed=seed)
        label = found.label.value
        p_naive[rep] = naive(curves)
        if not found.refused:
            p_fall[rep] = found.test.p_value(found.rows.declines)
        claimed["rise"].append("rise" in label)
        claimed["decline"].append("decline" in label)
        claimed["plateau"].append("plateau" in label or label == "flat")
        claimed["naive"].append(p_naive[rep] <= ALPHA)
        for name, rule in others.items():
            claimed[name].append(rule(curves, seed) <= ALPHA)
    return Cell(
        design=design,
        claimed={name: np.array(bits) for name, bits in claimed.items()},
        p_fall=p_fall,
        p_naive=p_naive,
    )


def try_all(
    designs: Sequence[Design],
    reps: int,
    *,
    with_rivals: bool = False,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cell]:
    """All cells in the order given; `progress(done, total)` counts cells."""
    cells: list[Cell] = []
    if processes == 1:
        for design in designs:
            cells.append(try_cell(design, reps, with_rivals=with_rivals))
            progress(len(cells), len(designs))
        return cells
    with ProcessPoolExecutor(processes) as pool:
        # The dearest first, so that no process is left with one at the end.
        order = sorted(range(len(designs)), key=lambda i: -designs[i].tasks * designs[i].seeds)
        jobs = {i: pool.submit(try_cell, designs[i], reps, with_rivals=with_rivals) for i in order}
        for done, job in enumerate(as_completed(jobs.values()), 1):
            job.result()
            progress(done, len(designs))
    return [jobs[i].result() for i in range(len(designs))]


def roc(positives: Floats, negatives: Floats) -> list[tuple[float, float]]:
    """(false-positive rate, power) as alpha goes from 0 to 1."""
    levels = np.unique(np.concatenate([[0.0], positives, negatives, [1.0]]))
    return [(float((negatives <= a).mean()), float((positives <= a).mean())) for a in levels]


def auc(positives: Floats, negatives: Floats) -> float:
    """Chance that a run with a fall gets a smaller p-value than one without; ties count half."""
    fallen = np.repeat([1.0, 0.0], [positives.size, negatives.size])
    return auroc(-np.concatenate([positives, negatives]), fallen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """How well p-values tell a falling curve from one that does not fall, at one design."""

    positive: Design
    negative: Design
    ours: float
    naive: float
    """Areas under the ROC curve."""


def rankings(cells: Sequence[Cell]) -> list[Ranking]:
    """Every falling cell against every cell of the same design whose curve does not fall."""
    found = []
    for fallen in (c for c in cells if truth(c.design.curve)["decline"]):
        for other in cells:
            alike = replace(other.design, curve=fallen.design.curve) == fallen.design
            if alike and not truth(other.design.curve)["decline"]:
                ours, theirs = auc(fallen.p_fall, other.p_fall), auc(fallen.p_naive, other.p_naive)
                found.append(Ranking(positive=fallen.design, negative=other.design, ours=ours, naive=theirs))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One pass criterion, met or not."""

    cell: Cell
    claim: str
    kind: str
    """'false positives' or 'power'."""
    limit: float
    met: bool


def checks(cells: Sequence[Cell]) -> list[Check]:
    """The criteria at the default design: at most 5 % false claims (plus simulation error), 80 % power.

    False claims: decline on flat, rising and plateau curves, and a rise on the flat one. Power: decline
    on a fall of ten points. Asked of five seeds with up to 0.1 logits of training noise, 150 tasks of 8.
    """
    found = []
    for cell in cells:
        design = cell.design
        if (design.tasks, design.samples, design.seeds) != (150, 8, 5) or design.sd_round > 0.1:
            continue
        slack = 2 * math.sqrt(ALPHA * (1 - ALPHA) / cell.reps)
        false = {"flat": ("decline", "rise"), "rise": ("decline",), "rise-plateau": ("decline",)}
        for claim in false.get(design.curve, ()):
            met = cell.rate(claim) <= ALPHA + slack
            found.append(Check(cell=cell, claim=claim, kind="false positives", limit=ALPHA, met=met))
        if design.curve == "fall-10":
            met = cell.rate("decline") >= 0.8
            found.append(Check(cell=cell, claim="decline", kind="power", limit=0.8, met=met))
    return found


def to_plain(cells: Sequence[Cell]) -> dict[str, list[dict[str, object]]]:
    """What `plateau validate-detector --json` prints.

    `cluster_size` is told only where there are clusters.
    """
    rows: list[dict[str, object]] = []
    clustered = any(cell.design.cluster_size > 1 for cell in cells)
    for cell in cells:
        design = asdict(cell.design)
        if not clustered:
            del design["cluster_size"]
        for claim in cell.claimed:
            low, high = cell.wilson(claim)
            rows.append({**design, "claim": claim, "rate": cell.rate(claim), "low": low, "high": high})
    return {"cells": rows}
