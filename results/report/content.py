"""What a run says, as one dictionary (`report.json`) and one page (`report.html`).

The dictionary is the contract that other tools read; the page, the figures and the sentences are made
from the dictionary alone. Equal results give equal bytes: nothing here reads a clock or draws unseeded.
"""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from plateau_bench.results.claims.arms import Rounds, compare_arms
from plateau_bench.results.claims.labels import judge_arm
from plateau_bench.results.claims.pdt1 import Phase, silent_collapse
from plateau_bench.results.metrics.estimators import seeds_interval, student
from plateau_bench.results.metrics.registry import bounds
from plateau_bench.results.records import Estimate, RoundRecord, RunResults, fields_of
from plateau_bench.results.report.page import render_page
from plateau_bench.results.report.reading import curve, label_of, peak
from plateau_bench.results.report.remedies import recorded, remedies
from plateau_bench.results.report.sentences import summarise
from plateau_bench.results.store import RunStore, write_bytes

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "plateau-report/1"
SELECTED = "selected_precision"
_DIGITS = 6


def build_report(results: RunResults) -> dict[str, Any]:
    """The content of report.json: plain data, no NaN, absent values None.

    With several training seeds a value is the mean over seeds (two-level bootstrap interval where tasks
    are known, Student's t over seeds elsewhere), over the rounds that every seed has finished. With one
    seed it is that seed's own estimate. Raises ValueError if there is no arm or an arm has no round.
    """
    if not results.rounds:
        raise ValueError(f"run {results.name!r} has no arms: nothing to report")
    arms: dict[str, Rounds] = {}
    notes: list[str] = []
    for arm, by_seed in results.rounds.items():
        arms[arm], remarks = _finished(arm, by_seed)
        notes += remarks
    judged = {arm: judge_arm(rounds) for arm, rounds in arms.items()}
    facts = {arm: _arm(rounds, judged[arm]) for arm, rounds in arms.items()}
    report: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "name": results.name,
            "sandbox": results.environment.get("sandbox"),
            "environment": dict(results.environment),
            "config": dict(results.config),
            "arm_order": list(arms),
            "notes": notes,
            "evaluation": _evaluation(arms),
            "arms": facts,
            "comparisons": compare_arms(arms),
            "silent_collapse": {arm: _collapse(claims) for arm, claims in judged.items()},
            "remedies": remedies(arms, facts),
        }
    )
    return report | {"summary": summarise(report)}


