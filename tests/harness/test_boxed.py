"""Agents in boxes of their own: rollout, what leaves the box, and grading of packages."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from plateau_bench.agents.base import Ending, Limits, Trajectory
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.tool import ToolAgent
from plateau_bench.harness.attempts.boxed import solve_in_boxes
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, roll_out
from plateau_bench.results.attempt_log import attempt_from_json, attempt_to_json, read_attempts
from plateau_bench.results.records import Purpose
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxSpec
from plateau_bench.sandbox.diffs import diff_from_text, diff_to_text
from plateau_bench.tasks.base import Case, FunctionTests, Outcome, PackageTests, Split, Task, Verdict
from plateau_bench.tasks.grading.packages import bundle
from tests.results.attempts import attempt

FILES = {
    "ops.py": b"from parts import double\n\n\ndef f(a):\n    return sum(a)\n",
    "parts.py": b"def double(a):\n    return [2 * x for x in a]\n",
    "test.py": b"from ops import f\nassert f([1, 2]) == 6\n",
}
FIX = call("edit", path="ops.py", start=5, end=5, text="    return sum(double(a))")
ANSWERS = [
    call("bash", command="python3 test.py"),
    FIX,
    call("bash", command="python3 test.py"),
    call("submit"),
]


def task(name: str = "t1") -> Task:
    cases = FunctionTests(
        entry_point="f",
        visible=(Case(args=([1, 2],), expected=6),),
        hidden=(Case(args=([3],), expected=6), Case(args=([],), expected=0)),
    )
    tests = PackageTests(module="ops", cases=cases, files=FILES)
    return Task(id=name, instruction="f must double first", split=Split.TRAIN, digest=name, tests=tests)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("bubblewrap")


@pytest.fixture
def grader(backend: Backend) -> Iterator[Grader]:
    grader = Grader(backend, None)
    yield grader
    grader.close()


def agent(answers: Sequence[object] = tuple(ANSWERS)) -> ToolAgent:
    return ToolAgent(ScriptedChat.of(answers), limits=Limits(completion_tokens=50, steps=9))  # type: ignore[arg-type]


def test_each_attempt_has_a_box_of_its_own_and_leaves_a_diff(backend: Backend, grader: Grader) -> None:
    plan_tasks = [task("t1"), task("t2")]
    groups = solve_in_boxes(agent(), backend, [(t, [1, 2, 3]) for t in plan_tasks], at_once=4)
    assert [len(group) for group in groups] == [3, 3]
    found = groups[1][2]
    assert found.boxed
    assert set(diff_from_text(found.answer).written) == {"ops.py"}
    tools = [message.text for message in found.messages if message.role == "tool"]
    assert "AssertionError" in tools[0]
    assert tools[1:3] == ["[ok]", "[no output]"]
    pairs = [(t, trajectory) for t, group in zip(plan_tasks, groups, strict=True) for trajectory in group]
    assert {verdict.outcome for verdict in grader(pairs)} == {Outcome.PASSED}
    assert "sum(double(a))" in found.code


def test_an_untouched_workspace_fails_and_tampering_is_invalid(grader: Grader) -> None:
    def verdict(diff: Diff) -> Outcome:
        attempt = Trajectory(
            agent="x", model="x", seed=1, answer=diff_to_text(diff), ending=Ending.SUBMITTED, boxed=True
        )
        return grader([(task(), attempt)])[0].outcome

    assert verdict(Diff(written={})) is Outcome.FAILED
    fixed = FILES["ops.py"].replace(b"sum(a)", b"sum(double(a))")
    assert verdict(Diff(written={"ops.py": fixed})) is Outcome.PASSED
    assert verdict(Diff(written={"ops.py": fixed}, deleted=("parts.py",))) is Outcome.FAILED
    assert verdict(Diff(written={"ops.py": fixed, "sitecustomize.py": b""})) is Outcome.INVALID
    assert verdict(Diff(written={"ops.py": fixed, "../x.py": b""})) is Outcome.INVALID
    inside = {"ops.py": b"from deep.er import f\n", "deep/er.py": b"def f(a): return 2 * sum(a)\n"}
    assert verdict(Diff(written=inside)) is Outcome.PASSED


def test_a_box_that_breaks_is_replaced_and_one_that_stays_broken_is_infra(backend: Backend) -> None:
    @dataclasses.dataclass
    class Fragile:
        """A real backend whose first boxes die at once."""

        failures: int
        name: str = "fragile"

        def open(self, spec: SandboxSpec | None = None) -> Sandbox:
            box = backend.open(spec)
            if self.failures:
                self.failures -= 1
                box.close()
            return box

    def attempt(failures: int) -> Trajectory:
        return solve_in_boxes(agent(), Fragile(failures), [(task(), [1])], at_once=1)[0][0]  # type: ignore[arg-type]

    assert attempt(2).ending is Ending.SUBMITTED
    broken = attempt(99)
    assert broken.ending is Ending.INFRA
    assert "3 times" in broken.error


def test_a_broken_box_is_infra_and_never_a_fail(grader: Grader) -> None:
    broken = Trajectory(agent="x", model="", seed=1, answer="", ending=Ending.INFRA, error="why", boxed=True)
    verdict = grader([(task(), broken)])[0]
    assert (verdict.outcome, verdict.reason) == (Outcome.INFRA, "why")


def test_a_rollout_records_the_conversation_and_reads_it_back(
    backend: Backend, grader: Grader, tmp_path: Path
) -> None:
    plan = Plan(
        arm="a", seed=1, round=0, purpose=Purpose.PRACTISE, tasks=(task(),), samples=2, temperature=0.5
    )  # fmt: skip
    log = tmp_path / "log.jsonl"
    roll_out(plan, agent(), grader, log, backend=backend, at_once=2)
    made = list(read_attempts(log))
    roll_out(plan, agent(), grader, log, backend=backend, at_once=2)
    assert made == list(read_attempts(log))
    assert made[0].verdict.verified
    assert made[1].trajectory.messages[2].tool_calls[0].arguments == {"command": "python3 test.py"}
    with pytest.raises(ValueError, match="no backend"):
        roll_out(plan, agent(), grader, tmp_path / "other.jsonl")


def test_a_diff_survives_as_text() -> None:
    diff = Diff(written={"b": b"\xff\x00", "a.py": b"x = 1\r\n"}, deleted=("z", "c"), refused=("l",))
    text = diff_to_text(diff)
    assert diff_from_text(text) == Diff(written=diff.written, deleted=("c", "z"), refused=("l",))
    for bad in ("", "[]", '{"written": {"a": 3}, "deleted": [], "refused": []}', '{"written": {}}'):
        with pytest.raises(ValueError, match="not a stored diff"):
            diff_from_text(bad)


def test_a_bundle_takes_what_the_diff_left() -> None:
    tests = task().tests
    assert isinstance(tests, PackageTests)
    namespace: dict[str, object] = {}
    program = bundle(tests, Diff(written={"parts.py": b"double = sorted\n"}))
    exec(program, namespace)  # the project's own text
    assert namespace["f"]([3, 4]) == 7  # type: ignore[operator]


def test_sandbox_errors_of_opening_are_told(backend: Backend) -> None:
    spec = dataclasses.replace(task().box, workdir="/work")
    bad = dataclasses.replace(
        task(), box=spec, tests=PackageTests(module="ops", cases=task().tests.cases, files={"/": b""})  # type: ignore[union-attr]
    )  # fmt: skip
    found = solve_in_boxes(agent(), backend, [(bad, [1])], at_once=1)[0][0]
    assert found.ending is Ending.INFRA
    assert isinstance(SandboxError(found.error), SandboxError)


VISIT = "import urllib.request\nurllib.request.urlopen('http://elsewhere.test/')"


def test_what_a_box_asked_of_the_network_is_kept_with_the_attempt(backend: Backend) -> None:
    asks = agent([call("bash", command=f'python3 -c "{VISIT}"'), call("submit")])
    connected = dataclasses.replace(task(), box=SandboxSpec(network=("example.org",)))
    ((made,),) = solve_in_boxes(asks, backend, [(connected, [1])], at_once=1)
    assert [(visit.host, visit.port, visit.allowed) for visit in made.visits] == [
        ("elsewhere.test", 80, False)
    ]
    assert "reaches only example.org" in made.messages[0].text
    verdict = Verdict(outcome=Outcome.FAILED, verified=False)
    stored = dataclasses.replace(attempt("t", 0), trajectory=made, verdict=verdict)
    assert attempt_from_json(json.loads(json.dumps(attempt_to_json(stored)))) == stored
