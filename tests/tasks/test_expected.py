"""Named tests: what expected.json may say, how tests end, canaries, twins. The boxes' side is in exploits."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import Outcome, Verdict
from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.grading.compare import same
from plateau_bench.tasks.grading.folders import grade_folder, shadows
from plateau_bench.tasks.grading.named_tests import _canaries, _other, _variant, read_expected
from plateau_bench.tasks.guest.named_tests import attempt_test, text_module
from tests.tasks.local_backend import LocalBackend
from tests.tasks.test_harbor import make

TESTS = """
import unittest
from pathlib import Path
import helper
from answer import f

def test_plain():
    assert f(2) == helper.twice(2)

def test_data():
    assert str(f(1)) == (Path(__file__).parent / "data" / "two.txt").read_text().strip()

class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.base = 4
    def setUp(self): self.number = self.base
    def test_method(self): self.assertEqual(f(self.number), 8)
    @unittest.skip("later")
    def test_skipped(self): pass
    @unittest.expectedFailure
    def test_expected_failure(self): self.fail()
    async def test_coroutine(self): pass
    def test_cleanup(self): self.addCleanup(self.fail, "in clean-up")
"""
GOOD = ["test_a.py::test_plain", "test_a.py::test_data", "tests/test_a.py::TestCase::test_method"]


def grade(folder: Path, tests: list[str], answer: str, *, together: bool = False) -> Verdict:
    files = {
        "tests/test_a.py": TESTS,
        "tests/helper.py": "def twice(x): return 2 * x\n",
        "tests/data/two.txt": "2\n",
        "tests/expected.json": json.dumps({"tests": tests, "together": together}),
    }
    task = read_folder(make(folder, "", **files))
    return grade_folder(task, Diff(written={"answer.py": answer.encode()}), LocalBackend())


@pytest.mark.parametrize("together", [False, True])
def test_right_passes_and_wrong_fails(tmp_path: Path, together: bool) -> None:
    right = grade(tmp_path, GOOD, "def f(x): return 2 * x\n", together=together)
    assert right == Verdict(outcome=Outcome.PASSED, verified=True)
    wrong = grade(tmp_path, GOOD, "def f(x): return 2\n", together=together)
    assert wrong.outcome is Outcome.FAILED
    assert "AssertionError" in wrong.reason


@pytest.mark.parametrize(
    ("test", "how"),
    [
        ("TestCase::test_skipped", "skipped"),
        ("TestCase::test_expected_failure", "skipped"),
        ("TestCase::test_coroutine", "error: TypeError"),
        ("TestCase::test_cleanup", "failed: AssertionError: in clean-up"),
        ("test_missing", "error: AttributeError"),
        ("helper", "error: TypeError"),
    ],
)
def test_only_a_pass_is_a_pass(tmp_path: Path, test: str, how: str) -> None:
    verdict = grade(tmp_path, [*GOOD, f"test_a.py::{test}"], "def f(x): return 2 * x\n")
    assert verdict.outcome is Outcome.FAILED
    assert how in verdict.reason


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object"),
        ('{"tests": []}', "list of ids"),
        ('{"tests": "all"}', "list of ids"),
        ('{"tests": ["test_b.py::test"]}', "does not name a test"),
        ('{"tests": ["test_a.py"]}', "does not name a test"),
        ('{"tests": ["test_a.py::A::b::c"]}', "does not name a test"),
        ('{"tests": ["test_a.py::x", "tests/test_a.py::x"]}', "names a test twice"),
        ('{"tests": ["test_a.py::x"], "together": 1}', "true or false"),
        ('{"tests": ["test_a.py::x"], "apart": true}', "must be an object with"),
    ],
)
def test_malformed_expectations_are_named(text: str, complaint: str) -> None:
    files = {"expected.json": text.encode(), "test_a.py": b""}
    with pytest.raises(ValueError, match=complaint):
        read_expected(files, Path("tests"))


def test_no_expectations_are_none() -> None:
    assert read_expected({"test.sh": b""}, Path()) is None


def test_canaries_fail_and_are_of_both_forms() -> None:
    for canaries in (_canaries() for _ in range(20)):
        assert {len(canary["names"]) for canary in canaries} == {1, 2}  # who forges one form is seen
        for source, names in ((canary["source"], canary["names"]) for canary in canaries):
            assert attempt_test(lambda source=source: text_module(source), names)[0] == "failed", source


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_another_value_is_another_value(value: object) -> None:
    assert not same(_other(value), value)
    assert value is None or type(_other(value)) is type(value)


def test_a_twin_differs_in_what_it_expects_only() -> None:
    # expected values far from zero: a negative one is a node deeper, and `walk` would meet it later
    text = (
        "class TestA:\n    def test(self):\n        assert f(1) == 12\n        self.assertEqual([13], f(4))\n"
        "        assert f(0)\n        self.assertAlmostEqual(f(9), 1, delta=5)\n"
        "def test():\n    assert f(1) == 12\n"
    )

    def constants(source: str) -> list[Any]:
        return [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]

    original, twin = (_variant(text, "test_a.py::TestA::test", twin=twin) for twin in (False, True))
    assert ast.dump(ast.parse(original)) == ast.dump(ast.parse(text))
    changed = [(a, b) for a, b in zip(constants(original), constants(twin), strict=True) if a != b]
    assert sorted(a for a, _ in changed) == [12, 13]
    assert original.rpartition("def test")[2] == twin.rpartition("def test")[2]


@pytest.mark.parametrize(
    ("path", "yes"),
    [
        ("json.py", True),
        ("unittest/__init__.py", True),
        ("src/json.py", True),
        ("json.cpython-311-x86_64-linux-gnu.so", True),
        ("pytest/__main__.py", True),
        ("json.txt", False),
        ("pkg/json.py", False),
        ("src/pkg/json.py", False),
        ("app.py", False),
        ("json", False),
    ],
)
def test_shadows_of_what_tests_rely_on(path: str, yes: bool) -> None:
    assert bool(shadows(path)) is yes
