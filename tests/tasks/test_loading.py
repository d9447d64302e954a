"""Suites that are written in Python outside the repository: found by name, checked, and usable everywhere."""

import importlib
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.harness.rounds.suites import look_at, suite_of
from plateau_bench.tasks.base import Outcome, Split
from plateau_bench.tasks.cli import app
from plateau_bench.tasks.grading.functions import grade_functions
from plateau_bench.tasks.loading import load_suite
from plateau_bench.tasks.quality.quarantine import Entry, WithoutQuarantined, quarantine_path
from plateau_bench.tasks.suite import FixedSuite, Suite
from plateau_bench.tasks.suites import katas, repo_katas
from tests.harness.test_suites import config
from tests.tasks.test_grade import TrustedBackend
from tests.tasks.trusted_box import TrustedBox

SOURCE = """
from __future__ import annotations

import random
from dataclasses import dataclass

from plateau_bench.tasks.base import Case, FunctionTests, Split, Task
from plateau_bench.tasks.suite import FixedSuite, MadeSuite


@dataclass
class Sum:
    a: int
    b: int

    def as_task(self, split: Split) -> Task:
        text = f"Write f(x), which is x times {self.a} plus {self.b}."
        cases = tuple(Case(args=(x,), expected=x * self.a + self.b) for x in (0, 1, 5))
        return Task(
            id=f"sums/{split}-{self.a}-{self.b}",
            instruction=text,
            split=split,
            digest=text,
            tests=FunctionTests(entry_point="f", visible=cases[:1], hidden=cases),
            solution=f"def f(x):\\n    return x * {self.a} + {self.b}\\n",
        )


class Sums(MadeSuite):
    name = "sums"

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        rng = random.Random(f"train/{seed}")
        return tuple(Sum(rng.randrange(2, 9**9), n).as_task(Split.TRAIN) for n in range(count))

    def held_out_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return tuple(Sum(1, n).as_task(Split.HELD_OUT) for n in range(count))


class Half:
    name = "half"


def fixed() -> FixedSuite:
    return FixedSuite("fixed", [Sum(1, n).as_task(Split.HELD_OUT) for n in range(3)], "here")


made = Sums()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text(SOURCE)
    return tmp_path / "sums.py"


def test_modules_and_classes_that_ship_are_suites() -> None:
    suites: list[Suite] = [katas, repo_katas, katas.with_visible(3), FixedSuite("own", [], "own")]
    suites.append(WithoutQuarantined(suites[2], {}))
    assert [suite.name for suite in suites] == ["katas", "repo-katas", "katas", "own", "katas"]
    assert suites[4].with_visible(5).train_tasks(0, 2) == katas.train_tasks(0, 2, visible=5)
    for suite in (suites[1], suites[3]):
        with pytest.raises(ValueError, match=r"tasks\.visible: the tests of the suite .* are as they are"):
            suite.with_visible(3)


@pytest.mark.parametrize("name", ["Sums", "made", "fixed"])
def test_a_suite_in_a_file_is_listed_shown_and_evaluated(file: Path, name: str) -> None:
    where = f"{file}:{name}"
    listed = CliRunner().invoke(app, ["list", where, "--tasks", "3"])
    assert listed.exit_code == 0, listed.output
    assert ("3 train, 3 held_out" if name != "fixed" else "3 held_out") in listed.output
    shown = CliRunner().invoke(app, ["show", where, "held_out-1-2", "--solution", "--tasks", "3"])
    assert "return x * 1 + 2" in shown.output
    chosen = Evaluation(suite=where, split="held_out", tasks=2, samples=1, seed=0, agents=()).chosen()
    assert [task.split for task in chosen] == [Split.HELD_OUT] * 2
    all_of_them = Evaluation(suite=where, split="held_out", tasks=None, samples=1, seed=0, agents=()).chosen()
    assert len(all_of_them) == (3 if name == "fixed" else 100)


def test_quarantine_holds_for_a_suite_in_a_file(file: Path) -> None:
    suite = load_suite(f"{file}:Sums")
    first, *others = suite.train_tasks(0, 3)
    out = {first.id: Entry(digest=first.digest, kind="flaky", reason="")}
    assert list(WithoutQuarantined(suite, out).train_tasks(0, 2)) == others
    assert quarantine_path(f"{file}:Sums") == file.with_name("sums.py:Sums.quarantine.json")
    with pytest.raises(ValueError, match="sums holds no human data"):
        suite.corpus(0, 1)


def test_dotted_paths_and_entry_points(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    try:
        assert load_suite("sums.Sums").name == "sums"
        info = file.parent / "sums-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sums\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[plateau_bench.suites]\nown-sums = sums:Sums\nkatas = sums:Sums\n"
        )
        importlib.invalidate_caches()
        assert load_suite("own-sums").name == "sums"
        assert load_suite("katas") is katas  # what ships wins
        with pytest.raises(
            ValueError, match=r"did you mean own-sums.*\(choices: katas, own-sums, repo-katas\)"
        ):
            load_suite("own-sum")
    finally:
        sys.modules.pop("sums", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "{file}:Half",
            r"tasks\.suite: '.*sums\.py:Half' lacks has_human_data, shares_parts, tasks, train_t",
        ),
        ("{file}:Absent", r"suites: .*sums\.py defines no Absent"),
        ("{file}.py:Sums", r"suites: .*no such file"),
        (
            "no_such_module.Suite",
            r"suites: 'no_such_module\.Suite' cannot be loaded: no module no_such_module",
        ),
        ("absent.jsonl", r"'absent\.jsonl' is neither a suite nor a folder"),
        ("kata", r"'kata' is neither .*; did you mean katas.*choices: katas, repo-katas"),
    ],
)
def test_what_is_no_suite_is_refused(file: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_suite(name.format(file=file))


def test_a_run_takes_a_suite_in_a_file(file: Path) -> None:
    name = f"{file}:Sums"
    settings = config(name, tasks={"suite": name, "train": 3, "held_out": 3})
    assert look_at(settings, TrustedBackend(), print) == {}
    assert [task.id for task in suite_of(settings, {}).held_out_tasks(0, 2)] == [
        "sums/held_out-1-0",
        "sums/held_out-1-1",
    ]


def test_the_example_in_the_docs_is_a_suite(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    (tmp_path / "plus.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    tasks = load_suite(f"{tmp_path}/plus.py:Plus").train_tasks(0, 3)
    verdicts = grade_functions([(task, task.solution) for task in tasks], TrustedBox())
    assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
