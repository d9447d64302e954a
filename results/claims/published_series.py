"""A published series of pass rates: is its rise, its plateau or its fall more than noise?

For numbers that come without attempts: a CSV of `label,rate,n` or `label,passed,n`, in order of time.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plateau_bench.results.claims.significance import minimum_detectable
from plateau_bench.validate import decoded

MARGIN = 0.02
"""Differences within this count as level."""
_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One published rate: `Point(label="v1", rate=79 / 570, n=570)`."""

    label: str
    rate: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesClaim:
    """What the series supports, at 5 % for rise and fall together."""

    rise: float
    """Lower bound of the largest rise over the first point; above 0: a rise."""
    fall: float
    """Lower bound of the largest fall from an earlier point to the last; above 0: a fall."""
    level: bool
    """Whether some point is at least three before the end and none after it is better by MARGIN."""
    detectable: float
    """Smallest difference of first and last point that these n would show in four of five cases."""
    sentence: str


def read_series(path: Path) -> list[Point]:
    """Raises ValueError naming file, line and column for anything that is no series."""
    points = []
    with io.StringIO(decoded(path.read_bytes()), newline="") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        if "n" not in columns or not columns & {"rate", "passed"}:
            raise ValueError(
                f"{path}: line 1: columns 'n' and 'rate' or 'passed' needed, not {sorted(columns)}"
            )
        for line, row in enumerate(rows, 2):
            points.append(_point(row, f"{path}: line {line}"))
    if len(points) < 2:
        raise ValueError(f"{path}: a series needs two points, this one has {len(points)}")
    return points


def _point(row: dict[str, str], where: str) -> Point:
    def value(column: str) -> float:
        try:
            found = float(row[column].strip().rstrip("%"))
        except (ValueError, AttributeError):
            raise ValueError(f"{where}: {column}: {row[column]!r} is not a number") from None
        return found / 100 if column == "rate" and row[column].strip().endswith("%") else found

    n = value("n")
    if not n >= 1 or n != int(n):
        raise ValueError(f"{where}: n: {n:g} is not a number of tasks")
    rate = value("rate") if row.get("rate") else value("passed") / n
    if not 0 <= rate <= 1:
        raise ValueError(f"{where}: the rate {rate:g} is not between 0 and 1; write 0.138 or 13.8%")
    return Point(label=row.get("label") or where, rate=rate, n=int(n))


def judge_series(points: Sequence[Point], *, seed: int = 0) -> SeriesClaim:
    """Simultaneous bounds over all rises and falls, points taken as independent binomials.

    The critical value is the 95 % quantile of the largest studentised contrast under normal noise
    (max-T; Hothorn, Bretz and Westfall 2008). That the same tasks may have been used each time is not
    known from rates alone, so the bounds are wide rather than wrong.
    """
    rates, n = np.array([p.rate for p in points]), np.array([p.n for p in points])
    shrunk = (rates * n + 1) / (n + 2)  # a published 0 or 100 % is not without error
    variance = shrunk * (1 - shrunk) / n
    last = len(points) - 1
    contrasts = [(u, 0) for u in range(1, last + 1)] + [(u, last) for u in range(last)]
    matrix = np.zeros((len(contrasts), len(points)))
    for row, (plus, minus) in enumerate(contrasts):
        matrix[row, plus], matrix[row, minus] = 1, -1
    error = np.sqrt(matrix**2 @ variance)
    noise = np.random.default_rng(seed).standard_normal((_DRAWS, len(points))) * np.sqrt(variance)
    critical = float(np.quantile((noise @ matrix.T / error).max(axis=1), 0.95))
    lower = matrix @ rates - critical * error
    rise, fall = float(lower[:last].max()), float(lower[last:].max())
    level = any(
        all(
            rates[u] - rates[t] + critical * math.sqrt(variance[u] + variance[t]) < MARGIN
            for u in range(t + 1, last + 1)
        )
        for t in range(last - 2)
    )
    detectable = minimum_detectable(math.sqrt(variance[0] + variance[-1]))
    sentence = _sentence(points, rise, fall, level, detectable)
    return SeriesClaim(rise=rise, fall=fall, level=level, detectable=detectable, sentence=sentence)


def _sentence(points: Sequence[Point], rise: float, fall: float, level: bool, detectable: float) -> str:
    change = 100 * (points[-1].rate - points[0].rate)
    said = ["the rise is significant" if rise > 0 else "no rise is significant"]
    if fall > 0:
        said.append("so is a later fall" if rise > 0 else "a fall is significant")
    elif level:
        said.append("it has levelled off")
    return (
        f"{points[0].label} to {points[-1].label}: {change:+.1f} points; {', '.join(said)}. With these n a "
        f"difference of {100 * detectable:.1f} points would be seen in four of five cases."
    )
