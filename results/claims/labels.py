"""PDT-1 applied to the arms of a run: which metrics are judged, by which margin, and in which words."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from plateau_bench.results.claims.arms import Rounds, measured
from plateau_bench.results.claims.pdt1 import RATE_MARGIN, Phase, classify, curve_of

METRICS = ("pass@1", "pass@8", "hill1")
VARIETY_MARGIN = 0.05
"""A change of Hill-1 that matters, as a share of the base model's value."""


def judge_arm(rounds: Rounds, metrics: Sequence[str] = METRICS) -> dict[str, Phase | None]:
    """Metric -> PDT-1's claim; None where it cannot be judged.

    A metric that was not measured per task is left out. It cannot be judged with fewer than two rounds,
    or where the base model has no value.
    """
    return {metric: _judge(rounds, metric) for metric in metrics if measured(rounds, metric)}


def phase(rounds: Rounds, metric: str) -> Phase:
    """PDT-1's claim on one metric. Raises ValueError where the metric cannot be judged."""
    judged = judge_arm(rounds, (metric,)).get(metric)
    if judged is None:
        raise ValueError(f"{metric} was not measured, or has no value for the base model")
    return judged


def _judge(rounds: Rounds, metric: str) -> Phase | None:
    delta = _margin(rounds, metric)
    if delta is None or min(len(records) for records in rounds.values()) < 2:
        return None
    tasks = {records[0].metrics.task_ids for records in rounds.values()}
    return classify(
        [curve_of(records, metric) for records in rounds.values()],
        delta=delta,
        seed=0,
        crossed=len(rounds) > 1 and len(tasks) == 1,
    )


def _margin(rounds: Rounds, metric: str) -> float | None:
    if metric != "hill1":
        return RATE_MARGIN
    base = [
        v for records in rounds.values() for v in records[0].metrics.per_task[metric] if not math.isnan(v)
    ]
    return VARIETY_MARGIN * fmean(base) if base else None


def plain_label(label: str | None) -> str:
    """A label in everyday words."""
    return _PLAIN.get(label or "", "not judged")


def tone(label: str | None) -> str:
    """'good', 'bad' or 'calm', for colouring."""
    if label and "decline" in label:
        return "bad"
    return "good" if label and label.startswith("rise") else "calm"


_PLAIN: Mapping[str, str] = {
    "rise": "rose",
    "rise->plateau": "rose, then levelled off",
    "rise->decline": "rose, then fell",
    "plateau": "ended level",
    "flat": "stayed level",
    "decline": "fell",
    "inconclusive": "nothing established",
}


def join_words(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
