"""Tasks of several steps and with separate verifiers, from the agent's box to the verdict."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.harness.attempts.boxed import solve_in_boxes
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.config import parse_config
from plateau_bench.harness.evals.controls import Nop, Oracle
from plateau_bench.harness.rounds.suites import train_tasks
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, Sandbox, SandboxSpec
from plateau_bench.sandbox.diffs import diff_from_text, steps_from_text
from plateau_bench.tasks.base import Outcome, Split, Task
from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.quality.proof import Kind, prove
from plateau_bench.tasks.suite import FixedSuite
from tests.harness.test_config import GOOD
from tests.tasks.harbor_set import BASE, apart, steps
from tests.tasks.harbor_set import task as harbor_task

pytestmark = pytest.mark.bwrap


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("bubblewrap")


def attempted(agent: Any, task: Task, backend: Backend) -> Trajectory:
    return solve_in_boxes(agent, backend, [(task, [1])], at_once=1)[0][0]


def outcome(task: Task, made: Trajectory, backend: Backend) -> tuple[Outcome, str]:
    grader = Grader(backend, None)
    try:
        (verdict,) = grader([(task, made)])
        return verdict.outcome, verdict.reason
    finally:
        grader.close()


class Paid:
    """Does what the oracle does, and says what it cost."""

    name = "paid"
    needs_box = True

    def __init__(self, task: Task) -> None:
        self._oracle = Oracle([task])

    def fit(self, spec: SandboxSpec, backend: Backend) -> SandboxSpec:
        return self._oracle.fit(spec, backend)

    def solve(self, instruction: str, seeds: Any, boxes: tuple[Sandbox, ...] = ()) -> list[Trajectory]:
        ended = Ending.STEP_LIMIT if "Write" in instruction else Ending.SUBMITTED
        return [
            dataclasses.replace(made, prompt_tokens=3, cost_usd=0.5, token_ids=(1, 2), ending=ended)
            for made in self._oracle.solve(instruction, seeds, boxes)
        ]


def test_every_step_is_an_instruction_in_the_same_box(tmp_path: Path, backend: Backend) -> None:
    steps(tmp_path, "mean")
    task = read_folder(tmp_path)
    made = attempted(Paid(task), task, backend)
    one, two = steps_from_text(made.answer)
    assert one.written == {"answer.txt": b"42\n"}
    assert two.written == {"answer.txt": b"84\n", "made-by-setup": b""}
    assert diff_from_text(made.answer) == two
    assert (made.prompt_tokens, made.cost_usd, made.token_ids) == (6, 1.0, ())
    assert made.ending is Ending.STEP_LIMIT
    assert outcome(task, made, backend) == (Outcome.PASSED, "")
    lazy = attempted(Nop([task]), task, backend)
    assert outcome(task, lazy, backend) == (Outcome.FAILED, "step one: reward 0")


def test_a_separate_verifier_gets_what_was_collected(tmp_path: Path, backend: Backend) -> None:
    apart(tmp_path)
    task = read_folder(tmp_path / "s14-copy")
    made = attempted(Oracle([task]), task, backend)
    left = diff_from_text(made.answer).written
    assert {path for path in left if path.startswith("/")} == {
        "/work/answer.txt",
        "/logs/artifacts/note.txt",
    }
    assert outcome(task, made, backend) == (Outcome.PASSED, "")


@pytest.mark.parametrize(
    ("solve", "kind", "ending"),
    [
        ("echo $(cat /solution/data)$LAST > answer.txt\n", Kind.SOUND, Ending.SUBMITTED),
        ("echo $(cat /solution/data)$LAST > answer.txt\nexit 3\n", Kind.SOUND, Ending.CRASHED),
        ("echo $(cat ../tmp/solution/data)$LAST > answer.txt\n", Kind.BROKEN, Ending.SUBMITTED),
        ("echo $(cat /solution/data)$OTHER > answer.txt\n", Kind.BROKEN, Ending.SUBMITTED),
        ("exit 3\n", Kind.BROKEN, Ending.CRASHED),
    ],
)
def test_the_oracle_and_the_proof_agree(
    solve: str, kind: Kind, ending: Ending, tmp_path: Path, backend: Backend
) -> None:
    toml = f'[environment]\n{BASE}[solution.env]\nLAST = "2"\n'
    own = read_folder(harbor_task(tmp_path / "own", toml, solve=solve, **{"solution/data": "4\n"}))
    (found,) = prove([own], backend, repeats=1)
    made = attempted(Oracle([own]), own, backend)
    assert (found.kind, made.ending) == (kind, ending)
    assert (outcome(own, made, backend)[0] is Outcome.PASSED) == (kind is Kind.SOUND)
    if solve.startswith("exit"):
        assert "own: solution/solve.sh gave exit code 3" in found.reason.replace("harbor/", "")
        assert made.error in found.reason


def test_the_oracle_says_of_a_task_that_it_has_no_solution(tmp_path: Path, backend: Backend) -> None:
    own = read_folder(harbor_task(tmp_path / "own", f"[environment]\n{BASE}"))
    bare = dataclasses.replace(own, tests=dataclasses.replace(own.tests, solution_dir=None))  # type: ignore[type-var]
    made = attempted(Oracle([bare]), bare, backend)
    assert (made.ending, made.error) == (Ending.CRASHED, f"{own.id} has no solution")
    assert outcome(bare, made, backend)[0] is Outcome.FAILED


def test_steps_are_not_trained_on(tmp_path: Path) -> None:
    steps(tmp_path, "mean")
    config = parse_config(GOOD | {"tasks": {"train": 1}}, "x.yaml")
    task = dataclasses.replace(read_folder(tmp_path), split=Split.TRAIN)
    suite = FixedSuite("own", [task], "own")
    with pytest.raises(ValueError, match=r"tasks\.train: .* has several steps"):
        train_tasks(config, suite, 1)
