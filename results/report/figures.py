"""All charts, as inline SVG: curves over rounds, delays and scores, drawn from plain data alone.

The SVGs carry no colours for text and no fonts of their own: both are inherited from the page, so one
drawing serves a light and a dark background. Equal reports give equal bytes.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

from plateau_bench.results.metrics.metric import Panel
from plateau_bench.results.records import Estimate
from plateau_bench.results.report.panels import Group
from plateau_bench.results.report.reading import Facts, Point, curves
from plateau_bench.results.report.remedies import costs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours that keep 3:1 contrast (or nearly) on white and on near-black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
# Stand-ins that matplotlib accepts as colours; replaced by CSS afterwards.
TEXT, GRID = "#010203", "#040506"
_LABEL_LENGTH = 18


def draw(report: Facts, group: Group, panel: Panel) -> str | None:
    """Inline `<svg>` of one panel for all arms, or None where no arm has a value.

    Lines are round values, bands their 95 % intervals; a round without a value leaves a gap.
    """
    found = curves(report, panel.metric)
    if not any(found.values()):
        return None
    shown = [p.metric for p in group.panels] if group.share_y else [panel.metric]
    last = max(report["arms"][arm]["rounds"][-1]["round"] for arm in found)
    longest = max(len(shorten(arm)) for arm in found)
    size = 11.0 if group.in_threes else 9.5
    with canvas(panel.metric, (4.7, 2.85), size) as figure:
        axes = figure.add_axes(
            (0.012 * size, 0.018 * size, 0.92 - size * (0.013 + 0.0018 * longest), 0.95 - 0.018 * size),
            facecolor="none",
        )
        _plot(axes, found)
        _dress(axes, panel, _limits(report, shown, panel), last)
        _label_ends(axes, found)
        return to_svg(figure, panel.metric, _describe(panel, found))


@contextmanager
def canvas(name: str, inches: tuple[float, float], font_size: float) -> "Iterator[Figure]":
    """An empty figure in the report's style; turn it into markup with `to_svg` before leaving."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.size": font_size,
        "text.color": TEXT,
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the report
        matplotlib.rcParams.update(settings)
        # The page's font draws the text; a glyph that matplotlib's own font lacks does not matter.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield Figure(figsize=inches, facecolor="none")


def bare(axes: "Axes", grid: Literal["x", "y", "both"]) -> None:
    """No frame and no ticks, only a grid, in the page's colours."""
    axes.tick_params(color=GRID, labelcolor=TEXT, length=0)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_delays(content: Facts) -> str | None:
    """Mean delays with their intervals as inline SVG, an arm a line, the longest first, and their costs.

    Filled dots are significant. None where nothing was tested.
    """
    keys = list(content["events"])
    rows = [row for row in content["rows"] if any(d["mean"] for d in row["delays"].values())]
    if not rows:
        return None
    rows.sort(key=lambda row: -(row["delays"]["success"]["mean"] or {"value": 0})["value"])
    height = 1.45 + 0.3 * len(rows)
    with canvas("delays", (8.6, height), 9.5) as figure:
        axes = figure.add_axes((0.22, 0.75 / height, 0.44, 1 - 1.45 / height), facecolor="none")
        bare(axes, "x")
        axes.axvline(0, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.55)
        for k, key in enumerate(keys):
            _plot_event(axes, rows, key, k, len(keys), content["events"][key]["title"])
        axes.set_yticks(range(len(rows)), [shorten(row["arm"]) for row in rows], parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"rounds later than {shorten(content['base'])}", color=TEXT, parse_math=False)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.45, 1), ncols=len(keys), frameon=False)
        told = [("pass@1\nat the end", "Hill-1\nlost", "human\nprograms", "compute"), *map(costs, rows)]
        for y, cells in enumerate(told, -1):
            for x, cell in zip((1.2, 1.37, 1.56, 1.74), cells, strict=True):
                at = axes.get_yaxis_transform()
                axes.text(x, y, cell, transform=at, ha="right", va="center", clip_on=False)
        return to_svg(figure, "delays", _describe_delays(rows, keys, content))


