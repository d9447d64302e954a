"""The detector's error rates as a page in the look of the report, and as a table for the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.detector.rates import rankings, roc, told
from plateau_bench.results.report.figures import PALETTE, TEXT, bare, canvas, to_svg
from plateau_bench.results.report.page import templates
from plateau_bench.results.store import write_bytes
from plateau_bench.results.validation.error_rates import CLAIMS, Cell, criteria, to_plain

if TYPE_CHECKING:
    from rich.table import Table

_ROC_CURVES = 6
_TEMPLATE = Path(__file__).parent / "detector.html"


def terminal_table(cells: Sequence[Cell]) -> "Table":
    """One line per cell: share of simulated runs that make each claim; what is false is marked."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="simulated runs with each claim, in per cent ('!' where it is false)",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    names = _claims(cells)
    table.add_column("curve", no_wrap=True)
    for column in ("tasks", "samples", "seeds", "noise", "runs", *names):
        table.add_column(column, justify="right", overflow="fold")
    for cell in cells:
        d = cell.design
        shares = [
            f"{100 * cell.rate(name):.1f}{'!' * cell.is_false(name)}" if name in cell.claimed else "-"
            for name in names
        ]
        clusters = f"/{d.cluster_size}" if d.cluster_size > 1 else ""
        design = (
            f"{d.tasks}{clusters}",
            str(d.samples),
            str(d.seeds),
            f"{d.sd_round:g}",
            str(cell.claimed["decline"].size),
        )
        table.add_row(d.curve, *design, *shares)
    return table


def write_page(cells: Sequence[Cell], folder: Path) -> Path:
    """Write detector.html and detector.json into `folder`; gives the page's path."""
    page = (
        templates()
        .from_string(_TEMPLATE.read_text())
        .render(
            cells=cells,
            told=told,
            claims=_claims(cells),
            criteria=criteria(cells),
            rankings=rankings(cells),
            figure=_figure(cells),
        )
    )
    write_bytes(folder / "detector.json", (json.dumps(to_plain(cells), indent=1) + "\n").encode())
    write_bytes(folder / "detector.html", page.encode())
    return folder / "detector.html"


def _claims(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys([*CLAIMS, *(name for cell in cells for name in cell.claimed)]))


def _figure(cells: Sequence[Cell]) -> Any:
    """ROC curves of the hardest comparisons: ours solid, the naive rule dashed; None without any."""
    from markupsafe import Markup

    by_design = {cell.design: cell for cell in cells}
    hardest = sorted(rankings(cells), key=lambda r: r.ours)[:_ROC_CURVES]
    if not hardest:
        return None
    with canvas("roc", (7.2, 4.2), 10.0) as figure:
        axes = figure.add_axes((0.09, 0.13, 0.48, 0.83), facecolor="none")
        bare(axes, "both")
        for colour, r in zip(PALETTE, hardest, strict=False):
            fallen, other = by_design[r.positive], by_design[r.negative]
            for rule, dash in (("PDT-1", "solid"), ("naive", "dashed")):
                x, y = zip(*roc(fallen.p_decline[rule], other.p_decline[rule]), strict=True)
                axes.step(x, y, where="post", color=colour, linestyle=dash, linewidth=1.6)
            label = f"{r.positive.curve} / {r.negative.curve}, {r.positive.sd_round:g}"
            axes.plot([], [], color=colour, label=label)
        axes.set_xlabel("declines claimed where there is none", color=TEXT)
        axes.set_ylabel("falls found", color=TEXT)
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.03, 0.5), frameon=False)
        legend.set_title("fall / no fall, training noise")
        words = "; ".join(f"{r.positive.curve} against {r.negative.curve}: {r.ours:.2f}" for r in hardest)
        return Markup(to_svg(figure, "roc", f"ROC curves. Areas: {words}."))
