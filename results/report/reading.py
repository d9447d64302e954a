"""How pages, charts, tables and sentences read a report's dictionary."""

from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
Point = tuple[int, Facts]
"""A round, and an estimate of it: value, low, high, n."""


def curve(facts: Facts, metric: str) -> list[Point]:
    """The rounds of one arm in which a metric has a value."""
    return [(r["round"], found) for r in facts["rounds"] if (found := r["metrics"].get(metric))]


def curves(report: Facts, metric: str) -> dict[str, list[Point]]:
    """Arm -> its curve, in the report's order of arms."""
    return {arm: curve(report["arms"][arm], metric) for arm in report["arm_order"]}


def peak(known: Sequence[Point]) -> Point:
    """The highest point of a curve; of equals the first."""
    return max(known, key=lambda point: (point[1]["value"], -point[0]))


def label_of(facts: Facts, metric: str) -> str | None:
    """What PDT-1 claims of one arm; None where nothing was judged."""
    return (facts["phases"].get(metric) or {}).get("label")
