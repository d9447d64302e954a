"""Grading by exact test ids: the harness's half of `runner_guest`.

`tests/expected.json` names the tests that must pass:

    {"tests": ["test_stack.py::test_push", "test_stack.py::TestPop::test_empty"], "together": false}

The tests are plain functions and `unittest` classes. A pass is: every id reported passed, once, by the
process that holds the box's answer channel; every canary failed; nothing reported that was not asked for.

`"together": true` is for tests that need the code under test in their own process (they patch it, inspect
it, or capture what it prints). There a forged result cannot be ruled out, only made to show: each test is
also run as a *twin*, with other expected values in it, in an order that only the harness knows. A twin
that passes beside its test proves that the comparison means nothing.

`"runner": "pytest"` is for tests that only pytest can run, named as pytest does: see `pytest_run`.
"""

import ast
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from plateau_bench.sandbox.base import Sandbox, SandboxError
from plateau_bench.tasks.base import Outcome, Verdict
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.guests import ask
from plateau_bench.tasks.grading.pytest_tests import grade_pytest, is_id, is_path

NAME = "expected.json"
_GUESTS = ("process", "product", "remote", "named_tests")
_CONTROL = "control_of_the_grader.py"
_CANARIES = (
    ("def {name}():\n    assert {a} == {b}\n", False),
    ("def {name}():\n    value = [{a}]\n    assert value == [{b}], value\n", False),
    ("import unittest\nclass {group}(unittest.TestCase):\n    def {name}(self):\n"
     "        self.assertEqual({a}, {b})\n", True),
    ("import unittest\nclass {group}(unittest.TestCase):\n    def {name}(self):\n"
     "        self.assertIn({a}, [{b}])\n", True),
    ("import unittest\nclass {group}(unittest.TestCase):\n    def {name}(self):\n"
     "        with self.assertRaises(ValueError):\n            int('{a}')\n", True),
)  # fmt: skip
_WORDS = (
    "add", "edge", "empty", "insert", "items", "keeps", "large", "limit", "merge", "order", "pop", "round",
    "sorts", "split", "state", "table",
)  # fmt: skip
_random = secrets.SystemRandom()


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What `expected.json` asks for."""

    tests: tuple[str, ...]
    together: bool = False
    runner: str = ""
    """"pytest", or ours."""
    deleted: tuple[str, ...] = ()
    """Of pytest: files that the tests do without."""
    own: frozenset[str] = frozenset()
    """Of pytest: modules of the project that have a name of the standard library's or pytest's."""


def read_expected(files: Mapping[str, bytes], place: Path) -> Expected | None:
    """The content of `expected.json` among a task's tests; None if there is none. Raises ValueError."""
    if NAME not in files:
        return None
    file = place / NAME
    try:
        data = json.loads(files[NAME])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: is not JSON ({error})") from error
    if isinstance(data, dict) and "runner" in data:
        return _of_pytest(data, file)
    if not isinstance(data, dict) or set(data) - {"tests", "together"}:
        raise ValueError(f"{file}: must be an object with 'tests' and, if needed, 'together'")
    tests, together = data.get("tests"), data.get("together", False)
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise ValueError(f"{file}: tests must be a list of ids such as 'test_a.py::test_b'")
    if type(together) is not bool:
        raise ValueError(f"{file}: together must be true or false")
    names = tuple(test.removeprefix("tests/") for test in tests)
    for name in names:
        path, _, inner = name.partition("::")
        if path not in files or not path.endswith(".py") or not 1 <= inner.count("::") + bool(inner) <= 2:
            raise ValueError(f"{file}: {name!r} does not name a test in a file that is there")
    if len(set(names)) < len(names):
        raise ValueError(f"{file}: names a test twice")
    return Expected(tests=names, together=together)


