"""Which curves a report shows, in which order: the panels of all metrics, by group."""

from dataclasses import dataclass, replace

from plateau_bench.results.metrics.metric import Panel
from plateau_bench.results.metrics.registry import metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Panels that are read together."""

    key: str
    title: str
    panels: tuple[Panel, ...]
    share_y: bool = False

    @property
    def in_threes(self) -> bool:
        """Three panels share a row of a wide page, so each is shown smaller."""
        return len(self.panels) % 3 == 0


_TITLES = {
    "success": "How often it succeeds",
    "strata": "Common and rare knowledge",
    "variety": "Variety of what it writes",
    "drift": "Distance from where it started",
    "memory": "What it still knows of human text",
    "retention": "Retention of base abilities",
    "data": "Quality of the training data",
    "checks": "What could fake a trend",
}
_ONE_SCALE = ("strata", "retention")


def groups() -> tuple[Group, ...]:
    """All groups, each with the panels of its metrics; groups of installed packages come last.

    Raises ValueError as `metrics.registry.metrics` does.
    """
    found: dict[str, list[Panel]] = {key: [] for key in _TITLES}
    for metric in metrics():
        for panel in metric.panels:
            found.setdefault(panel.group, []).append(replace(panel, metric=panel.metric or metric.name))
    return tuple(
        Group(key=key, title=_TITLES.get(key, key), panels=tuple(panels), share_y=key in _ONE_SCALE)
        for key, panels in found.items()
    )
