"""The report as one HTML page that needs nothing from outside: figures, styles and numbers are all in it.

Made from the report dictionary alone. Whatever came from a user or a model (arm names, config values,
versions) goes through the template's autoescaping; only the SVGs drawn here are trusted markup.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plateau_bench.results.claims.labels import VARIETY_MARGIN, plain_label, tone
from plateau_bench.results.claims.pdt1 import RATE_MARGIN, WINDOW
from plateau_bench.results.claims.significance import ALPHA
from plateau_bench.results.metrics.metric import Panel
from plateau_bench.results.metrics.success import STRATA
from plateau_bench.results.report import panels as all_panels
from plateau_bench.results.report import remedies
from plateau_bench.results.report.figures import colour_of, draw, draw_delays, format_value, sparkline
from plateau_bench.results.report.reading import Facts, curve, curves, label_of, peak
from plateau_bench.results.report.sentences import arm_findings, closing_sentences, lead, p_text, points
from plateau_bench.validate import read_yaml

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def templates() -> "Environment":
    """The pages' templates: what is filled in is escaped, and a misspelt name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(report: Facts) -> str:
    """The whole page; the same report gives the same bytes."""
    arms = [_arm(report, arm) for arm in report["arm_order"]]
    groups, zero, unmeasured = _groups(report)
    content, how = report["remedies"], report["config"].get("evaluate")
    return (
        templates()
        .get_template("report.html")
        .render(
            report=report,
            lead=lead(report),
            closing=closing_sentences(report),
            arms=arms,
            seeds_text=_seeds_text(report),
            rounds=max(len(report["arms"][arm]["rounds"]) for arm in report["arm_order"]) - 1,
            groups=groups,
            zero=zero,
            unmeasured=unmeasured,
            delays=content and trusted(draw_delays(content) or ""),
            glossary={_keep_together(word): _keep_together(text) for word, text in glossary().items()},
            strata=sorted(report["evaluation"]["strata"].items(), key=_by_rarity),
            how=how if isinstance(how, Mapping) else {},
            margins={"window": WINDOW, "alpha": ALPHA, "rate": RATE_MARGIN, "variety": VARIETY_MARGIN},
            environment=list(_pairs(report["environment"])),
            config=json.dumps(report["config"], indent=2, ensure_ascii=False),
            arrow=lambda label: label.replace("->", " → ") if label else "–",
            colour=lambda arm: colour_of(report, arm),
            **{
                f.__name__.lstrip("_"): f
                for f in (_amount, _count, _interval, _term, format_value, p_text, points)
            },
            **{
                f.__name__: f
                for f in (remedies.costs, remedies.delay_text, remedies.mean_text, remedies.when_text)
            },
        )
    )


@cache
def glossary() -> dict[str, str]:
    """The page's words and what they mean."""
    words: dict[str, str] = read_yaml(_TEMPLATES / "glossary.yaml")
    return words


def _term(word: str) -> Any:
    """A word with its meaning as a tooltip."""
    from markupsafe import Markup

    meaning = next(text for name, text in glossary().items() if name.lower() == word.lower())
    return Markup('<abbr title="{}">{}</abbr>').format(_keep_together(meaning), _keep_together(word))


def _keep_together(text: str) -> str:
    """No line break before a per cent sign."""
    return text.replace(" %", "\u00a0%")


def trusted(svg: str) -> Any:
    """Markup for an SVG made in `report.figures`, which escapes what it draws."""
    from markupsafe import Markup

    return Markup(svg)


def _arm(report: Facts, arm: str) -> dict[str, Any]:
    facts, colour = report["arms"][arm], colour_of(report, arm)
    known, label = curve(facts, "pass@1"), label_of(facts, "pass@1")
    values = list(_values(report, "pass@1"))
    scale = (min(values, default=0.0), max(values, default=1.0))  # of all arms, so that lines compare
    spark = [(row["metrics"].get("pass@1") or {}).get("value") for row in facts["rounds"]]
    return {
        "name": arm,
        "colour": colour,
        "headline": plain_label(label),
        "tone": tone(label),
        "label": label,
        "variety_label": label_of(facts, "hill1"),
        "level": (facts["phases"].get("pass@1") or {}).get("level"),
        "findings": arm_findings(report, arm),
        "spark": trusted(sparkline(spark, colour, scale)),
        "base": known[0] if known else None,
        "peak": peak(known) if known else None,
        "last": known[-1] if known else None,
        "training": facts["training"],
    }


def _values(report: Facts, metric: str) -> Iterator[float]:
    """All values of a metric, whatever arm and round."""
    return (found["value"] for one in curves(report, metric).values() for _, found in one)


def _interval(estimate: Facts, percent: bool = False) -> str:
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    low, high = (format_value(estimate[end], percent).removesuffix("\u00a0%") for end in ("low", "high"))
    return f"{low} to {high}"


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _groups(report: Facts) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Groups with their drawn panels; titles of panels that are 0 throughout; of those never measured."""
    groups, zero, unmeasured = [], [], []
    for group in all_panels.groups():
        panels = []
        for panel in group.panels:
            svg = draw(report, group, panel)
            if svg is None:
                unmeasured.append(panel.title)
            elif panel.hide_zero and not any(_values(report, panel.metric)):
                zero.append(panel.title)
            else:
                slug = "figure-" + re.sub(r"\W+", "-", panel.metric)
                reading = _keep_together(panel.reading)
                panels.append((panel, slug, reading, trusted(svg), list(_rows(report, panel))))
        if panels:
            groups.append({"group": group, "panels": panels})
    return groups, zero, unmeasured


def _rows(report: Facts, panel: Panel) -> Iterator[tuple[int, list[Facts | None]]]:
    """Each round and every arm's estimate in it."""
    tables = [
        {row["round"]: row["metrics"].get(panel.metric) for row in report["arms"][arm]["rounds"]}
        for arm in report["arm_order"]
    ]
    for t in sorted({t for table in tables for t in table}):
        yield t, [table.get(t) for table in tables]


def _by_rarity(item: tuple[str, int]) -> tuple[int, str]:
    return (STRATA.index(item[0]) if item[0] in STRATA else len(STRATA)), item[0]


def _seeds_text(report: Facts) -> str:
    counts = sorted({len(report["arms"][arm]["seeds"]) for arm in report["arm_order"]})
    if len(counts) == 1:
        return _count(counts[0], "training seed")
    return f"{counts[0]} to {counts[-1]} training seeds"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _pairs(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain data as (dotted key, text)."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _pairs(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(str(item) for item in value)
    else:
        yield prefix, "–" if value is None else str(value)
