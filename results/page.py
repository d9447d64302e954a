"""The report as one HTML page that needs nothing from outside: figures, styles and numbers are all in it.

Made from the report dictionary alone. Whatever came from a user or a model (arm names, config values,
versions) goes through the template's autoescaping; only the SVGs drawn here are trusted markup.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from results.figures import colour_of, draw, format_value, sparkline
from results.generations import CLAIMED, COLUMNS, DEFAULT_ARM, LABEL, change, claim_text
from results.panels import GROUPS, Panel
from results.remedies import costs, delay_text, draw_delays, when_text
from results.summary import arm_findings, closing_sentences, lead, p_text, points
from results.verdicts import ALPHA, RATE_MARGIN, VARIETY_MARGIN, WINDOW, plain_label, tone

Facts = Mapping[str, Any]

GLOSSARY: Mapping[str, str] = {
    "pass@1": "Share of held-out tasks that one attempt solves, averaged over tasks. A held-out task is "
    "never trained on.",
    "pass@8": "Share of held-out tasks that at least one of eight attempts solves: what the model can do "
    "at all.",
    "95 % interval": "A range made so that it covers the true value in 95 of 100 such experiments. Wide "
    "means little is known.",
    "Variety": "How many ways of being right the model still has. Measured as Hill-1: the effective number "
    "of different "
    "programs among four correct ones for the same task, ignoring names and layout.",
    "Checkpoint-level": "A statement about these trained weights only. Training again with another random "
    "seed may give another answer.",
    "Strategy-level": "A statement about the method: it allows for the luck of training, because the whole "
    "experiment was "
    "repeated with several training seeds.",
    "Minimum detectable fall": "The smallest true fall that this experiment would have noticed in 80 % of "
    "its repetitions. "
    "Where no fall was detected, smaller ones may still be there.",
    "Silent collapse": "The pass rate rises or stays level while the variety of correct programs shrinks.",
    "Head, torso, tail": "Tasks by how rare the rarest thing they need is in human code: common, less "
    "common, rare.",
    "KL": "How differently two models continue the same text, in nats per token; 0 means exactly alike. "
    "The direction "
    "matters: KL (base ‖ current) reacts to what was forgotten.",
    "Excess cross-entropy": "Extra bits per token that the model needs to predict held-out human text, "
    "compared with "
    "its base: the distance from the human baseline, in which the unpredictability of humans cancels out.",
    "Rare-token perplexity": "Among how many equally likely tokens the model seems to choose where humans "
    "wrote a rare one.",
    "Distinct 4-grams": "Share of four-token sequences that differ from each other, over the same number "
    "of generated "
    "tokens in every round.",
    "Holm": "A correction that keeps the chance of any false alarm over several comparisons at the stated "
    "level.",
}


def render_page(report: Facts) -> str:
    """The whole page; the same report gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    arms = [_arm(report, arm, _scale(report)) for arm in report["arm_order"]]
    groups, zero, unmeasured = _groups(report)
    return templates.get_template("report.html").render(
        report=report,
        lead=lead(report),
        closing=closing_sentences(report),
        arms=arms,
        seeds_text=_seeds_text(report),
        rounds_text=_count(max(len(report["arms"][a]["rounds"]) for a in report["arm_order"]) - 1, "round"),
        comparisons=[_comparison(row) for row in report["comparisons"]],
        groups=groups,
        zero=zero,
        unmeasured=unmeasured,
        degradation=[_degradation(report, arm) for arm in report["arm_order"]],
        degradation_columns=list(COLUMNS.values()),
        claimed_by=LABEL,
        claimed=_claimed(report),
        remedies=_remedies(report),
        glossary={_keep_together(word): _keep_together(text) for word, text in GLOSSARY.items()},
        methods=[_keep_together(sentence) for sentence in _methods(report)],
        command=report["environment"].get("command") or "plateau run config.yaml",
        environment=list(_pairs(report["environment"])),
        config=json.dumps(report["config"], indent=2, ensure_ascii=False),
        count=_count,
        arrow=lambda label: label.replace("->", " → ") if label else "–",
        term=_term,
    )


def _term(word: str) -> Any:
    """A word with its meaning as a tooltip."""
    from markupsafe import Markup

    meaning = next(text for name, text in GLOSSARY.items() if name.lower() == word.lower())
    return Markup('<abbr title="{}">{}</abbr>').format(_keep_together(meaning), _keep_together(word))


def _keep_together(text: str) -> str:
    """No line break before a per cent sign."""
    return text.replace(" %", "\u00a0%")


def _trusted(svg: str) -> Any:
    """Markup for SVG made in `results.figures`, which escapes what it draws."""
    from markupsafe import Markup

    return Markup(svg)