def _plot_event(axes: "Axes", rows: Sequence[Facts], key: str, k: int, total: int, title: str) -> None:
    colour, shift = PALETTE[k % len(PALETTE)], 0.22 * (k - (total - 1) / 2)
    known = [(y, row["delays"][key]) for y, row in enumerate(rows) if row["delays"][key]["mean"]]
    for y, delay in known:
        mean, full = delay["mean"], delay["significant"]
        axes.plot([mean["low"], mean["high"]], [y + shift] * 2, color=colour, linewidth=1.4)
        face = colour if full else "none"
        axes.plot(
            [mean["value"]], [y + shift], marker="o", color=colour, markerfacecolor=face, markersize=4.5
        )
    axes.plot([], [], color=colour, marker="o", markersize=4.5, label=title)


def _describe_delays(rows: Sequence[Facts], keys: Sequence[str], content: Facts) -> str:
    parts = []
    for row in rows:
        told = [
            f"{content['events'][key]['title']} {row['delays'][key]['mean']['value']:+.1f}"
            for key in keys
            if row["delays"][key]["mean"]
        ]
        parts.append(f"{row['arm']}: {', '.join(told)}")
    return f"Delays against {content['base']} in rounds. " + "; ".join(parts) + "."


def draw_scores(scores: Sequence[tuple[str, Estimate]]) -> str:
    """Inline `<svg>` of pass@1 with its interval for each agent, the first on top."""
    with canvas("leaderboard", (6.4, 0.7 + 0.42 * len(scores)), 11.0) as figure:
        axes = figure.add_axes((0.3, 0.2, 0.66, 0.76), facecolor="none")
        for row, (_, found) in enumerate(reversed(scores)):
            axes.plot((found.low, found.high), (row, row), color=PALETTE[0], linewidth=2)
            axes.plot(found.value, row, "o", color=PALETTE[0])
        axes.set_yticks(
            range(len(scores)), [shorten(agent, 28) for agent, _ in reversed(scores)], parse_math=False
        )
        axes.set_xlabel("pass@1", color=TEXT)
        axes.set_xlim(0, 1)
        bare(axes, "x")
        described = "; ".join(f"{agent} {100 * found.value:.1f} %" for agent, found in scores)
        return to_svg(figure, "leaderboard", f"pass@1 with 95 % intervals: {described}")


def sparkline(values: Sequence[float | None], colour: str, limits: tuple[float, float]) -> str:
    """A line the size of a word, on the scale `limits`; '' with fewer than two values."""
    points = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(points) < 2:
        return ""
    low, high = limits
    width, height, pad = 96.0, 24.0, 3.0

    def place(i: int, v: float) -> tuple[float, float]:
        share = (v - low) / (high - low) if high > low else 0.5
        return pad + i / (len(values) - 1) * (width - 2 * pad), height - pad - share * (height - 2 * pad)

    placed = [place(i, v) for i, v in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    x, y = placed[-1]
    return (
        f'<svg class="spark" viewBox="0 0 {width:.0f} {height:.0f}" aria-hidden="true">'
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/></svg>'
    )


def colour_of(report: Facts, arm: str) -> str:
    """The arm's colour on every figure of this report."""
    return PALETTE[list(report["arm_order"]).index(arm) % len(PALETTE)]


def format_value(value: float, percent: bool = False) -> str:
    """A number for people: 3 significant digits, thousands separated, rates in per cent."""
    if percent:
        return f"{100 * value:.1f}\u00a0%"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".").replace("-", "\u2212")


def _end(estimate: Facts, part: str) -> float:
    """An end of the interval; the value itself where the interval has no such end (one task cluster)."""
    end = estimate[part]
    return float(estimate["value"] if end is None else end)


