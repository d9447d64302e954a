"""`plateau export` on folders of runs and of evaluations."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plateau_bench.harness.cli.app import app
from plateau_bench.harness.config import parse_config, to_plain
from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.harness.rounds.suites import task_sets
from plateau_bench.results.attempt_log import attempt_to_json
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore, write_bytes, write_json
from plateau_bench.tasks.base import Outcome, Split, Task
from plateau_bench.tasks.suites import katas
from tests.results.atif_check import check
from tests.results.attempts import attempt

CONFIG = {"name": "k", "arms": {"replace": {"strategy": "replace"}}, "tasks": {"train": 2, "held_out": 2}}


def of(task: Task, sample: int = 0, outcome: Outcome = Outcome.PASSED, **more: Any) -> Attempt:
    made = attempt(task.id, sample, outcome)
    return dataclasses.replace(made, task_digest=task.digest, split=task.split, **more)


def record(path: Path, *attempts: Attempt) -> None:
    write_bytes(path, b"".join(json.dumps(attempt_to_json(a)).encode() + b"\n" for a in attempts))


def a_run(root: Path) -> Path:
    config = parse_config(CONFIG, "")
    train, held_out = task_sets(config, katas, 1)  # type: ignore[arg-type]
    write_json(root / "run.json", {"name": "k", "config": to_plain(config)})
    shared, arm = root / "seed-1/shared/round-00", root / "seed-1/replace/round-01"
    failed = of(train[1], outcome=Outcome.FAILED, seed=1, arm="shared")
    record(shared / "train.jsonl", of(train[0], seed=1, arm="shared"), failed)
    record(shared / "held_out.jsonl", of(held_out[0], seed=1, arm="shared"))
    record(arm / "train.jsonl", of(train[0], seed=1, round=1))
    return root


def export(folder: Path, out: Path, *options: str, format: str = "atif") -> Result:
    return CliRunner().invoke(app, ["export", str(folder), "--format", format, "--out", str(out), *options])


def sessions(out: Path) -> list[str]:
    made = [json.loads(path.read_bytes()) for path in sorted(out.iterdir())]
    for trajectory in made:
        check(trajectory)
    return [trajectory["session_id"].partition("katas")[0] for trajectory in made]


def test_a_run_is_exported_with_what_was_asked(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    assert export(run, tmp_path / "all").exit_code == 0
    shared, later = "seed-1/shared/round-00", "seed-1/replace/round-01/train/"
    assert sessions(tmp_path / "all") == [
        later,
        f"{shared}/held_out/",
        f"{shared}/train/",
        f"{shared}/train/",
    ]
    instructions = {
        task.instruction for tasks in task_sets(parse_config(CONFIG, ""), katas, 1) for task in tasks
    }  # type: ignore[arg-type]
    for path in (tmp_path / "all").iterdir():
        assert json.loads(path.read_bytes())["steps"][0]["message"] in instructions
    export(run, tmp_path / "some", "--round", "0", "--split", "train", "--only-successes")
    assert sessions(tmp_path / "some") == [f"{shared}/train/"]
    export(run, tmp_path / "arm", "--arm", "replace", "--round", "1")
    assert sessions(tmp_path / "arm") == [later]


def test_what_is_held_out_is_not_trained_on_by_oversight(tmp_path: Path) -> None:
    assert export(a_run(tmp_path / "run"), tmp_path / "out", format="sft").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out/sft.jsonl").read_bytes().splitlines()]
    assert {row["plateau"]["split"] for row in rows} == {"train"}


def test_an_evaluation_is_exported(tmp_path: Path) -> None:
    what = Evaluation(suite="katas", split="held_out", tasks=2, samples=1, seed=5, agents=())
    folder = tmp_path / "eval"
    folder.mkdir()
    what.save(folder)
    manifest = json.loads((folder / "eval.json").read_text()) | {"agents": [{"name": "mine"}]}
    write_json(folder / "eval.json", manifest)
    record(EvalStore(folder).attempts("mine"), *(of(task, seed=5, arm="mine") for task in what.chosen()))
    assert export(folder, tmp_path / "out").exit_code == 0
    assert len(sessions(tmp_path / "out")) == 2
    assert export(folder, tmp_path / "log", format="inspect").exit_code == 0
    assert len(json.loads(next((tmp_path / "log").iterdir()).read_bytes())["samples"]) == 2


@pytest.mark.parametrize(
    ("options", "format", "message"),
    [
        ((), "tar", "no 'tar' (choices: atif, "),
        (("--arm", "nobody", "--round", "7"), "atif", "no attempt is left"),
    ],
)
def test_a_wrong_request_is_named(
    options: tuple[str, ...], format: str, message: str, tmp_path: Path
) -> None:
    found = export(a_run(tmp_path / "run"), tmp_path / "out", *options, format=format)
    assert isinstance(found.exception, ValueError)
    assert message in str(found.exception)


def test_a_folder_in_use_and_a_suite_that_changed_are_named(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    with pytest.raises(ValueError, match="there already"):
        raise export(run, run).exception or AssertionError
    other = dataclasses.replace(of(katas.train_tasks(9, 1)[0]), seed=1, arm="shared", split=Split.TRAIN)
    record(run / "seed-1/shared/round-00/train.jsonl", other)
    with pytest.raises(ValueError, match="suite has changed"):
        raise export(run, tmp_path / "out").exception or AssertionError