def _scale(report: Facts) -> tuple[float, float]:
    """Lowest and highest pass@1 of all arms, so that their sparklines can be compared."""
    rows = [
        row["metrics"].get("pass@1") for arm in report["arm_order"] for row in report["arms"][arm]["rounds"]
    ]
    values = [estimate["value"] for estimate in rows if estimate]
    return min(values, default=0.0), max(values, default=1.0)


def _arm(report: Facts, arm: str, scale: tuple[float, float]) -> dict[str, Any]:
    facts = report["arms"][arm]
    phase, variety = (facts["phases"].get(metric) or {} for metric in ("pass@1", "hill1"))
    curve = [(row["round"], row["metrics"].get("pass@1")) for row in facts["rounds"]]
    known = [(t, estimate) for t, estimate in curve if estimate]
    best = max(known, key=lambda item: (item[1]["value"], -item[0])) if known else None
    colour = colour_of(report, arm)
    return {
        "name": arm,
        "colour": colour,
        "headline": plain_label(phase.get("label")),
        "tone": tone(phase.get("label")),
        "label": phase.get("label"),
        "variety_label": variety.get("label"),
        "level": phase.get("level"),
        "silent": report["silent_collapse"][arm]["shown"],
        "findings": arm_findings(report, arm),
        "spark": _trusted(
            sparkline([estimate and estimate["value"] for _, estimate in curve], colour, scale)
        ),
        "base": _cell(known[0][1], percent=True) if known else None,
        "peak": _cell(best[1], percent=True) | {"round": best[0]} if best else None,
        "last": _cell(known[-1][1], percent=True) | {"round": known[-1][0]} if known else None,
        "human_examples": _amount(facts["training"]["human_examples"]),
        "tokens": _amount(facts["training"]["tokens"]),
    }


def _cell(estimate: Facts, percent: bool = False) -> dict[str, Any]:
    interval = ""
    if estimate["low"] is not None and estimate["high"] is not None:
        low, high = (format_value(estimate[end], percent).removesuffix("\u00a0%") for end in ("low", "high"))
        interval = f"{low} to {high}"
    return {"value": format_value(estimate["value"], percent), "interval": interval, "round": None}


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _comparison(row: Facts) -> dict[str, str]:
    gap = row["difference"]
    return {
        "name": f"{row['arm']} − {row['minus']}",
        "at": "best rounds" if row["at"] == "best" else f"round {row['round']}",
        "value": points(gap["value"], True) if gap else "–",
        "interval": f"{points(gap['low'], True)} to {points(gap['high'], True)}" if gap else "–",
        "p": p_text(row["p_holm"]).removeprefix("p\u00a0").removeprefix("=\u00a0")
        if row["p_holm"] is not None
        else "–",
    }


