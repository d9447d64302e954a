"""The tables of docs/metrics.md. Renew: `python -m tests.results.metrics_table docs/metrics.md`."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from plateau_bench.results.metrics.metric import Metric
from plateau_bench.results.metrics.registry import FAMILIES

_HEAD = ("name", "definition", "unit", "source", "population", "good news")
_PLACE = re.compile(r"(<!-- metrics: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(metrics: Iterable[Metric]) -> str:
    """A Markdown table with one row per metric."""
    rows = [
        (f"`{m.name}`", m.definition, m.unit, m.source, m.population, "" if m.good == "unclear" else m.good)
        for m in metrics
    ]
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in (_HEAD, *rows)]
    return "".join(f"| {line} |\n" for line in (lines[0], " | ".join(["---"] * len(_HEAD)), *lines[1:]))


def renewed(page: str) -> str:
    """The page with the table of each family between `<!-- metrics: FAMILY -->` and `<!-- end -->`.

    Raises ValueError if a family has no place on it.
    """
    places = [place[2] for place in _PLACE.finditer(page)]
    if sorted(places) != sorted(FAMILIES):
        raise ValueError(f"places for {', '.join(FAMILIES)} needed, not for {', '.join(places)}")
    return _PLACE.sub(lambda place: f"{place[1]}\n{table(FAMILIES[place[2]])}\n{place[3]}", page)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text("utf-8")), "utf-8")
