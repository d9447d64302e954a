"""HumanEval, EvalPlus and MBPP rows: how they are read, and that only right answers pass."""

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Program, ProgramResult, SandboxError
from plateau_bench.tasks.base import Case, Outcome, Split, Task
from plateau_bench.tasks.formats.asserts import read_check
from plateau_bench.tasks.formats.humaneval import PublishedSuite
from plateau_bench.tasks.grading.compare import alike
from plateau_bench.tasks.grading.functions import FunctionGrader, grade_functions
from plateau_bench.tasks.grading.published import SolutionRuns
from plateau_bench.tasks.grading.published_programs import PublishedTests, completed
from plateau_bench.tasks.loading import load_suite
from tests.tasks.trusted_box import TrustedBox

MEAN = {
    "task_id": "Own/0",
    "entry_point": "mean",
    "prompt": 'from typing import List\n\n\ndef mean(a: List[float]) -> float:\n    """ The mean. """\n',
    "canonical_solution": "    return sum(a) / len(a)\n",
    "test": "def check(candidate):\n    assert candidate([1.0, 2.0]) == 1.5\n"
    "    assert abs(candidate([1.0, 1.0, 2.0]) - 4.0/3.0) < 1e-6\n",
}
SHIFT = {
    "task_id": "Own/1",
    "entry_point": "back",
    "prompt": 'def ahead(s: str):\n    """ One letter on. """\n'
    '    return "".join(chr((ord(c) - 96) % 26 + 97) for c in s)\n\n\n'
    'def back(s: str):\n    """ Undo ahead. """\n',
    "canonical_solution": '    return "".join(chr((ord(c) - 98) % 26 + 97) for c in s)\n',
    "test": "def check(candidate):\n    from random import choice\n    for _ in range(9):\n"
    "        word = ''.join(choice('abxyz') for _ in range(5))\n"
    "        assert candidate(ahead(word)) == word\n",
}
GUESS = {
    "task_id": "Own/2",
    "entry_point": "half",
    "prompt": "def half(n):\n",
    "canonical_solution": "    return n // 2\n",
    "test": "def check(candidate):\n    n = 40\n    while n > 1:\n        m = candidate(n)\n"
    "        assert n - 1 <= 2 * m <= n\n        n = m\n",
}
PLUS = {
    "task_id": "HumanEval/7",
    "entry_point": "top",
    "prompt": 'def top(a):\n    """ The largest, or None. """\n',
    "canonical_solution": "    return max(a) if a else None\n",
    "base_input": [[[1, 2, 3]]],
    "plus_input": [[[]], [[-5]], [[2, 7, 2]]],
    "contract": "",
    "atol": 0,
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to count an item in a list.",
    "code": "def count(a, x):\n    return a.count(x)\n",
    "test_list": ["assert count([1, 2, 1], 1) == 2", "assert count([], 1) == 0", "assert count([3], 3) == 1"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
COMMON = {
    "task_id": 12,
    "prompt": "Write a function to find common items.",
    "code": "def common(a, b):\n    return tuple(set(a) & set(b))\n",
    "test_list": ["assert set(common((1, 2), (2, 3))) == set((2,))"],
    "test_imports": [],
}
ROWS = (MEAN, SHIFT, GUESS, PLUS, MBPP, COMMON)


def suite(folder: Path, *rows: Any) -> PublishedSuite:
    file = folder / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PublishedSuite(file)


def verdict(task: Task, program: str) -> tuple[Outcome, bool]:
    (found,) = grade_functions([(task, program)], TrustedBox(), solutions=SolutionRuns(slowness=1.0))
    assert "\n" not in found.reason
    return found.outcome, found.verified


class ForgetfulBox(TrustedBox):
    """Says nothing of the last call of an answer."""

    def run(self, programs: Sequence[Program]) -> list[ProgramResult]:
        results = super().run(programs)
        answering = [program.entry_point == "plateau_answers" for program in programs]
        return [
            replace(result, outputs=(result.outputs or ())[:-1]) if short else result
            for result, short in zip(results, answering, strict=True)
        ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["task_id"]))
def test_a_missing_answer_is_no_pass(tmp_path: Path, row: dict) -> None:
    (task,) = suite(tmp_path, row).tasks
    pairs = [(task, task.solution)]
    (found,) = grade_functions(pairs, ForgetfulBox(), solutions=SolutionRuns(slowness=1.0))
    assert found.outcome is Outcome.FAILED
    assert "answers to" in found.reason


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["task_id"]))
def test_solutions_pass_and_nothing_else(tmp_path: Path, row: dict) -> None:
    (task,) = suite(tmp_path, row).tasks
    passed, failed = (Outcome.PASSED, True), (Outcome.FAILED, False)
    assert verdict(task, task.solution) == passed
    assert isinstance(task.tests, PublishedTests)
    assert verdict(task, task.tests.prelude + task.solution) == passed
    name = task.tests.entry_point
    always = "class Yes(float):\n    __eq__ = __lt__ = __le__ = __rsub__ = lambda self, other: True\n"
    for wrong in (
        "",
        "def broken(:",
        f"def {name}(*a):\n    return 41\n",
        f"{always}\n\ndef {name}(*a):\n    return Yes(0)\n",
        f"def {name}(*a):\n    raise ValueError\n",
        "import os\nos.environ['x'] = 1",
    ):
        assert verdict(task, wrong) == failed, wrong


