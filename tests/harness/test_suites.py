"""What is checked before a run spends anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.harness.config import parse_config
from plateau_bench.harness.rounds.suites import look_at, suite_of
from plateau_bench.tasks.base import Split
from plateau_bench.tasks.suite import split_of
from tests.tasks.test_grade import TrustedBackend

ROW = {
    "entry_point": "merge",
    "prompt": 'def merge(a, b):\n    """ Merge number {n}. """\n',
    "canonical_solution": "    result = []\n    while a and b:\n        source = a if a[0] <= b[0] else b\n"
    "        result.append(source.pop(0))\n    return [n for n in result + a + b if n != {n}]\n",
    "test": "def check(candidate):\n    assert candidate([1], [0, 2]) == [0, 1, 2]\n",
}


def names(split: Split, count: int) -> list[str]:
    return [name for i in range(200) if split_of(name := f"Own/{i}") is split][:count]


def suite(folder: Path, solutions: dict[str, str]) -> str:
    """A file of rows: id -> solution."""
    rows = [
        ROW | {"task_id": name, "prompt": ROW["prompt"].format(n=i), "canonical_solution": solution}
        for i, (name, solution) in enumerate(solutions.items())
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "own.jsonl")


def config(name: str, **more: Any) -> Any:
    data = {
        "name": "x",
        "arms": {"replace": {"strategy": "replace"}},
        "tasks": {"suite": name, "train": 2, "held_out": 2},
        "model": {"path": "somewhere"},
    }
    return parse_config(data | more, "x.yaml")


def different() -> dict[str, str]:
    chosen = [*names(Split.TRAIN, 3), *names(Split.HELD_OUT, 3)]
    return {name: f"    return sorted(a + b)[{i}:]\n" for i, name in enumerate(chosen)}


def test_a_clean_suite_passes(tmp_path: Path) -> None:
    said: list[str] = []
    assert look_at(config(suite(tmp_path, different())), TrustedBackend(), said.append) == {}
    assert said == []
    katas = parse_config({"name": "k", "arms": {"r": {"strategy": "fresh_human"}}}, "k.yaml")
    assert look_at(katas, TrustedBackend(), said.append) == {}


def test_a_held_out_solution_in_the_train_tasks_is_refused_by_name(tmp_path: Path) -> None:
    train, held_out = names(Split.TRAIN, 2), names(Split.HELD_OUT, 2)
    copies = different() | {
        train[0]: ROW["canonical_solution"].format(n=77),
        held_out[1]: ROW["canonical_solution"].format(n=77).replace("result", "merged"),
    }
    name = suite(tmp_path, {key: copies[key] for key in (*train, *held_out)})
    with pytest.raises(ValueError, match=f"{train[0]} and held-out {held_out[1]}: their solutions are alike"):
        look_at(config(name), TrustedBackend(), print)


def test_arms_that_need_human_data_say_so(tmp_path: Path) -> None:
    name = suite(tmp_path, different())
    with pytest.raises(ValueError, match=r"arms\.people: its strategy needs human data.*'own' holds none"):
        look_at(config(name, arms={"people": {"strategy": "fresh_human"}}), TrustedBackend(), print)
    with pytest.raises(ValueError, match=r"model\.path: the suite 'own' holds no human data"):
        look_at(config(name, model={}), TrustedBackend(), print)


def test_the_quarantine_of_the_start_holds_to_the_end(tmp_path: Path) -> None:
    name = suite(tmp_path, different())
    settings = config(name)
    first = next(task for task in suite_of(settings, {}).train_tasks(0, 3))
    entry = {"digest": first.digest, "kind": "flaky", "reason": "why"}
    (tmp_path / "own.quarantine.json").write_text(json.dumps({"tasks": {first.id: entry}}))
    said: list[str] = []
    manifest = look_at(settings, TrustedBackend(), said.append)
    assert manifest == {"quarantine": {first.id: entry}}
    assert said == ["1 tasks are in quarantine and will not be used"]
    (tmp_path / "own.quarantine.json").unlink()
    assert first.id not in {task.id for task in suite_of(settings, manifest).train_tasks(0, 2)}
    tasks = {"suite": name, "train": 2, "held_out": 2, "quarantine": str(tmp_path / "gone.json")}
    with pytest.raises(ValueError, match=r"gone\.json: is missing"):
        look_at(config(name, tasks=tasks), TrustedBackend(), print)
