"""Every metric there is: plateau's own, then those of installed packages (`plateau_bench.metrics`)."""

from functools import cache

from plateau_bench import plugins
from plateau_bench.results.metrics import (
    calibration,
    diversity,
    drift_metrics,
    success,
    trajectories,
)
from plateau_bench.results.metrics.estimators import Columns, Values
from plateau_bench.results.metrics.metric import UNBOUNDED, Metric, RoundData

FAMILIES = {
    "success": success.SUCCESS,
    "endings": success.ENDINGS,
    "variety": diversity.METRICS,
    "calibration": calibration.METRICS,
    "conversations": trajectories.METRICS,
    "drift": drift_metrics.METRICS,
}
"""Plateau's own metrics by section of docs/metrics.md, in the order in which they are computed."""


@cache
def metrics() -> tuple[Metric, ...]:
    """All metrics. Raises ValueError for an entry point that is no Metric, or whose name is taken."""
    found = [metric for family in FAMILIES.values() for metric in family]
    for name, part in plugins.outside("metrics").items():
        if not isinstance(part, Metric):
            raise ValueError(f"metrics: {name!r} is of the type {type(part).__name__}, not a Metric")
        if any(other.stands_for(part.name) for other in found):
            raise ValueError(f"metrics: the name {part.name!r} of {name!r} is taken")
        found.append(part)
    return tuple(found)


def find(name: str) -> Metric | None:
    """The metric that a name in a round's values belongs to; a metric of exactly this name comes first."""
    fitting = [metric for metric in metrics() if metric.stands_for(name)]
    return next((metric for metric in fitting if metric.name == name), fitting[0] if fitting else None)


def bounds(name: str) -> tuple[float, float]:
    """The range of a metric's values; without bounds for a name that no installed metric has."""
    metric = find(name)
    return metric.bounds if metric else UNBOUNDED


def shares_attempts(name: str) -> bool:
    """Whether a metric is read on the graded attempts: such a sign of a fall of pass@1 may be mere luck."""
    metric = find(name)
    return metric is not None and metric.shares_attempts


def compute(data: RoundData) -> tuple[Values, Columns]:
    """All values of one round by name, and values per task of those that keep them."""
    values: Values = {}
    per_task: Columns = {}
    done = set()
    for metric in metrics():
        if metric.function is None or metric.function in done:
            continue
        done.add(metric.function)
        found = metric.compute(data)
        values |= found.values
        per_task |= found.per_task
    return values, per_task
