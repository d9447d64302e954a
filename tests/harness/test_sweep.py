"""Sweeps: which cells there are, what they hold, and the table over runs that are already there."""

import json
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.harness.config import ConfigError, parse_config, to_plain
from plateau_bench.harness.rounds.suites import suite_of, task_sets, train_tasks
from plateau_bench.harness.rounds.sweep import Cell, cells, play, summarise
from plateau_bench.results.store import record_to_json, write_json
from plateau_bench.tasks.suites import katas
from tests.results.truths import Truth, made, rise

BASE: dict[str, Any] = {"name": "small", "arms": {"replace": {"strategy": "replace"}}, "rounds": 8}


def test_every_value_is_a_cell_and_several_knobs_make_a_grid() -> None:
    one = cells(BASE, ["practice.temperature=0.6,1.0"], "x.yaml")
    assert [cell.name for cell in one] == ["practice.temperature=0.6", "practice.temperature=1.0"]
    assert [cell.config.practice.temperature for cell in one] == [0.6, 1.0]
    grid = cells(BASE, ["train.learning_rate=1e-3,5e-4", "train.epochs=1,3"], "x.yaml")
    assert [(c.config.train.learning_rate, c.config.train.epochs) for c in grid] == [
        (1e-3, 1), (1e-3, 3), (5e-4, 1), (5e-4, 3)
    ]  # fmt: skip
    assert BASE == {"name": "small", "arms": {"replace": {"strategy": "replace"}}, "rounds": 8}


def test_a_knob_inside_an_arm() -> None:
    found = cells(BASE, ["arms.replace.temperature=0.6,null"], "x.yaml")
    assert [cell.config.arms["replace"].params.temperature for cell in found] == [0.6, None]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (["practice.temprature=1"], "did you mean temperature"),
        (["practice.temperature"], "write key=a,b,c"),
        (["=1,2"], "write key=a,b,c"),
        (["rounds.more=1"], "rounds is no section"),
        (["rounds=2,2"], "each value may appear once"),
        (["rounds=0,2"], "rounds=0: rounds: at least 1"),
        (["rounds=1,2"], "rounds: a sweep.s labels and ends need at least 2, not 1"),
        (["tasks.visible=0,2"], "tasks.visible: at least 1"),
    ],
)
def test_mistakes_are_named(vary: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(BASE, vary, "x.yaml")


def test_a_cell_folder_with_another_config_is_left_alone(tmp_path: Path) -> None:
    cell, other = cells(BASE, ["rounds=2,3"], "x.yaml")
    write_json(tmp_path / "run.json", {"name": "small", "config": to_plain(other.config)})
    with pytest.raises(ValueError, match="another config"):
        play(cell, tmp_path, None)


def finished(cell: Cell, root: Path, truth: Truth) -> None:
    """A run folder as if the cell had been played."""
    write_json(root / "run.json", {"name": "small", "config": to_plain(cell.config), "environment": {}})
    for arm, seeds in made({"replace": truth}, seeds=len(cell.config.seeds)).rounds.items():
        for seed, records in zip(cell.config.seeds, seeds.values(), strict=True):
            for record in records:
                folder = root / f"seed-{seed}" / arm / f"round-{record.metrics.round:02d}"
                write_json(folder / "round.json", record_to_json(record))


def test_the_table_tells_labels_and_differences_and_nothing_is_played_again(tmp_path: Path) -> None:
    table = cells(BASE | {"seeds": [1, 2, 3]}, ["practice.temperature=0.6,1.0"], "x.yaml")
    for cell, truth in zip(table, (Truth(lambda t: -0.5 * t), Truth(rise)), strict=True):
        finished(cell, tmp_path / "cells" / cell.name, truth)
        play(cell, tmp_path / "cells" / cell.name, None)  # would fail for want of a display
    shown = summarise(table, tmp_path)
    falls, rises = shown.splitlines()[1:3]
    assert "decline" in falls
    assert falls.endswith(" -")
    assert "rise" in rises
    assert "points, p = " in rises
    assert "3 training seed(s): the labels speak of the strategy" in shown
    rows = json.loads((tmp_path / "sweep.json").read_text())["cells"]
    assert rows[1]["against the first"]["value"] > 0.2
    assert (tmp_path / "sweep.png").stat().st_size < 100_000


@pytest.mark.parametrize("count", [1, 2, 10])
def test_visible_tests_are_the_only_difference(count: int) -> None:
    plain = katas.train_tasks(4, 30)
    other = suite_of(_config({"visible": count}), {}).train_tasks(4, 30)
    for task, changed in zip(plain, other, strict=True):
        assert (task.instruction, task.solution, task.cluster) == (
            changed.instruction, changed.solution, changed.cluster
        )  # fmt: skip
        assert task.tests.hidden == changed.tests.hidden  # type: ignore[union-attr]
        visible, before = changed.tests.visible, task.tests.visible  # type: ignore[union-attr]
        assert visible[: min(count, 2)] == before[: min(count, 2)]
        inputs = [case.args for case in (*visible, *changed.tests.hidden)]  # type: ignore[union-attr]
        assert all(inputs.count(one) == 1 for one in inputs)
    assert sum(len(task.tests.visible) for task in other) > 0.9 * count * 30  # type: ignore[union-attr]


def test_a_suite_of_folders_has_the_tests_it_has(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError):
        suite_of(_config({"visible": 1, "suite": str(tmp_path / "empty")}), {})


def test_fresh_tasks_are_new_every_round_and_the_first_are_the_usual_ones() -> None:
    fixed, fresh = _config({}), _config({"fresh": True})
    usual, _ = task_sets(fixed, katas, 1)
    rounds = [train_tasks(fresh, katas, 1, index) for index in range(3)]
    assert rounds[0] == usual == train_tasks(fixed, katas, 1, 2)
    assert rounds == [train_tasks(fresh, katas, 1, index) for index in range(3)]
    names = [task.id for tasks in rounds for task in tasks]
    assert len(set(names)) == len(names)


def _config(tasks: dict[str, Any]) -> Any:
    return parse_config(BASE | {"tasks": {"train": 20, "held_out": 20} | tasks}, "test")
