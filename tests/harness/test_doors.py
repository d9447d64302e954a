"""Doors for parts of others: strategies, improvers whose actors have no weights, executors."""

import io
import json
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from plateau_bench.harness.config import load_config, parse_config, to_plain
from plateau_bench.harness.rounds import loop
from plateau_bench.harness.rounds.improve import improver_of
from plateau_bench.harness.rounds.progress import Display
from plateau_bench.harness.strategies import STRATEGIES, every, find
from tests.harness import doors

EXECUTOR = "tests.harness.doors.InProcess"
NOTES: dict[str, Any] = {
    "name": "notes",
    "rounds": 2,
    "sandbox": "bubblewrap",
    "device": "cpu",
    "improver": {"name": "tests.harness.doors.Notes", "lines": 2},
    "model": {"path": "a model that nobody loads"},
    "arms": {
        "replace": {"strategy": "replace"},
        "all": {"strategy": "accumulate"},
        "gate": {"strategy": "gate"},
        "no_train": {"strategy": "no_train"},
    },
    "tasks": {"train": 30, "held_out": 20, "selection": 5},
    "practice": {"samples": 1},
    "evaluate": {"samples": 1},
}


def display() -> Display:
    return Display(Console(file=io.StringIO()))


def begin(folder: Path, **changes: Any) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(NOTES | changes))
    loop.start(load_config(folder / "config.yaml"), folder / "run", display(), EXECUTOR)
    return folder / "run"


@pytest.mark.bwrap
def test_an_improver_without_weights_plays_rounds_and_nothing_is_measured_on_tokens(tmp_path: Path) -> None:
    root = begin(tmp_path)
    report = json.loads((root / "report.json").read_text())
    for arm in ("replace", "all"):
        rounds = report["arms"][arm]["rounds"]
        rates = [one["metrics"]["pass@1"]["value"] for one in rounds]
        assert rates[0] < rates[1] < rates[2]
        assert all("kl_base" not in one["metrics"] and "human_ppl" not in one["metrics"] for one in rounds)
        assert all(one["metrics"]["distinct2"] is None for one in rounds)
        notes = (root / f"seed-1/{arm}/round-01/checkpoint" / doors.FILE).read_text()
        assert len(notes.splitlines()) == 4
    gate = json.loads((root / "seed-1/gate/round-00/round.json").read_text())
    assert gate["training"]["kept"] == (gate["checkpoint_out"] != gate["checkpoint_in"])
    flat = report["arms"]["no_train"]["rounds"]
    assert len({one["metrics"]["pass@1"]["value"] for one in flat}) == 1
    assert not list(root.rglob("training_set.jsonl"))
    record = json.loads((root / "seed-1/replace/round-00/round.json").read_text())
    assert record["checkpoint_in"] == NOTES["model"]["path"]
    assert record["checkpoint_out"] == "seed-1/replace/round-00/checkpoint"
    assert record["training"]["examples"] > 0
    assert record["training"]["tokens"] == 0
    loop.resume(root, display(), EXECUTOR)
    assert json.loads((root / "report.json").read_text()) == report


@pytest.mark.bwrap
def test_human_programs_as_tokens_are_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arms\.mixed: its strategy uses human programs as tokens"):
        begin(tmp_path, arms={"mixed": {"strategy": "fresh_human"}})


def test_the_default_improver_leaves_no_trace_in_a_stored_config() -> None:
    plain = to_plain(parse_config(NOTES, "x"))
    assert plain["improver"] == NOTES["improver"]
    assert parse_config(plain, "again") == parse_config(NOTES, "x")
    without = {key: value for key, value in NOTES.items() if key != "improver"}
    assert "improver" not in to_plain(parse_config(without, "x"))
    assert to_plain(parse_config(without, "x")) == to_plain(
        parse_config(without | {"improver": {"name": "finetune"}}, "x")
    )


