"""The same run with one knob, or a few, at several values; a run folder for each cell.

runs/katas-sweep/
  cells/practice.temperature=0.8/     an ordinary run folder: `plateau report`, `regrade` and `resume` work
  sweep.json, sweep.png               one table and one figure over all cells
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plateau_bench.harness.config import ConfigError, RunConfig, parse_config
from plateau_bench.harness.rounds import loop
from plateau_bench.results.claims.arms import Rounds, arms_of, compare_arms, curve
from plateau_bench.results.claims.labels import phase
from plateau_bench.results.claims.pdt1 import WINDOW
from plateau_bench.results.report.small_multiples import Panel, banded, columns, save_figure
from plateau_bench.results.store import RunStore, read_json, write_json
from plateau_bench.validate import Loader


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One combination of values."""

    name: str
    changes: Mapping[str, Any]
    config: RunConfig


def cells(data: Mapping[str, Any], vary: Sequence[str], source: str) -> list[Cell]:
    """Every combination of the values named, in order. Raises ConfigError for a knob there is none of."""
    knobs = [_knob(text) for text in vary]
    found = []
    for values in itertools.product(*(values for _, values in knobs)):
        changes = dict(zip((key for key, _ in knobs), values, strict=True))
        changed = copy.deepcopy(dict(data))
        for key, value in changes.items():
            _set(changed, key, value)
        name = ",".join(f"{key}={_short(value)}" for key, value in changes.items())
        found.append(Cell(name=name, changes=changes, config=parse_config(changed, f"{source} with {name}")))
    if short := [cell.config.rounds for cell in found if cell.config.rounds < WINDOW]:
        raise ConfigError(
            f"{source}: rounds: a sweep's labels and ends need at least {WINDOW}, not {short[0]}"
        )
    if len({cell.name for cell in found}) < len(found):
        raise ConfigError(f"--vary {' '.join(vary)}: each value may appear once, and each key, too")
    return found


def _knob(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not key or not equals or not values:
        raise ConfigError(f"--vary {text}: write key=a,b,c, such as practice.temperature=0.6,1.0")
    return key.strip(), [yaml.load(value, Loader) for value in values.split(",")]


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; what its sections lack is made."""
    *sections, last = key.split(".")
    here = data
    for section in sections:
        if not isinstance(here.setdefault(section, {}), dict):
            raise ConfigError(f"--vary {key}: {section} is no section of the config")
        here = here[section]
    here[last] = value


def _short(value: Any) -> str:
    """As it may stand in the name of a folder."""
    return str("null" if value is None else value).lower().replace("/", "_")


def play(cell: Cell, root: Path, display: Any) -> None:
    """Carry one cell to its end, from wherever it stopped; a finished one is left alone."""
    store, config = RunStore(root), cell.config
    arms = [(seed, arm) for seed in config.seeds for arm in config.arms]
    done = all(len(store.finished_rounds(seed, arm)) > config.rounds for seed, arm in arms)
    if not done or parse_config(read_json(store.manifest)["config"], str(store.manifest)) != config:
        loop.play(config, root, display)


METRICS = {"pass@1": "{:.1%}", "pass@8": "{:.1%}", "hill1": "{:.2f}"}


def summarise(table: Sequence[Cell], root: Path) -> str:
    """Write `sweep.json` and `sweep.png` over all cells; returns the table as text.

    Labels are PDT-1's. The last column is pass@1 of the last round minus that of the first cell, paired by
    training seed and task, Holm-corrected over the cells of an arm.
    """
    names = list(table[0].config.arms)
    results = [RunStore(root / "cells" / cell.name).results() for cell in table]
    runs = {
        cell.name: arms_of(one, names, more_than=WINDOW) for cell, one in zip(table, results, strict=True)
    }
    data = [row for arm in names for row in _rows(arm, {cell: arms[arm] for cell, arms in runs.items()})]
    write_json(root / "sweep.json", {"cells": data})
    panels = [
        Panel(
            title=f"{arm}: {metric}",
            x_label="round",
            lines=tuple(banded(cell, curve(arms[arm], metric)) for cell, arms in runs.items()),
        )
        for arm in names
        for metric in METRICS
    ]
    save_figure(root / "sweep.png", panels)
    header = (
        "cell",
        "arm",
        *(f"{m}: base best end" for m in METRICS),
        "PDT-1 on pass@1",
        "against the first cell",
    )
    rows = [
        (
            row["cell"],
            row["arm"],
            *(" ".join("-" if x is None else show.format(x) for x in row[m]) for m, show in METRICS.items()),
            row["label"],
            _told(row["against the first"]),
        )
        for row in data
    ]
    about = "the strategy" if data[0]["level"] == "strategy" else "these checkpoints"
    seeds = f"{data[0]['seeds']} training seed(s): the labels speak of {about}"
    return "\n".join([*columns([header, *rows]), "", seeds, f"files: {root / 'sweep.json'}, .png"])


def _rows(arm: str, cells: Mapping[str, Rounds]) -> list[dict[str, Any]]:
    """One row per cell: base, best and end of each metric, PDT-1's label, difference to the first cell."""
    against = {row["arm"]: row for row in compare_arms(cells) if row["at"] == "final"}
    rows = []
    for cell, rounds in cells.items():
        claim, versus = phase(rounds, "pass@1"), against.get(cell)
        means = {metric: curve(rounds, metric).mean(axis=0) for metric in METRICS}
        difference = versus["difference"] if versus else None
        rows.append(
            {
                "cell": cell,
                "arm": arm,
                "seeds": len(rounds),
                "label": str(claim.label),
                "level": claim.level,
                **{m: _ends(v[0], v.max(), v[-WINDOW:].mean()) for m, v in means.items()},
                "against the first": difference._asdict() | {"p_holm": versus["p_holm"]}
                if versus and difference
                else None,
            }
        )
    return rows


def _ends(*values: float) -> list[float | None]:
    """None where a round has no value, as JSON has no NaN."""
    return [None if value != value else float(value) for value in values]


def _told(row: Mapping[str, Any] | None) -> str:
    return f"{100 * row['value']:+.1f} points, p = {row['p_holm']:.2g}" if row else "-"
