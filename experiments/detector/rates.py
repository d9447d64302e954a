"""The detector's trial at length: grids of designs, rival rules, and how well p-values rank falls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from experiments.detector.other_rules import naive, rivals
from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.metrics.calibration import auroc
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.validation import error_rates
from plateau_bench.results.validation.error_rates import Cell, Design, truth


def grid(
    curves: Sequence[str],
    tasks: Sequence[int],
    samples: Sequence[int],
    seeds: Sequence[int],
    sd_round: Sequence[float],
    cluster_size: Sequence[int],
) -> list[Design]:
    """Every combination. Raises ValueError for a curve of no known name or a size that cannot be."""
    return [
        Design(curve=c, tasks=n, samples=k, seeds=s, sd_round=sd, cluster_size=g)
        for c, n, k, s, sd, g in product(curves, tasks, samples, seeds, sd_round, cluster_size)
    ]


def told(design: Design) -> str:
    """All of a design but the curve, in words."""
    clusters = f", clusters of {design.cluster_size}" if design.cluster_size > 1 else ""
    size = f"{design.tasks} tasks x {design.samples}, {design.seeds} seeds"
    return f"{size}, training noise {design.sd_round:g}{clusters}"


def other_rules(curves: Sequence[Curve], seed: int, *, with_rivals: bool) -> Mapping[str, float]:
    """P-values of a decline by the naive rule and, if wanted, by all rivals for this number of seeds."""
    others = rivals(len(curves)) if with_rivals else {}
    return {"naive": naive(curves)} | {name: rule(curves, seed) for name, rule in others.items()}


def try_all(
    designs: Sequence[Design],
    reps: int,
    *,
    with_rivals: bool = False,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cell]:
    """All cells in the order given, the naive rule beside PDT-1 in each; `progress(done, total)` counts."""
    watch = partial(other_rules, with_rivals=with_rivals)
    return error_rates.try_all(designs, reps, watch=watch, processes=processes, progress=progress)


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
                ours, theirs = (
                    auc(fallen.p_decline[rule], other.p_decline[rule]) for rule in ("PDT-1", "naive")
                )
                found.append(Ranking(positive=fallen.design, negative=other.design, ours=ours, naive=theirs))
    return found