def test_what_is_visible(tmp_path: Path) -> None:
    top, count = suite(tmp_path, PLUS, MBPP).tasks
    assert verdict(top, "    return a[-1]\n") == (Outcome.FAILED, True)
    assert verdict(count, "def count(a, x):\n    return 2\n") == (Outcome.FAILED, True)
    assert count.instruction.endswith("assert count([1, 2, 1], 1) == 2")


def test_test_code_that_follows_the_answers_is_answered_step_by_step(tmp_path: Path) -> None:
    (task,) = suite(tmp_path, GUESS).tasks
    assert verdict(task, "    return (n + 1) // 2 if n == 41 else -(-(n - 1) // 2)\n")[0] is Outcome.PASSED
    assert verdict(task, "    return (n - 1) // 2 + 1\n")[0] is Outcome.FAILED


def test_names_of_the_answer_do_not_disturb_the_grader(tmp_path: Path) -> None:
    (task,) = suite(tmp_path, MEAN).tasks
    own = "import json\n\n\ndef pack(x):\n    return x\n\n\ndef mean(a):\n    return pack(sum(a) / len(a))\n"
    assert verdict(task, own + "answer = json = sys = types = None\n")[0] is Outcome.PASSED


def test_a_task_whose_solution_fails_its_own_inputs_is_nobodys_failure(tmp_path: Path) -> None:
    (task,) = suite(tmp_path, PLUS | {"canonical_solution": "    return max(a)\n"}).tasks
    (found,) = grade_functions([(task, "    return 1\n")], TrustedBox(), solutions=SolutionRuns(slowness=1.0))
    assert found.outcome is Outcome.INFRA
    assert "this task is broken" in found.reason


def test_the_split_and_the_digest(tmp_path: Path) -> None:
    many = [MEAN | {"task_id": f"Own/{i}"} for i in range(200)]
    own = suite(tmp_path, *many)
    held_out = [task for task in own.tasks if task.split is Split.HELD_OUT]
    assert 60 < len(held_out) < 140
    assert len({task.digest for task in own.tasks}) == 1
    assert {t.id for t in own.held_out_tasks(1, 60)}.isdisjoint(t.id for t in own.train_tasks(1, 60))
    with pytest.raises(ValueError, match="tasks.train: 190 asked for"):
        own.train_tasks(1, 190)
    with pytest.raises(ValueError, match="holds no human data"):
        own.corpus(1, 1)
    (other,) = suite(tmp_path, MEAN | {"test": MEAN["test"].replace("1.5", "1.6")}).tasks
    assert other.digest != own.tasks[0].digest


