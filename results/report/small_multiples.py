"""Small multiples: many little panels of curves in one PNG, and tables of plain text.

`plateau sweep` draws its cells with these; so may any script over several runs.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.report.figures import PALETTE
from plateau_bench.results.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve of a panel; `low` and `high` bound a band where they are given."""

    label: str
    y: tuple[float, ...]
    x: tuple[float, ...] = ()
    """0, 1, 2, ... where it is left out."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A pair of axes with its curves."""

    title: str
    lines: tuple[Line, ...]
    x_label: str = "generation"
    log: bool = False
    """Whether the y axis is logarithmic."""


def banded(label: str, values: Floats) -> Line:
    """The mean of seeds x rounds, in a band from the lowest to the highest seed."""
    low, mean, high = (tuple(getattr(values, part)(axis=0).tolist()) for part in ("min", "mean", "max"))
    return Line(label=label, y=mean, low=low, high=high)


def columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as aligned columns, one string per row."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def save_figure(path: Path, panels: Sequence[Panel], *, across: int = 3) -> None:
    """Write the panels as one PNG, `across` in a row; a label has one colour in all of them."""
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    with rc_context():
        rcdefaults()
        figure = Figure(figsize=(3.5 * across, 2.5 * down + 0.2 + 0.18 * len(labels)), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel, labels)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles = {h.get_label(): h for axes in grid for h in axes.get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=80, metadata={"Software": None})
    write_bytes(path, out.getvalue())


def _draw(axes: "Axes", panel: Panel, labels: Sequence[str]) -> None:
    for line in panel.lines:
        place = labels.index(line.label)
        colour, dash = PALETTE[place % len(PALETTE)], ("-", "--", ":")[place // len(PALETTE) % 3]
        x = line.x or tuple(range(len(line.y)))
        if line.low:
            axes.fill_between(x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, line.y, dash, color=colour, label=line.label, marker="o", markersize=2.5, lw=1.4)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.x_label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if panel.log:
        axes.set_yscale("log")