def _of_pytest(data: Mapping[str, Any], file: Path) -> Expected:
    """Ids as pytest writes them, relative to the workspace."""
    lists = {key: data.get(key, []) for key in ("tests", "deleted", "own")}
    if data["runner"] != "pytest" or set(data) - {"runner", *lists}:
        raise ValueError(
            f"{file}: runner must be 'pytest', beside 'tests' and, if needed, 'deleted' and 'own'"
        )
    for key, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{file}: {key} must be a list of strings")
    wrong = [path for path in lists["deleted"] if not is_path(path)]
    wrong += [test for test in lists["tests"] if not is_id(test)]
    if wrong or not lists["tests"]:
        shown = repr(wrong[0] if wrong else [])[:100]
        raise ValueError(f"{file}: tests must be ids such as 'a/test_b.py::test_c', not {shown}")
    return Expected(
        tests=tuple(dict.fromkeys(lists["tests"])),
        runner="pytest",
        deleted=tuple(lists["deleted"]),
        own=frozenset(lists["own"]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One run of one test: the test itself, its twin, or the grader's own control."""

    key: str
    kind: str
    test: str
    replace: Mapping[str, str]
    canaries: tuple[Mapping[str, Any], ...]

    def plan(self) -> dict[str, Any]:
        """What the box is told: no word of which kind it is."""
        shown = [{key: canary[key] for key in ("key", "names", "source")} for canary in self.canaries]
        early = _random.randrange(len(shown) + 1)
        return {
            "key": self.key,
            "id": self.test,
            "replace": dict(self.replace),
            "canaries": shown,
            "early": early,
        }


def grade_expected(box: Sandbox, expected: Expected, files: Mapping[str, bytes], timeout_s: float) -> Verdict:
    """Run the expected tests on what is in the box's workspace.

    Raises SandboxError if the box cannot even run a test that needs nothing of the workspace.
    """
    if expected.runner:
        return grade_pytest(box, expected, files, _canaries(), timeout_s)
    texts = {path: data.decode("utf-8", "surrogateescape") for path, data in files.items() if path != NAME}
    jobs = _jobs(expected, texts)
    plan = {"files": texts, "together": expected.together, "jobs": [job.plan() for job in jobs]}
    answer, problem = ask(box, _GUESTS, plan, timeout_s)
    results = answer.get("results")
    if not isinstance(results, dict):
        return graded(Outcome.FAILED, problem or "the tests gave no report")
    return _judge(expected, jobs, results)


def _judge(expected: Expected, jobs: Sequence[_Job], results: Mapping[str, Any]) -> Verdict:
    if set(results) != {job.key for job in jobs}:
        return graded(Outcome.INVALID, "tampering: the report is not about the tests that were asked for")
    outcomes: dict[tuple[str, str], tuple[str, str]] = {}
    evidence = ""
    for job in jobs:
        outcome, detail, traces = _read(results[job.key], job)
        outcomes[job.kind, job.test] = (outcome, detail)
        if job.kind == "control" and outcome != "passed":
            raise SandboxError(f"the box cannot run a test: {outcome} {detail}"[:200])
        evidence = evidence or (f"{job.test}: {traces}" if traces else "")
    for test in expected.tests:  # in this order and not that of the jobs: equal work, equal words
        twin = outcomes.get(("twin", test), ("", ""))[0]
        if twin == "passed" == outcomes["test", test][0]:
            evidence = evidence or f"{test}: passes with other expected values, too"
    if evidence:
        return graded(Outcome.INVALID, f"tampering: {evidence}")
    for test in expected.tests:
        outcome, detail = outcomes["test", test]
        if outcome != "passed":
            return graded(Outcome.FAILED, f"{test}: {outcome}: {detail}")
    return graded(Outcome.PASSED)


def _read(report: Any, job: _Job) -> tuple[str, str, str]:
    """(outcome, detail, traces of tampering) of one job's report."""
    if not isinstance(report, dict):
        return "missing", "no report", ""
    if "test" not in report:
        return "ended", str(report.get("ended")), ""
    try:
        outcome, detail = map(str, report["test"])
        canaries, changed = dict(report["canaries"]), list(report["changed"])
    except (ValueError, TypeError, KeyError):
        return "missing", "no report", "a malformed report"
    wanted = {canary["key"]: "failed" for canary in job.canaries}
    if canaries != wanted:
        return outcome, detail, f"a canary that must fail did not ({_first_wrong(canaries, wanted)})"
    return outcome, detail, f"changed: {', '.join(map(str, changed))}" if changed else ""


def _first_wrong(found: Mapping[Any, Any], wanted: Mapping[str, str]) -> str:
    key = next((key for key in wanted if found.get(key) != wanted[key]), "")
    return f"{found.get(key, 'not reported')}" if key else "one that nobody planted"


# --- the plan ------------------------------------------------------------------------------------------


def _jobs(expected: Expected, texts: Mapping[str, str]) -> list[_Job]:
    """The control, then tests and twins in an order that nothing in the box can tell."""
    jobs = []
    for test in expected.tests:
        path = test.partition("::")[0]
        # both from the same unparser, so that layout does not give the twin away
        original, changed = (_variant(texts[path], test, twin=twin) for twin in (False, True))
        jobs.append(_job("test", test, {path: original} if expected.together and original else {}))
        if expected.together and changed and changed != original:
            jobs.append(_job("twin", test, {path: changed}))
    _random.shuffle(jobs)
    works = {_CONTROL: "def test_control():\n    assert [1] == [1]\n"}
    return [_job("control", f"{_CONTROL}::test_control", works), *jobs]


def _job(kind: str, test: str, replace: Mapping[str, str]) -> _Job:
    return _Job(key=secrets.token_hex(8), kind=kind, test=test, replace=replace, canaries=tuple(_canaries()))


def _canaries() -> list[dict[str, Any]]:
    """Two to four; functions and methods among them, for frameworks call these in ways of their own."""
    kinds = [False, True, *_random.choices([False, True], k=_random.randint(0, 2))]
    _random.shuffle(kinds)
    return [_canary(grouped) for grouped in kinds]


def _canary(grouped: bool) -> dict[str, Any]:
    """A test that fails, and looks like any other; `grouped` in a class."""
    text = _random.choice([text for text, in_class in _CANARIES if in_class is grouped])
    a, b = _random.sample(range(-99, 1000), 2)
    name = "test_" + "_".join(_random.sample(_WORDS, 2)) + _random.choice(["", "_2", f"_{abs(a)}"])
    group = "Test" + "".join(word.title() for word in _random.sample(_WORDS, 2))
    source = text.format(name=name, group=group, a=a, b=b)
    return {"key": secrets.token_hex(8), "names": [group, name] if grouped else [name], "source": source}


def _variant(text: str, test: str, *, twin: bool) -> str:
    """The file with one test's expected values exchanged (`twin`), or as it is; "" if it cannot be parsed."""
    path, _, inner = test.partition("::")
    assert PurePosixPath(path).suffix == ".py"
    try:
        tree = ast.parse(text)
        found = _find(tree, inner.split("::"))
        if twin and found is not None:
            _Twin().visit(found)
        return ast.unparse(tree)
    except (ValueError, SyntaxError, RecursionError):
        return ""


def _find(tree: ast.Module, names: list[str]) -> ast.AST | None:
    node: ast.AST | None = tree
    for name in names:
        inside = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        node = next((child for child in inside if getattr(child, "name", None) == name), None)
    return node


_EQUALITIES = (
    "assertEqual", "assertAlmostEqual", "assertListEqual", "assertDictEqual", "assertTupleEqual",
    "assertSetEqual", "assertSequenceEqual", "assertMultiLineEqual",
)  # fmt: skip


class _Twin(ast.NodeTransformer):
    """Exchanges literals that `==` or `assertEqual` compare with, each for another of its type."""

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        if isinstance(node.test, ast.Compare) and [type(op) for op in node.test.ops] == [ast.Eq]:
            node.test.left, node.test.comparators[0] = _exchange(node.test.left, node.test.comparators[0])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        equal = isinstance(node.func, ast.Attribute) and node.func.attr in _EQUALITIES
        equal = equal and all(keyword.arg == "msg" for keyword in node.keywords)
        if equal and len(node.args) >= 2:
            node.args[0], node.args[1] = _exchange(node.args[0], node.args[1])
        return self.generic_visit(node)


def _exchange(one: ast.expr, other: ast.expr) -> tuple[ast.expr, ast.expr]:
    """The pair with the literal one of them replaced; unchanged if none is."""
    changed = _other_literal(other)
    if changed is not None:
        return one, changed
    return _other_literal(one) or one, other


def _other_literal(node: ast.expr) -> ast.expr | None:
    try:
        value = ast.literal_eval(node)
        return ast.parse(repr(_other(value)), mode="eval").body
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _other(value: Any) -> Any:
    """A value of the same type that is not equal, nor almost."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + _random.choice([-3, -2, -1, 1, 2, 3])
    if isinstance(value, str):
        return value + _random.choice("aeinst") if value == value[::-1] else value[::-1]
    if isinstance(value, list | tuple) and value:
        i = _random.randrange(len(value))
        return type(value)([*value[:i], _other(value[i]), *value[i + 1 :]])
    if isinstance(value, dict) and value:
        key = _random.choice(list(value))
        return {**value, key: _other(value[key])}
    if isinstance(value, set):
        return value ^ {1}
    if isinstance(value, bytes):
        return value + b"a"
    if value is None:
        return 0
    if value in ([], (), {}):
        return [0] if value == [] else (0,) if value == () else {0: 0}
    raise ValueError(f"no other value for a {type(value).__name__}")