def report_bytes(report: Mapping[str, Any]) -> bytes:
    """Strict, sorted JSON."""
    return (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_report(results: RunResults, folder: Path) -> Path:
    """Write `report.json` and `report.html` into `folder`, whole or not at all; gives the page's path."""
    report = build_report(results)
    store = RunStore(folder)
    write_bytes(store.report, report_bytes(report))
    write_bytes(store.page, render_page(report).encode())
    return store.page


def terminal_table(report: Mapping[str, Any]) -> "Table":
    """One line per arm: base, peak and last pass@1, and what is claimed. For the end of `plateau run`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{report['name']}: pass@1 on held-out tasks, and claims"), box=SIMPLE_HEAD)
    table.add_column("arm", overflow="fold", min_width=12)
    for column in ("base", "peak", "last", "pass@1", "variety"):
        table.add_column(column, no_wrap=True)
    for arm in report["arm_order"]:
        facts = report["arms"][arm]
        claims = [label_of(facts, metric) or "-" for metric in ("pass@1", "hill1")]
        # Text, not str: an arm's name is not markup.
        table.add_row(*(Text(cell) for cell in (arm, *_cells(facts), *claims)))
    return table


def _cells(facts: Mapping[str, Any]) -> list[str]:
    """pass@1 at the base, at its peak and at last."""
    known = curve(facts, "pass@1")
    if not known:
        return ["-"] * 3
    told = [f"{found['value']:.3f} (r{t})" for t, found in (peak(known), known[-1])]
    return [f"{known[0][1]['value']:.3f}", *told]


def _finished(arm: str, by_seed: Mapping[int, tuple[RoundRecord, ...]]) -> tuple[Rounds, list[str]]:
    """The seeds that have rounds, cut to the rounds that all of them have; and what was left out."""
    started = {seed: records for seed, records in by_seed.items() if records}
    if not started:
        raise ValueError(
            f"arm {arm!r} has no finished round yet: finish or resume the run, then report again"
        )
    notes = []
    if missing := [seed for seed in by_seed if seed not in started]:
        notes.append(f"{arm}: no finished round yet for seed {', '.join(map(str, missing))}; left out.")
    common = min(len(records) for records in started.values())
    if any(len(records) > common for records in started.values()):
        notes.append(
            f"{arm}: the seeds have finished different numbers of rounds; only the {common} that all have "
            "are used, because rounds with fewer seeds are not comparable with the others."
        )
    return {seed: records[:common] for seed, records in started.items()}, notes


def _collapse(claims: Mapping[str, Phase | None]) -> dict[str, Any]:
    """Whether pass@1 rose or stayed level while the variety of correct programs fell."""
    found = silent_collapse(claims.get("pass@1"), claims.get("hill1"))
    return {"shown": found.claimed, "p": found.p}


def _arm(rounds: Rounds, judged: Mapping[str, Phase | None]) -> dict[str, Any]:
    length = len(next(iter(rounds.values())))
    names = sorted({name for records in rounds.values() for r in records for name in r.metrics.values})
    names += [SELECTED] if SELECTED not in names else []
    return {
        "seeds": list(rounds),
        "rounds": [
            {
                "round": next(iter(rounds.values()))[t].metrics.round,
                "metrics": {name: _pooled([r[t] for r in rounds.values()], name) for name in names},
            }
            for t in range(length)
        ],
        "phases": {metric: claim and fields_of(claim) for metric, claim in judged.items()},
        "training": _training(rounds),
    }


def _pooled(records: Sequence[RoundRecord], metric: str) -> Estimate | None:
    """One round's estimate over the seeds; None unless every seed has a value.

    A mean over the seeds that happen to have one would change its meaning from round to round.
    """
    estimates = [_estimate(record, metric) for record in records]
    present = [e for e in estimates if e is not None and math.isfinite(e.value)]
    if len(present) < len(records):
        return None
    if len(records) == 1:
        return present[0]
    per_task = [record.metrics.per_task.get(metric) for record in records]
    if all(per_task):
        return seeds_interval(
            [values for values in per_task if values],
            [record.metrics.clusters for record in records],
            seed=0,
            bounds=bounds(metric),
        )
    values = [e.value for e in present]
    return student(fmean(values), stdev(values) / math.sqrt(len(values)), len(values))[0]


def _estimate(record: RoundRecord, metric: str) -> Estimate | None:
    """A record's metric; the precision of the selected examples is a fact of the training set instead."""
    if metric == SELECTED and metric not in record.metrics.values:
        share = record.training.get("precision_own")
        # The training set is known completely, so its share of correct examples has no interval.
        return None if share is None else Estimate(float(share), math.nan, math.nan, 1)
    return record.metrics.values.get(metric)


def _training(rounds: Rounds) -> dict[str, float | None]:
    """What learning used: a sum over rounds, averaged over seeds; None where it was not recorded."""
    learnt = {seed: records[:-1] for seed, records in rounds.items()}
    used = {key: recorded(learnt, key) for key in ("examples", "human_examples", "tokens", "loss_tokens")}
    return {key: fmean(map(sum, known)) if any(known) else None for key, known in used.items()}


def _evaluation(arms: Mapping[str, Rounds]) -> dict[str, Any]:
    """How many held-out tasks and clusters one training seed is measured on (first arm, first seed)."""
    metrics = next(iter(next(iter(arms.values())).values()))[0].metrics
    return {
        "tasks": len(metrics.task_ids),
        "clusters": len(set(metrics.clusters)),
        "strata": {name: metrics.strata.count(name) for name in sorted(set(metrics.strata)) if name},
    }


def _plain(value: Any) -> Any:
    """Strict-JSON data: estimates as mappings, floats to six significant digits, NaN and infinities None."""
    if isinstance(value, Estimate):
        return _plain(value._asdict()) if math.isfinite(value.value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return str(value)
