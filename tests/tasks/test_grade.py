"""Function-level grading: exact comparison, memo, and what happens when boxes die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.sandbox.base import (
    Output,
    Program,
    ProgramBox,
    ProgramResult,
    Sandbox,
    SandboxError,
    SandboxSpec,
    SandboxUnavailable,
    Status,
)
from plateau_bench.tasks.base import Case, FolderTests, FunctionTests, Outcome, Split, Task, Verdict
from plateau_bench.tasks.grading.compare import same
from plateau_bench.tasks.grading.functions import (
    FunctionGrader,
    Memo,
    grade_functions,
    program_digest,
    verdict_of,
)
from plateau_bench.tasks.suites import katas
from tests.tasks.trusted_box import TrustedBox

PASSED = Verdict(outcome=Outcome.PASSED, verified=True)


class TrustedBackend:
    """Opens trusted boxes; the first `deaths` of them die at their first use."""

    name = "trusted"

    def __init__(self, deaths: int = 0) -> None:
        self.deaths = deaths
        self.opened: list[ProgramBox] = []

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        raise SandboxUnavailable("only program boxes here")

    def open_program_box(self) -> ProgramBox:
        self.opened.append(TrustedBox(fail_first=int(len(self.opened) < self.deaths)))
        return self.opened[-1]

    def clean(self) -> int:
        return 0


class FragileBox(TrustedBox):
    """Dies whenever one program says so."""

    def run(self, programs: Sequence[Program]) -> list[ProgramResult]:
        if any("KILL" in program.source for program in programs):
            raise SandboxError("killed\x1b[2J from inside")
        return super().run(programs)


class FragileBackend(TrustedBackend):
    def open_program_box(self) -> ProgramBox:
        self.opened.append(FragileBox())
        return self.opened[-1]


def task(number: int = 0) -> Task:
    tests = FunctionTests(
        entry_point="f",
        visible=(Case(args=([1, 2],), expected=3),),
        hidden=(Case(args=([],), expected=0), Case(args=([4, 5],), expected=9)),
    )
    text = f"sum {number}"
    return Task(
        id=f"t{number}", instruction=text, split=Split.TRAIN, digest=katas.digest(text, tests), tests=tests
    )


def grade(program: str) -> Verdict:
    return grade_functions([(task(), program)], TrustedBox())[0]


def test_verdicts_separate_visible_from_hidden() -> None:
    assert grade("def f(a):\n return sum(a)\n") == PASSED
    only_visible = grade("def f(a):\n return 3\n")
    assert (only_visible.outcome, only_visible.verified) == (Outcome.FAILED, True)
    assert only_visible.reason == "hidden case 1: 3 != 0"
    only_hidden = grade("def f(a):\n return 0 if a == [1, 2] else sum(a)\n")
    assert (only_hidden.outcome, only_hidden.verified) == (Outcome.PASSED, False)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(a):\n return float(sum(a))\n", "hidden case 1: 0.0 != 0"),
        ("def f(a):\n return a[0] + a[1]\n", "hidden case 1: raised: IndexError"),
        ("def f(a) return", "load_error: SyntaxError"),
        ("g = 1\n", "load_error: KeyError"),
        ("def f(a):\n return 'x' * 500\n", "hidden case 1: 'xxxx"),
        ("def f(a):\n return 10 ** 9999\n", "hidden case 1: <int: ValueError> != 0"),
    ],
)
def test_wrong_programs_fail_with_a_short_reason(program: str, reason: str) -> None:
    verdict = grade(program)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason.startswith(reason)
    assert len(verdict.reason) < 200
    assert verdict.reason.isprintable()


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.COMPLETED])
def test_no_answers_is_never_a_pass(status: Status) -> None:
    tests = task().tests
    assert isinstance(tests, FunctionTests)
    verdict = verdict_of(tests, ProgramResult(status=status, detail="\x1b[31mred\n"))
    assert (verdict.outcome, verdict.verified) == (Outcome.FAILED, False)
    short = ProgramResult(status=Status.COMPLETED, outputs=(Output(value=3),))
    assert verdict_of(tests, short).outcome is Outcome.FAILED


def test_folder_tasks_are_refused() -> None:
    folder = Task(
        id="x", instruction="", split=Split.TRAIN, digest="d", tests=FolderTests(tests_dir=Path("tests"))
    )
    with pytest.raises(ValueError, match="x is a folder task"):
        grade_functions([(folder, "")], TrustedBox())


# --- exact comparison ---------------------------------------------------------------------------------

json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(width=16) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=1) | st.integers(0, 1) | st.booleans(), inner, max_size=2)
    ),
    max_leaves=6,
)


def shape(value: object) -> object:
    """An independent, slow definition: types spelt out beside every value."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, [shape(item) for item in value])
    if isinstance(value, dict):
        return ("dict", sorted((repr(shape(key)), repr(shape(item))) for key, item in value.items()))
    if isinstance(value, float):
        return ("float", repr(value + 0.0))
    return (type(value).__name__, repr(value))


@given(json_like, json_like)
def test_same_is_equality_on_exact_types(one: object, other: object) -> None:
    assert same(one, one)
    assert same(one, other) == (shape(one) == shape(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (1.0, 1), ([1], (1,)), ([[True]], [[1]]), ({1: 0}, {True: 0}), ("1", 1), (None, 0), ([], "")],
)
def test_lookalikes_differ(one: object, other: object) -> None:
    assert not same(one, other)
    assert not same(other, one)


