"""What counts as a decline, what is known in a round, and the rules by which people raise an alarm.

Regression to the mean would make any high pass@1 "foretell" a fall, so the attempts of a round are split:
the fall is measured from the odd samples, pass rates and rules are read on the even ones.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr

from plateau_bench.results.metrics.estimators import clustered_se
from plateau_bench.results.records import RoundMetrics, RoundRecord

HORIZON = 2
MARGIN = 0.02
PASS_RATES = ("pass@1", "pass@1/head", "pass@1/torso", "pass@1/tail")
"""Measures that are read on the even samples alone."""

Means = Sequence[Mapping[str, float]]
"""Round -> metric -> value of one arm and seed, pass rates on the even samples."""


def declines(records: Sequence[RoundRecord], t: int) -> bool:
    """A material fall of pass@1 from round t (odd samples) to the mean of rounds t + 2 and t + 3."""
    now = records[t].metrics
    start = now.per_task.get("pass@1/odd") or now.per_task.get("pass@1")
    later = [r.metrics.per_task.get("pass@1") for r in records[t + HORIZON : t + HORIZON + 2]]
    if start is None or None in later:
        raise ValueError(f"{records[t].arm}, round {t}: no pass@1 per task, which early warnings need")
    fall = np.asarray(start, float) - np.mean(np.asarray(later, float), axis=0)
    error = clustered_se(fall, now.clusters)
    size = float(np.nanmean(fall))
    return size >= MARGIN and size > 1.645 * error


def means_of(record: RoundRecord) -> Mapping[str, float]:
    """A round's values; pass rates on the even samples where they were kept."""
    metrics = record.metrics
    found = {name: e.value for name, e in metrics.values.items() if e is not None and math.isfinite(e.value)}
    if "pass@1/even" in metrics.per_task:
        found |= {name: rate for name in PASS_RATES if not math.isnan(rate := even_rate(metrics, name))}
    return found


def even_rate(metrics: RoundMetrics, name: str) -> float:
    """pass@1, or that of one stratum, on the even samples; NaN where no task has one."""
    column = np.asarray(metrics.per_task["pass@1/even"], float)
    if "/" in name:
        stratum = name.split("/")[1]
        column = column[[s == stratum for s in metrics.strata] if metrics.strata else slice(0)]
    return math.nan if not len(column) or np.isnan(column).all() else float(np.nanmean(column))


def best_versus_last(records: Sequence[RoundRecord], means: Means, t: int) -> bool:
    """The best earlier round beats this one in a paired one-sided z-test at 5 %."""
    earlier = [np.asarray(r.metrics.per_task["pass@1"], float) for r in records[:t]]
    now = records[t].metrics.per_task
    fall = max(earlier, key=np.nanmean) - np.asarray(now.get("pass@1/even") or now["pass@1"], float)
    error = clustered_se(fall, records[t].metrics.clusters)
    return bool(error > 0 and ndtr(float(np.nanmean(fall)) / error) > 0.95)


def threshold_guard(records: Sequence[RoundRecord], means: Means, t: int) -> bool:
    """Two or more signs over two rounds: length, variety or entropy down by a quarter, pass@1 by 5 points."""
    now, before = means[t], means[t - 2]

    def down(name: str) -> bool:
        return name in now and name in before and now[name] <= 0.75 * before[name]

    lost_score = before.get("pass@1", 0.0) - now.get("pass@1", 0.0) >= 0.05
    signals = (
        down("completion_tokens"),
        down("distinct4") or down("hill1"),
        down("token_entropy_onpolicy"),
        lost_score,
    )
    return sum(signals) >= 2


RULES = {"best versus last": best_versus_last, "threshold guard": threshold_guard}
"""Rules that people use, as alarms on (records, means, t)."""
