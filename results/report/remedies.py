"""The leaderboard of remedies: what each arm puts off, what it costs, and where it ends."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from plateau_bench.results.claims.arms import Rounds
from plateau_bench.results.claims.delay import EVENTS, Delay, delays
from plateau_bench.results.report.reading import Facts, label_of

if TYPE_CHECKING:
    from rich.table import Table

BASE = "replace"


def remedies(arms: Mapping[str, Rounds], facts: Mapping[str, Facts]) -> dict[str, Any] | None:
    """Content of `remedies` in report.json: one row per arm, in their order; None with a single arm.

    `facts`: the report's facts by arm. The arm to be remedied is 'replace', else the first one.
    `human_examples` counts programs that people wrote for the arm; using one again costs nothing.
    """
    if len(arms) < 2:
        return None
    base = BASE if BASE in arms else next(iter(arms))
    found = delays(arms, base)
    events = {
        event.key: {"title": event.title, "meaning": event.meaning} for event in EVENTS if event.key in found
    }
    rows = [
        {
            "arm": arm,
            "claim": label_of(facts[arm], "pass@1"),
            "delays": {key: _delay_facts(by_arm[arm]) for key, by_arm in found.items()},
            "end": _value(facts[arm], "pass@1", -1),
            "variety_drop": _drop(facts[arm]),
            "human_examples": _spent(arms[arm], "human_drawn"),
            "human_verifications": _spent(arms[arm], "human_verifications"),
            "compute": _compute(arms[arm]),
        }
        for arm in arms
    ]
    return {"base": base, "events": events, "rows": rows}


def _delay_facts(delay: Delay) -> dict[str, Any]:
    return asdict(delay) | {"mean": delay.mean, "significant": delay.significant}


def _value(facts: Facts, metric: str, at: int) -> Any:
    return facts["rounds"][at]["metrics"].get(metric)


def _drop(facts: Facts) -> float | None:
    """Share of the base's Hill-1 that is gone in the last round."""
    first, last = (_value(facts, "hill1", at) for at in (0, -1))
    return 1 - last.value / first.value if first and last and first.value else None


def recorded(rounds: Rounds, key: str) -> list[list[float]]:
    """Seed by seed, a fact of the training sets in the rounds that recorded it."""
    return [
        [r.training[key] for r in records if r.training.get(key) is not None] for records in rounds.values()
    ]


def _spent(rounds: Rounds, key: str) -> float | None:
    """What a running total had come to, averaged over seeds; None where none recorded it."""
    known = recorded(rounds, f"{key}_total")
    return fmean(totals[-1] if totals else 0 for totals in known) if any(known) else None


def _compute(rounds: Rounds) -> float | None:
    known = [value for values in recorded(rounds, "compute_multiplier") for value in values]
    return fmean(known) if known else None


def delay_text(delay: Facts) -> str:
    """'+3 rounds', 'at least +4 rounds', 'never in replace'; '–' where it cannot be told."""
    gain = delay["gain"]
    if gain is None:
        return "–"
    text = f"{gain:+g}".replace("-", "−") if gain else "0"
    return f"≥ {text}" if delay["at_least"] and gain > 0 else text


def when_text(delay: Facts) -> str:
    """The median round, or that it did not happen."""
    return "not in the run" if delay["median"] is None else f"round {delay['median']:g}"


def mean_text(mean: Facts) -> str:
    """'mean +2.4, +1.0 to +3.8'."""
    return f"mean {mean['value']:+.1f}, {mean['low']:+.1f} to {mean['high']:+.1f}".replace("-", "−")


def remedies_table(content: Facts) -> "Table":
    """The leaderboard on a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"delay against {content['base']} in rounds (* significant after Holm over the arms)"),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("arm", overflow="fold")
    table.add_column("pass@1")
    for event in content["events"].values():
        table.add_column(event["title"], justify="right")
    for name in ("end", "Hill-1 lost", "human", "compute"):
        table.add_column(name, justify="right")
    for row in content["rows"]:
        told = [delay_text(d) + ("*" if d["significant"] else "") for d in row["delays"].values()]
        table.add_row(Text(row["arm"]), row["claim"] or "-", *told, *costs(row))
    return table


def costs(row: Facts) -> tuple[str, str, str, str]:
    """End pass@1, share of Hill-1 lost, human programs obtained, compute multiplier, as text."""
    end, drop, human, compute = (row[k] for k in ("end", "variety_drop", "human_examples", "compute"))
    return (
        "–" if not end else f"{100 * end['value']:.1f} %",
        "–" if drop is None else f"{round(100 * drop):d} %".replace("-", "−"),
        "–" if human is None else f"{human:,.0f}",
        "–" if compute is None else f"{compute:.2f} ×",
    )