def test_gzip_json_and_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(MEAN).encode()))
    (tmp_path / "b.json").write_text(json.dumps([MEAN, MBPP]))
    assert [task.id for task in load_suite(str(tmp_path / "a.jsonl.gz")).train_tasks(0, 0)] == []
    assert len(PublishedSuite(tmp_path / "b.json").tasks) == 2
    (tmp_path / "c.txt").write_text("")
    with pytest.raises(ValueError, match="nor a file of rows"):
        load_suite(str(tmp_path / "c.txt"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (MEAN | {"entry_point": "f g"}, "own.jsonl:1: entry_point: must be the name of a function"),
        (MEAN | {"entry_point": "median"}, "own.jsonl:1: entry_point: must be a function that prompt"),
        (
            MEAN | {"canonical_solution": 3},
            "own.jsonl:1: canonical_solution: expected a text, got int 3",
        ),
        (
            MEAN | {"canonical_solution": "return ("},
            "own.jsonl:1: prompt and canonical_solution: is not Python",
        ),
        (MEAN | {"test": "assert"}, "own.jsonl:1: test: is not Python"),
        (MEAN | {"test": "x = 1"}, "own.jsonl:1: test: defines no check"),
        (MEAN | {"test": None}, "has none of test"),
        (MEAN | {"task_id": None}, "own.jsonl:1: task_id: must be a name"),
        (MEAN | {"prompt": "\ud800"}, "own.jsonl:1: prompt: not plain data: .*surrogates"),
        (PLUS | {"base_input": [1]}, "own.jsonl:1: base_input: must be a list of argument lists"),
        (PLUS | {"atol": -1}, "own.jsonl:1: atol: at least 0"),
        (MBPP | {"test_list": "["}, "own.jsonl:1: test_list: must be a list"),
        (MBPP | {"test_list": ["assert g(1)"]}, "own.jsonl:1: test_list: must be asserts about a function"),
        (MBPP | {"code": "def"}, "own.jsonl:1: code: is not Python"),
        ([1], "own.jsonl:1: is not an object"),
    ],
)
def test_errors_name_file_row_and_key(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suite(tmp_path, row)


def test_files_that_are_no_rows(tmp_path: Path) -> None:
    for name, data, message in (
        ("a.jsonl", b"", "holds no rows"),
        ("b.jsonl", b"{", "b.jsonl:1: is not JSON"),
        ("c.jsonl", b"\xff", "is not UTF-8"),
        ("d.jsonl.gz", b"\x1f\x8b\x08junk", "cannot be read"),
        ("e.json", b"{}", "is not a list of rows"),
        ("f.jsonl", b"[" * 100_000, "f.jsonl:1: is not JSON"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=message):
            PublishedSuite(tmp_path / name)
    with pytest.raises(ValueError, match="more than one task is called 'Own/0'"):
        suite(tmp_path, MEAN, MEAN)


@pytest.mark.parametrize(
    ("body", "cases"),
    [
        ("assert candidate(1, 'a') == {'k': (1, -2.5)}", [((1, "a"), {"k": (1, -2.5)}, 0.0)]),
        ("assert candidate('a' + 'b') == 2 ** 10 - 1", [(("ab",), 1023, 0.0)]),
        ("assert candidate() is None", [((), None, None)]),
        ("assert abs(candidate(1) - 2.0/3) < 1e-6", [((1,), 2 / 3, 1e-6)]),
        ("import math\n 'text'\n assert True, 'x'\n assert candidate([]) == []", [(([],), [], 0.0)]),
        ("assert candidate(1) == f(2)", None),
        ("assert candidate(x=1) == 2", None),
        ("assert candidate(1) == 2 == 2", None),
        ("assert not candidate(1)", None),
        ("assert candidate(1) == 9 ** 9 ** 9 ** 9", None),
        ("assert candidate(1) == 10 ** 12 * 10 ** 12 * 10 ** 12", None),
        ("assert candidate(1) == 1 / 0", None),
        ("assert abs(candidate(1) - 1) < 0", None),
        ("assert candidate(1) == {[]: 1}", None),
        ("pass", None),
    ],
)
def test_asserts_become_cases_only_where_they_say_nothing_else(body: str, cases: list | None) -> None:
    expected = cases and tuple(Case(args=a, expected=e, tolerance=t) for a, e, t in cases)
    assert read_check(f"def check(candidate):\n {body}\n") == expected


def test_alike_is_pythons_equality_with_room_for_rounding() -> None:
    nan = float("nan")
    assert alike([nan, 1], [nan, True], 0)
    assert not alike([1], (1,), 0.1)
    assert not alike("1", 1, 0.1)
    assert alike({1: 1.05}, {1: 1.0}, 0.1)
    assert not alike({1: 1.05}, {2: 1.0}, 0.1)
    assert not alike(1.0000001, 1.0, 0)
    assert alike(10.0**20 + 10**12, 10.0**20, 1e-6)
    assert not alike(10**400, 1.0, 0.1)
    assert not alike(None, 1, 0.1)


@pytest.mark.parametrize("answer", ["    return 1\n", "\n    return 1\n", "\tx = 1\n\treturn x"])
def test_an_answer_continues_the_prompt_or_repeats_it(answer: str) -> None:
    tests = PublishedTests(entry_point="f", visible=(), hidden=(), prelude="import x\ndef f():\n", preamble=9)
    assert completed(tests, answer) == "import x\ndef f():\n" + answer
    assert completed(tests, "def f():\n    return 1\n") == "import x\n\n\ndef f():\n    return 1\n"


@pytest.mark.parametrize("name", ["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def test_in_a_box(tmp_path: Path, name: str) -> None:
    try:
        grader = FunctionGrader(open_backend(name))
        tasks = suite(tmp_path, *ROWS).tasks
        verdicts = grader.grade([(task, task.solution) for task in tasks])
    except SandboxError as error:
        pytest.skip(str(error))
    try:
        assert {found.outcome for found in verdicts} == {Outcome.PASSED}, verdicts
        for wrong in ("", "    import os\n    os._exit(0)\n"):
            found = grader.grade([(task, wrong) for task in tasks])
            assert {one.outcome for one in found} == {Outcome.FAILED}
        (found_,) = grader.grade([(tasks[0], "    while True:\n        pass\n")])
        assert found_.reason == "time_limit: over its CPU time"
    finally:
        grader.close()


@pytest.mark.slow
@pytest.mark.skipif("PLATEAU_HUMANEVAL" not in os.environ, reason="PLATEAU_HUMANEVAL names no file")
@pytest.mark.parametrize("name", ["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def test_humaneval(name: str) -> None:
    tasks = PublishedSuite(Path(os.environ["PLATEAU_HUMANEVAL"])).tasks
    grader = FunctionGrader(open_backend(name))
    try:
        solved = grader.grade([(task, task.solution) for task in tasks])
        assert [found for found in solved if found.outcome is not Outcome.PASSED] == []
        empty = grader.grade([(task, "") for task in tasks])
        assert {found.outcome for found in empty} == {Outcome.FAILED}
    finally:
        grader.close()
