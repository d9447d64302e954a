"""The report as one HTML page that needs nothing from outside: figures, styles and numbers are all in it.

Made from the report dictionary alone. Whatever came from a user or a model (arm names, config values,
versions) goes through the template's autoescaping; only the SVGs drawn here are trusted markup.
"""

import json
import re
from collections.abc import Iterator, Mapping
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
from plateau_bench.results.report.sentences import arm_findings, closing_sentences, lead, p_text, points

if TYPE_CHECKING:
    from jinja2 import Environment

Facts = Mapping[str, Any]

GLOSSARY: Mapping[str, str] = {
    "pass@1": "Share of held-out tasks that one attempt solves, averaged over tasks. A held-out task is "
    "never trained on.",
    "pass@8": "Share of held-out tasks that at least one of eight attempts solves: what the model can do "
    "at all.",
    "95 % interval": "A range made so that it covers the true value in 95 of 100 such experiments. Wide "
    "means little is known.",
    "Variety": "How many ways of being right the model still has. Measured as Hill-1: the effective number "
    "of different programs among four correct ones for the same task, ignoring names and layout.",
    "Checkpoint-level": "A statement about these trained weights only. Training again with another random "
    "seed may give another answer.",
    "Strategy-level": "A statement about the method: it allows for the luck of training, because the whole "
    "experiment was repeated with several training seeds.",
    "Minimum detectable fall": "The smallest true fall that this experiment would have noticed in 80 % of "
    "its repetitions. Where no fall was detected, smaller ones may still be there.",
    "Silent collapse": "The pass rate rises or stays level while the variety of correct programs shrinks.",
    "Head, torso, tail": "Tasks by how rare the rarest thing they need is in human code: common, less "
    "common, rare.",
    "KL": "How differently two models continue the same text, in nats per token; 0 means exactly alike. "
    "The direction matters: KL (base ‖ current) reacts to what was forgotten.",
    "Excess cross-entropy": "Extra bits per token that the model needs to predict held-out human text, "
    "compared with "
    "its base: the distance from the human baseline, in which the unpredictability of humans cancels out.",
    "Rare-token perplexity": "Among how many equally likely tokens the model seems to choose where humans "
    "wrote a rare one.",
    "Distinct 4-grams": "Share of four-token sequences that differ from each other, over the same number "
    "of generated tokens in every round.",
    "Holm": "A correction that keeps the chance of any false alarm over several comparisons at the stated "
    "level.",
}


def templates() -> "Environment":
    """The pages' templates: what is filled in is escaped, and a misspelt name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
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
            glossary={_keep_together(word): _keep_together(text) for word, text in GLOSSARY.items()},
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


def _term(word: str) -> Any:
    """A word with its meaning as a tooltip."""
    from markupsafe import Markup

    meaning = next(text for name, text in GLOSSARY.items() if name.lower() == word.lower())
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
    phase, variety = (facts["phases"].get(metric) or {} for metric in ("pass@1", "hill1"))
    curve = [(row["round"], row["metrics"].get("pass@1")) for row in facts["rounds"]]
    known = [(t, estimate) for t, estimate in curve if estimate]
    values = [e["value"] for a in report["arm_order"] for e in _estimates(report, a, "pass@1") if e]
    scale = (min(values, default=0.0), max(values, default=1.0))  # of all arms, so that lines compare
    return {
        "name": arm,
        "colour": colour,
        "headline": plain_label(phase.get("label")),
        "tone": tone(phase.get("label")),
        "label": phase.get("label"),
        "variety_label": variety.get("label"),
        "level": phase.get("level"),
        "findings": arm_findings(report, arm),
        "spark": trusted(sparkline([e and e["value"] for _, e in curve], colour, scale)),
        "base": known[0] if known else None,
        "peak": max(known, key=lambda item: (item[1]["value"], -item[0]), default=None),
        "last": known[-1] if known else None,
        "training": facts["training"],
    }


def _estimates(report: Facts, arm: str, metric: str) -> list[Facts | None]:
    return [row["metrics"].get(metric) for row in report["arms"][arm]["rounds"]]


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
            elif panel.hide_zero and not _ever_above_zero(report, panel):
                zero.append(panel.title)
            else:
                slug = "figure-" + re.sub(r"\W+", "-", panel.metric)
                reading = _keep_together(panel.reading)
                panels.append((panel, slug, reading, trusted(svg), list(_rows(report, panel))))
        if panels:
            groups.append({"group": group, "panels": panels})
    return groups, zero, unmeasured


def _ever_above_zero(report: Facts, panel: Panel) -> bool:
    return any(e and e["value"] for arm in report["arm_order"] for e in _estimates(report, arm, panel.metric))


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