def _plot(axes: "Axes", arms: Mapping[str, Sequence[Point]]) -> None:
    for index, curve in enumerate(arms.values()):
        if not curve:
            continue
        known = dict(curve)
        rounds = list(range(min(known), max(known) + 1))
        nan = float("nan")
        value, low, high = (
            [_end(known[t], part) if t in known else nan for t in rounds] for part in ("value", "low", "high")
        )
        colour = PALETTE[index % len(PALETTE)]
        axes.fill_between(rounds, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            rounds,
            value,
            color=colour,
            linewidth=1.8,
            linestyle=_DASHES[index // len(PALETTE) % len(_DASHES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.2,
        )


def _limits(report: Facts, metrics: Sequence[str], panel: Panel) -> tuple[float, float]:
    points = [e for m in metrics for curve in curves(report, m).values() for _, e in curve]
    low, high = min(_end(e, "low") for e in points), max(_end(e, "high") for e in points)
    if panel.reference is not None:
        low, high = min(low, panel.reference), max(high, panel.reference)
    spare = max(panel.min_span - (high - low), 0.0) / 2
    margin = 0.06 * (high - low + 2 * spare) or 0.05 * abs(high) or 1.0
    low, high = low - spare - margin, high + spare + margin
    if panel.percent:
        high = high if panel.reference is not None else min(high, 1.01)
        low = max(low, -0.02 * high)
    return low, high


def _dress(axes: "Axes", panel: Panel, limits: tuple[float, float], last: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(*limits)
    axes.set_xlim(-0.04 * last - 0.1, 1.02 * last + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    show = (lambda v, _: f"{100 * v:.3g}\u00a0%") if panel.percent else (lambda v, _: f"{round(v, 9):,g}")
    axes.yaxis.set_major_formatter(FuncFormatter(show))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))
    axes.set_xlabel("round (0 = base model)", color=TEXT)
    bare(axes, "y")
    if panel.reference is not None:
        axes.axhline(panel.reference, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.55)


def _label_ends(axes: "Axes", arms: Mapping[str, Sequence[Point]]) -> None:
    """Each arm's name beside its last point, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    ends = sorted(
        ((curve[-1][1]["value"] - bottom) / (top - bottom), index, arm)
        for index, (arm, curve) in enumerate(arms.items())
        if curve
    )
    gap = min(0.085, 1.0 / len(ends))
    heights: list[float] = []
    for wanted, _, _ in ends:
        heights.append(max(wanted, heights[-1] + gap) if heights else wanted)
    for i in reversed(range(len(heights))):
        above = heights[i + 1] - gap if i + 1 < len(heights) else 1.0
        heights[i] = min(heights[i], above)
    for height, (_, index, arm) in zip(heights, ends, strict=True):
        colour = PALETTE[index % len(PALETTE)]
        kwargs: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot(
            [1.03], [height], marker=MARKERS[index % len(MARKERS)], color=colour, markersize=4.2, **kwargs
        )
        axes.text(1.065, height, shorten(arm), va="center", color=TEXT, parse_math=False, **kwargs)


def shorten(name: str, length: int = _LABEL_LENGTH) -> str:
    """A name as a label: printable, and cut with an ellipsis where it is longer than `length`."""
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return printable if len(printable) <= length else printable[: length - 1] + "…"


def to_svg(figure: "Figure", name: str, description: str) -> str:
    """Inline `<svg>` that fits to sit in a page: no namespaces, own ids, the page's colours and font."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    head, body = svg[svg.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, "matplotlib writes a viewBox"
    slug = re.sub(r"\W+", "-", name)
    for pattern, text in (
        (r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|\s*<!--.*?-->", ""),
        (r'\bid="([^"]+)"', rf'id="{slug}-\1"'),
        (r'xlink:href="#([^"]+)"', rf'href="#{slug}-\1"'),
        (r"url\(#([^)]+)\)", rf"url(#{slug}-\1)"),
        (r"font: ([\d.]+px) [^;\"]*", r"font-size: \1"),
    ):
        body = re.sub(pattern, text, body, flags=re.DOTALL)
    body = body.replace(TEXT, "currentColor").replace(GRID, "var(--grid)")
    return f'<svg {box.group(0)} role="img" aria-label="{escape(description)}">{body}'


_PAGE = (
    "svg { color: #1f2328; --grid: #d0d7de; font-family: sans-serif } "
    "@media (prefers-color-scheme: dark) { svg { color: #e6edf3; --grid: #3d444d } }"
)


def standalone(svg: str) -> str:
    """An inline drawing as a file of its own: with the namespace, and what a page would lend it."""
    return svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).replace(
        ">", f"><style>{_PAGE}</style>", 1
    )


def _describe(panel: Panel, arms: Mapping[str, Sequence[Point]]) -> str:
    parts = []
    for arm, curve in arms.items():
        if curve:
            first, last = (format_value(e["value"], panel.percent) for _, e in (curve[0], curve[-1]))
            parts.append(f"{arm}: {first} at round {curve[0][0]}, {last} at round {curve[-1][0]}")
    return f"{panel.title} over rounds. " + "; ".join(parts) + "."
