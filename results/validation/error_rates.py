"""How often PDT-1 is right: rates of false claims and power on simulated runs with a known truth.

A cell is a curve, a design and a number of repetitions. Every repetition draws a run and labels it exactly
as a report would, refusals included. Cells are independent of each other and of the number of processes:
equal designs give equal figures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.claims.pdt1 import RATE_MARGIN, WINDOW, examine
from plateau_bench.results.claims.significance import ALPHA, wilson
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.validation.simulate import shape, simulate, true_rates

LAST = 10
BOOT = 1000
CLAIMS = ("rise", "decline", "plateau")
_SHARE_DRAWS = 25
"""So many repetitions use one draw of bootstrap weights: it is what costs most."""

Watch = Callable[[Sequence[Curve], int], Mapping[str, float]]
"""Other rules beside PDT-1: a run's curves and a seed -> p-value of a decline by the name of each rule."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Design:
    """What a simulated run is like. Raises ValueError for an unknown curve or a size that cannot be."""

    curve: str
    tasks: int = 150
    samples: int = 8
    seeds: int = 5
    sd_round: float = 0.0
    """Training noise per round, in logits."""
    cluster_size: int = 1

    def __post_init__(self) -> None:
        shape(self.curve, LAST)
        if min(self.tasks, self.samples, self.seeds, self.cluster_size) < 1 or self.sd_round < 0:
            raise ValueError("tasks, samples, seeds and cluster sizes start at 1, training noise at 0")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cell:
    """One design, tried: which repetitions claimed what."""

    design: Design
    claimed: Mapping[str, np.ndarray]
    """Claim, or another rule -> one bool per repetition."""
    p_decline: Mapping[str, Floats] = field(default_factory=dict)
    """Rule ("PDT-1" or another) -> p-value of a decline per repetition; 1 where a label was refused."""

    def rate(self, claim: str) -> float:
        """Share of the repetitions that make a claim."""
        return float(self.claimed[claim].mean())

    def wilson(self, claim: str) -> tuple[float, float]:
        """Wilson's 95 % interval of that share."""
        return wilson(int(self.claimed[claim].sum()), self.claimed[claim].size)

    def is_false(self, claim: str) -> bool:
        """Whether the claim is untrue of the curve; another rule's claim is a decline."""
        true = truth(self.design.curve)
        return not true.get(claim, true["decline"])


def truth(curve: str) -> dict[str, bool]:
    """Which claims are true of a curve.

    A plateau claim says that no later round is better by the margin. That is false where even the last
    round from which it may be claimed, T-3, is exceeded; of a fall it is true, though PDT-1
    should see the decline instead.
    """
    rates = np.array(true_rates(shape(curve, LAST)))
    return {
        "rise": bool(rates[1:].max() > rates[0] + 1e-9),
        "decline": bool(rates[: LAST + 1 - WINDOW].max() > rates[-WINDOW:].mean() + 1e-9),
        "plateau": bool(rates[LAST - 2 :].max() - rates[LAST - 3] < RATE_MARGIN),
    }


def try_cell(design: Design, reps: int, watch: Watch | None = None) -> Cell:
    """Simulate and label `reps` runs of one design."""
    rng = np.random.default_rng(crc32(repr(design).encode()))
    sizes = asdict(design)
    curve = shape(sizes.pop("curve"), LAST)
    claims, p_values = [], []
    for rep in range(reps):
        curves, seed = simulate(curve, rng=rng, **sizes), rep // _SHARE_DRAWS
        found = examine(curves, boot=BOOT, seed=seed)
        label = found.label.value
        others = watch(curves, seed) if watch else {}
        claims.append(
            {"rise": "rise" in label, "decline": "decline" in label}
            | {"plateau": "plateau" in label or label == "flat"}
            | {rule: p <= ALPHA for rule, p in others.items()}
        )
        ours = 1.0 if found.refused else found.test.p_value(found.rows.declines)
        p_values.append({"PDT-1": ours, **others})
    return Cell(
        design=design,
        claimed={name: np.array([row[name] for row in claims]) for name in claims[0]},
        p_decline={name: np.array([row[name] for row in p_values]) for name in p_values[0]},
    )


def try_all(
    designs: Sequence[Design],
    reps: int,
    *,
    watch: Watch | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cell]:
    """All cells in the order given; `progress(done, total)` counts cells. `watch` goes to the processes."""
    work, cells = partial(try_cell, reps=reps, watch=watch), []
    with ProcessPoolExecutor(processes) if processes > 1 else nullcontext() as pool:
        for cell in pool.map(work, designs) if pool else map(work, designs):
            cells.append(cell)
            progress(len(cells), len(designs))
    return cells


class Criterion(NamedTuple):
    """One requirement on a cell, met or not; `kind` is 'false claims' or 'power'."""

    cell: Cell
    claim: str
    kind: str
    limit: float
    met: bool


def criteria(cells: Sequence[Cell]) -> list[Criterion]:
    """The criteria at the default design: at most 5 % false claims (plus simulation error), 80 % power.

    False claims: decline on flat, rising and plateau curves, and a rise on the flat one. Power: decline
    on a fall of ten points. Asked of five seeds with up to 0.1 logits of training noise, 150 tasks of 8.
    """
    found = []
    for cell in cells:
        design = cell.design
        if (design.tasks, design.samples, design.seeds) != (150, 8, 5) or design.sd_round > 0.1:
            continue
        slack = 2 * math.sqrt(ALPHA * (1 - ALPHA) / cell.claimed["decline"].size)
        false = {"flat": ("decline", "rise"), "rise": ("decline",), "rise-plateau": ("decline",)}
        for claim in false.get(design.curve, ()):
            met = cell.rate(claim) <= ALPHA + slack
            found.append(Criterion(cell, claim, "false claims", ALPHA, met))
        if design.curve == "fall-10":
            met = cell.rate("decline") >= 0.8
            found.append(Criterion(cell, "decline", "power", 0.8, met))
    return found


def to_plain(cells: Sequence[Cell]) -> dict[str, list[dict[str, Any]]]:
    """What `plateau validate-detector --json` prints: a row for each cell and claim, with Wilson's interval.

    `cluster_size` is told only where there are clusters.
    """
    rows: list[dict[str, Any]] = []
    clustered = any(cell.design.cluster_size > 1 for cell in cells)
    for cell in cells:
        design = asdict(cell.design)
        if not clustered:
            del design["cluster_size"]
        for claim in cell.claimed:
            low, high = cell.wilson(claim)
            rows.append({**design, "claim": claim, "rate": cell.rate(claim), "low": low, "high": high})
    return {"cells": rows}