def _groups(report: Facts) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Groups with their drawn panels; titles of panels that are 0 throughout; of those never measured."""
    groups, zero, unmeasured = [], [], []
    for group in GROUPS:
        panels = []
        for panel in group.panels:
            svg = draw(report, group, panel)
            if svg is None:
                unmeasured.append(panel.title)
            elif panel.hide_zero and not _ever_above_zero(report, panel):
                zero.append(panel.title)
            else:
                panels.append(
                    {
                        "id": "figure-" + re.sub(r"\W+", "-", panel.metric),
                        "title": panel.title,
                        "reading": _keep_together(panel.reading),
                        "svg": _trusted(svg),
                        "rows": list(_rows(report, panel)),
                    }
                )
        if panels:
            groups.append(
                {"key": group.key, "title": group.title, "panels": panels, "in_threes": group.in_threes}
            )
    return groups, zero, unmeasured


def _ever_above_zero(report: Facts, panel: Panel) -> bool:
    rows = [
        row["metrics"].get(panel.metric) for a in report["arm_order"] for row in report["arms"][a]["rounds"]
    ]
    return any(estimate["value"] for estimate in rows if estimate)


def _rows(report: Facts, panel: Panel) -> Iterator[dict[str, Any]]:
    tables = [
        {row["round"]: row["metrics"].get(panel.metric) for row in report["arms"][arm]["rounds"]}
        for arm in report["arm_order"]
    ]
    for t in sorted({t for table in tables for t in table}):
        cells = [table.get(t) for table in tables]
        yield {"round": t, "cells": [cell and _cell(cell, panel.percent) for cell in cells]}


def _degradation(report: Facts, arm: str) -> dict[str, Any]:
    return {
        "name": arm,
        "colour": colour_of(report, arm),
        "rows": [
            {"round": row["round"], "cells": [row[name] and _cell(row[name]) for name in COLUMNS]}
            for row in report["article_table"][arm]
        ],
    }


def _claimed(report: Facts) -> dict[str, Any]:
    """One arm's generations beside the article's: the unverified arm where there is one, else the first."""
    arm = DEFAULT_ARM if DEFAULT_ARM in report["article_table"] else report["arm_order"][0]
    rows = report["article_table"][arm]
    return {
        "arm": arm,
        "rows": [
            {
                "round": row["round"],
                "ours": [row[name] and _cell(row[name])["value"] for name in CLAIMED],
                "theirs": [claim_text(name, row["claimed"][name]) for name in CLAIMED],
            }
            for row in rows
            if row["claimed"]["rare_ppl"] is not None
        ],
        "changes": [
            f"{COLUMNS[name]}: {ours:.2f} × measured, {theirs:.2f} × {LABEL}"
            for name in CLAIMED
            for ours, theirs in [change(rows, name)]
            if ours is not None and theirs is not None
        ],
    }


def _remedies(report: Facts) -> dict[str, Any] | None:
    """The leaderboard of remedies; None with a single arm."""
    content = report["remedies"]
    if content is None:
        return None
    svg = draw_delays(content)
    return {
        "base": content["base"],
        "events": list(content["events"].values()),
        "svg": _trusted(svg) if svg else None,
        "rows": [
            {
                "name": row["arm"],
                "colour": colour_of(report, row["arm"]),
                "claim": row["claim"],
                "delays": [_delay(delay) for delay in row["delays"].values()],
                "costs": costs(row),
            }
            for row in content["rows"]
        ],
    }


def _delay(delay: Facts) -> dict[str, Any]:
    mean, p = delay["mean"], delay["p_holm"]
    interval = f"mean {mean['value']:+.1f}, {mean['low']:+.1f} to {mean['high']:+.1f}" if mean else ""
    return {
        "text": delay_text(delay),
        "when": when_text(delay),
        "interval": interval.replace("-", "−"),
        "p": "" if p is None else p_text(p),
        "significant": delay["significant"],
    }


def _methods(report: Facts) -> list[str]:
    """What was done, in sentences; a fact that the report does not hold is not mentioned."""
    evaluation, config = report["evaluation"], report["config"]
    how = config.get("evaluate")
    how = how if isinstance(how, Mapping) else {}
    strata = ", ".join(
        f"{count} {name}" for name, count in sorted(evaluation["strata"].items(), key=_by_rarity)
    )
    sampling = [
        f"{how['samples']} attempts per task and round" if "samples" in how else "",
        f"at temperature {how['temperature']}" if "temperature" in how else "",
    ]
    attempts = " ".join(filter(None, sampling))
    return [
        f"Tasks: {evaluation['tasks']} held-out tasks in {evaluation['clusters']} independent clusters per "
        "training seed"
        + (f" ({strata})" if strata else "")
        + ". They are never trained on, and they are the same in every round of a seed."
        + (f" {attempts[0].upper()}{attempts[1:]}." if attempts else ""),
        "An attempt passes if every hidden test passes. An attempt that could not be graded, or that "
        "tampered with "
        "its grading, counts as not passed.",
        "pass@k is the unbiased estimate 1 − C(n−c, k) / C(n, k) for c passes in n attempts, averaged over "
        "tasks.",
        "Intervals resample what was drawn independently: task clusters within a training seed, and "
        "training seeds "
        "where there are several; measures without values per task use Student's t over training seeds.",
        f"Rise, plateau and fall are claimed by one procedure (PDT-1): every round is compared with the "
        "base and with the mean of "
        f"the final {WINDOW} rounds, all comparisons share one critical value from a max-T bootstrap, "
        f"α = {ALPHA:g} per arm and measure. A plateau means that no later round is better by "
        f"{100 * RATE_MARGIN:g} points "
        f"(pass rates) or by {100 * VARIETY_MARGIN:g} % of the base value (Hill-1). With several arms and "
        "measures, "
        "some false claims must be expected at this rate.",
        "From three training seeds on, seeds are resampled too and the claim is about the strategy; below "
        "that it is "
        "about the checkpoints at hand.",
        "Silent collapse joins two claims (pass@1 risen or level, variety fallen), Holm-corrected.",
        "KL, entropy, n-grams and perplexities are measured at temperature 1 over the full vocabulary; "
        "the fixed texts and the human texts were set aside before round 0.",
    ]


def _by_rarity(item: tuple[str, int]) -> tuple[int, str]:
    order = ("head", "torso", "tail")
    return (order.index(item[0]) if item[0] in order else len(order)), item[0]


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
