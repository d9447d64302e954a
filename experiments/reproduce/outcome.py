"""What a reproduction is, and what it found: checks with figures, a table, panels to draw."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.report.figures import PALETTE
from plateau_bench.results.store import write_bytes

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One pass criterion: met only if every part of it is."""

    criterion: str
    met: bool
    figures: str
    """The numbers it was decided on, per seed where it is decided per seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve of a panel; `low` and `high` bound a band where they are given."""

    label: str
    y: tuple[float, ...]
    x: tuple[float, ...] = ()
    """0, 1, 2, ... where it is left out."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def banded(label: str, values: Floats) -> Line:
    """The mean of seeds x rounds, in a band from the lowest to the highest seed."""
    low, mean, high = (tuple(getattr(values, part)(axis=0).tolist()) for part in ("min", "mean", "max"))
    return Line(label=label, y=mean, low=low, high=high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    title: str
    lines: tuple[Line, ...]
    x_label: str = "generation"
    log: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one reproduction found."""

    checks: tuple[Check, ...]
    table: tuple[tuple[str, ...], ...]
    """Rows of text, the header first."""
    panels: tuple[Panel, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to judge it, such as sizes that differ from the source's."""

    @property
    def met(self) -> bool:
        return all(check.met for check in self.checks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """How a reproduction is to be played."""

    folder: Path
    """For its files; a run folder lies in it where there is one."""
    say: Say
    quick: bool = False
    """Smallest sizes that go through every step; the outcome then says nothing."""
    runs: tuple[Path, ...] = ()
    """Run folders that hold the arms between them, to be judged instead of playing one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """A claim, where it is from, and the function that tries it."""

    name: str
    claim: str
    source: str
    cost: str
    """Roughly how long it takes on two cores."""
    play: Callable[[Request], Outcome]


def facts(reproduction: Reproduction, outcome: Outcome, more: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome as plain data, for JSON."""
    told = {key: getattr(reproduction, key) for key in ("name", "claim", "source")}
    return {**told, "met": outcome.met, **more, **_plain(asdict(outcome))}


def _plain(value: Any) -> Any:
    """Floats to five significant digits: enough to draw the figure again."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def text(reproduction: Reproduction, outcome: Outcome) -> str:
    """The outcome for a terminal: claim, table, each criterion with 'met' or 'MISSED'."""
    lines = [f"{reproduction.name}: {reproduction.claim}", f"source: {reproduction.source}", ""]
    lines += [*columns(outcome.table), ""]
    for check in outcome.checks:
        lines += [f"{'met   ' if check.met else 'MISSED'}  {check.criterion}", f"        {check.figures}"]
    lines += [f"note: {note}" for note in outcome.notes]
    met = sum(check.met for check in outcome.checks)
    verdict = "met" if outcome.met else "MISSED"
    return "\n".join(
        [*lines, "", f"{reproduction.name}: {verdict} ({met} of {len(outcome.checks)} criteria)"]
    )


def columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def save_figure(path: Path, panels: Sequence[Panel], *, across: int = 3) -> None:
    """Small multiples as a PNG; one legend for all, colours by label."""
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
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles = {h.get_label(): h for axes in grid for h in axes.get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=80, metadata={"Software": None})
    write_bytes(path, out.getvalue())