def test_objects_that_equal_everything_equal_nothing() -> None:
    class Yes(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert not same(Yes(), 3)
    assert not same([Yes()], [3])


# --- memo ---------------------------------------------------------------------------------------------


def test_each_distinct_pair_runs_once(tmp_path: Path) -> None:
    box, memo = TrustedBox(), Memo(tmp_path / "memo.sqlite")
    good, bad = "def f(a):\n return sum(a)\n", "def f(a):\n return 0\n"
    pairs = [(task(), good), (task(), bad), (task(), good), (task(1), good)]
    first = grade_functions(pairs, box, memo)
    assert box.programs_run == 3
    assert first[0] == first[2] == first[3] == PASSED
    again = Memo(tmp_path / "memo.sqlite")
    assert grade_functions(pairs, box, again) == first
    assert box.programs_run == 3


def test_memo_keeps_many_and_never_infra(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite")
    verdicts = {
        (f"task{i}", program_digest(str(i))): Verdict(
            outcome=Outcome.FAILED, verified=bool(i % 2), reason=f"{i}"
        )
        for i in range(1_000)
    }
    infra = {("task", "x"): Verdict(outcome=Outcome.INFRA, verified=False)}
    memo.put_many(verdicts | infra)
    for reader in (memo, Memo(tmp_path / "memo.sqlite")):
        assert reader.get_many([*verdicts, *infra, ("no", "thing")]) == verdicts


def test_memo_refuses_another_file(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    path.write_text("not a database, and long enough to be looked at" * 40)
    with pytest.raises(ValueError, match=r"memo\.sqlite.*move it away"):
        Memo(path)


def test_memo_is_shared_by_threads(tmp_path: Path) -> None:
    memos = [Memo(tmp_path / "memo.sqlite") for _ in range(3)]

    def put(i: int) -> None:
        memos[i % 3].put_many({(f"t{i}", "p"): PASSED})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(put, range(90)))
    assert len(memos[0].get_many([(f"t{i}", "p") for i in range(90)])) == 90


def test_memo_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    script = (
        "import sys; from pathlib import Path; from plateau_bench.tasks.grading.functions import Memo; "
        "from plateau_bench.tasks.base import *\n"
        "memo = Memo(Path(sys.argv[1])); v = Verdict(outcome=Outcome.PASSED, verified=True)\n"
        "for i in range(10 ** 6):\n"
        "    memo.put_many({(f't{i}', f'p{j}'): v for j in range(20)}); print(i, flush=True)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script, path], cwd=root, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
    memo = Memo(path)
    assert len(memo.get_many([(f"t{i}", f"p{j}") for i in range(last + 1) for j in range(20)])) == 20 * (
        last + 1
    )
    torn = [len(memo.get_many([(f"t{i}", f"p{j}") for j in range(20)])) for i in range(last + 1, last + 200)]
    assert set(torn) <= {0, 20}


# --- a grader whose boxes die ---------------------------------------------------------------------------


def test_a_dead_box_is_replaced() -> None:
    backend = TrustedBackend(deaths=2)
    grader = FunctionGrader(backend, pause_s=0)
    pairs = [(katas_task, katas_task.solution) for katas_task in katas.train_tasks(0, 300)]
    assert grader.grade(pairs) == [PASSED] * 300
    assert len(backend.opened) == 3
    grader.close()
    grader.close()
    assert all(box.closed for box in backend.opened if isinstance(box, TrustedBox))


def test_a_box_that_keeps_dying_is_infra_and_forgotten(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite")
    grader = FunctionGrader(TrustedBackend(deaths=100), memo, pause_s=0)
    (verdict,) = grader.grade([(task(), "def f(a):\n return sum(a)\n")])
    assert (verdict.outcome, verdict.verified) == (Outcome.INFRA, False)
    assert verdict.reason == "the grading box broke: the box died"
    healthy = FunctionGrader(TrustedBackend(), memo)
    assert healthy.grade([(task(), "def f(a):\n return sum(a)\n")]) == [PASSED]


def test_one_program_that_kills_boxes_spares_the_others() -> None:
    grader = FunctionGrader(FragileBackend(), pause_s=0)
    programs = [f"def f(a):\n return sum(a)  # {i}\n" for i in range(40)]
    programs[17] = "def f(a):\n return sum(a)  # KILL\n"
    verdicts = grader.grade([(task(), program) for program in programs])
    assert [v.outcome for v in verdicts].count(Outcome.PASSED) == 39
    assert verdicts[17].outcome is Outcome.INFRA
    assert verdicts[17].reason.isprintable()


def test_no_way_to_make_boxes_is_said_at_once() -> None:
    class Nothing(TrustedBackend):
        def open_program_box(self) -> ProgramBox:
            raise SandboxUnavailable("install bubblewrap")

    started = time.monotonic()
    with pytest.raises(SandboxUnavailable, match="install"):
        FunctionGrader(Nothing()).grade([(task(), "")])
    assert time.monotonic() - started < 1


def test_threads_share_one_grader() -> None:
    backend = TrustedBackend(deaths=1)
    grader = FunctionGrader(backend, Memo(None), pause_s=0)
    tasks = katas.train_tasks(1, 60)
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda t: grader.grade([(t, t.solution)])[0], tasks))
    assert verdicts == [PASSED] * 60
    assert len(backend.opened) == 2
