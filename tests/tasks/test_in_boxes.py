"""Grading in real boxes: katas, hostile programs, and a task folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, Diff, SandboxError, SandboxUnavailable
from plateau_bench.tasks.base import Outcome
from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.grading.folders import grade_folder
from plateau_bench.tasks.grading.functions import FunctionGrader, Memo
from plateau_bench.tasks.suites import katas
from tests.tasks.kata_folder import write_folder
from tests.tasks.test_folder import CHECK, HONEST, task

pytestmark = pytest.mark.bwrap


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        found = open_backend("bubblewrap")
        found.open().close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    except SandboxError as error:
        pytest.skip(f"bubblewrap is installed but refused here: {error}")
    return found


@pytest.fixture
def grader(backend: Backend, tmp_path: Path) -> Iterator[FunctionGrader]:
    grader = FunctionGrader(backend, Memo(tmp_path / "memo.sqlite"))
    yield grader
    grader.close()


def test_every_kata_is_solved_by_its_solution_and_by_nothing(grader: FunctionGrader) -> None:
    tasks = katas.train_tasks(0, 60) + katas.held_out_tasks(0, 60)
    verdicts = grader.grade([(kata, kata.solution) for kata in tasks])
    assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
    assert all(verdict.verified for verdict in verdicts)
    empty = grader.grade([(kata, "") for kata in tasks])
    assert {verdict.outcome for verdict in empty} == {Outcome.FAILED}
    assert grader.grade([(kata, kata.solution) for kata in tasks]) == verdicts


@pytest.mark.parametrize(
    "program",
    [
        "def f(a):\n class Yes(int):\n  def __eq__(self, other):\n   return True\n return Yes()\n",
        "def f(a):\n import os\n os._exit(0)\n",
        "def f(a):\n while True:\n  pass\n",
        "def f(a):\n return [0] * 10 ** 10\n",
        "def f(a):\n return f(a)\n",
        "import sys\nsys.exit(0)\n",
        "def f(a):\n import os\n os.kill(os.getppid(), 9)\n",
        "def f(a):\n a = []\n a.append(a)\n return a\n",
        "def f(a):\n return '\\ud800'\n",
        "\x00",
        "def f(a):\n return \ud800\n",
    ],
)
def test_hostile_programs_fail_and_spare_their_neighbours(grader: FunctionGrader, program: str) -> None:
    kata = katas.train_tasks(0, 1)[0]
    hostile, honest = grader.grade([(kata, program), (kata, kata.solution)])
    assert (hostile.outcome, hostile.verified) == (Outcome.FAILED, False)
    assert hostile.reason
    assert honest.outcome is Outcome.PASSED


def test_task_folders(backend: Backend, tmp_path: Path) -> None:
    kata = katas.held_out_tasks(0, 1)[0]
    write_folder(kata, tmp_path / "kata")
    folder = read_folder(tmp_path / "kata")
    solved = grade_folder(folder, Diff(written={"solution.py": kata.solution.encode()}), backend)
    assert solved.outcome is Outcome.PASSED, solved
    assert grade_folder(folder, Diff(written={}), backend).outcome is Outcome.FAILED
    plain = task(tmp_path / "plain", CHECK)
    assert grade_folder(plain, HONEST, backend).outcome is Outcome.PASSED