@pytest.mark.parametrize(
    ("improver", "message"),
    [
        ({"name": "finetun"}, "improvers: no 'finetun'; did you mean finetune"),
        ({"lines": 1}, "improver: unknown key lines"),
        ({"name": "tests.harness.doors.Notes", "lines": 0}, "improver: lines: at least 1"),
        ({"name": "tests.harness.doors.Notes", "line": 0}, "improver: unknown key line; did you mean lines"),
        ({"name": "tests.harness.doors.Reader"}, "is no improver"),
        ({"name": 3}, "improver: name: expected a text"),
    ],
)
def test_a_mistake_in_the_improver_is_named_before_anything_starts(
    tmp_path: Path, improver: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        improver_of(parse_config(NOTES | {"improver": improver}, "x"))


class Lossy(doors.InProcess):
    """Loses what every job ran on."""

    def submit(self, root: Path, seed: int, arm: str) -> "Future[None]":
        lost: Future[None] = Future()
        lost.set_exception(BrokenExecutor("gone"))
        return lost


@pytest.mark.bwrap
def test_a_lost_worker_is_named_and_an_unknown_executor_stops_a_run_before_it_begins(tmp_path: Path) -> None:
    config = parse_config(NOTES, "x")
    with pytest.raises(ValueError, match="executors: no 'locl'; did you mean local"):
        loop.start(config, tmp_path / "run", display(), "locl")
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(RuntimeError, match="the worker of seed 1, arm shared died"):
        loop.start(config, tmp_path / "run", display(), f"{__name__}.Lossy")


SHORT = """
from dataclasses import dataclass
from plateau_bench.harness.strategies import Strategy, Usual

@dataclass(frozen=True, kw_only=True, slots=True)
class Params(Usual):
    most: int = 3
    '''Successes that are kept.'''

def some(material, pool, params):
    return pool[: params.most]

FEW = Strategy(summary="few", source="a test", params=Params, select=(some,))
"""


def install(folder: Path, **entries: str) -> None:
    """A package `outside_few` with entry points, as an installer would leave it in `folder`."""
    (folder / "outside_few.py").write_text(SHORT)
    about = folder / "outside_few-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-few\nVersion: 1\n")
    lines = "".join(f"{name} = {place}\n" for name, place in entries.items())
    (about / "entry_points.txt").write_text(f"[plateau_bench.strategies]\n{lines}")


def test_a_strategy_comes_by_entry_point_and_owns_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, few="outside_few:FEW", replace="outside_few:FEW")
    monkeypatch.syspath_prepend(tmp_path)
    assert every()["few"].summary == "few"
    assert find("replace") is STRATEGIES["replace"]  # a package cannot change what a config means
    for name in ("few", "outside_few.FEW", f"{tmp_path}/outside_few.py:FEW"):
        arms = {"a": {"strategy": name, "most": 2}}
        config = parse_config(NOTES | {"arms": arms}, "x.yaml")
        plain = to_plain(config)["arms"]["a"]
        assert plain == {"strategy": name, "most": 2, "temperature": None, "tampered": False}
        assert parse_config(to_plain(config), "again") == config
        with pytest.raises(ValueError, match=r"x\.yaml: arms\.a\.cap: the strategy .* it takes most, temper"):
            parse_config(NOTES | {"arms": {"a": {"strategy": name, "cap": 2}}}, "x.yaml")
        with pytest.raises(ValueError, match=r"x\.yaml: arms\.a\.most: expected a whole number, got str"):
            parse_config(NOTES | {"arms": {"a": {"strategy": name, "most": "2"}}}, "x.yaml")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "FEW", "no such file"),
        ("x = 1", "FEW", "defines no FEW"),
        ("FEW = 3", "FEW", "is no Strategy but a int"),
        ("import nowhere_to_be_found", "FEW", "cannot be loaded: No module named"),
    ],
)
def test_a_file_that_holds_no_strategy_is_named(
    tmp_path: Path, text: str | None, name: str, message: str
) -> None:
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        parse_config(NOTES | {"arms": {"a": {"strategy": f"{path}:{name}"}}}, "x.yaml")
    assert str(caught.value).startswith("x.yaml: arms.a.strategy: ")
    assert "broken.py" in str(caught.value)
