"""What expected.json and cases.json may say, and that canaries fail. The boxes' side is in exploits."""

import json
import types
import unittest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.grading.canaries import Canary, canaries
from plateau_bench.tasks.grading.compare import same
from plateau_bench.tasks.grading.expected_file import Expected, read_expected
from plateau_bench.tasks.grading.values import read_cases
from tests.tasks.test_harbor import make


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "the file: "),
        ("{}", 'missing key runner: write "runner": "pytest", with ids as pytest names them'),
        ('{"tests": ["test_a.py::test"]}', 'missing key runner: write "runner": "pytest"'),
        ('{"tests": ["test_a.py::test"], "together": true}', 'missing key runner: write "runner": "pytest"'),
        ('{"runner": "unittest", "tests": ["a.py::t"]}', "runner: expected 'pytest', got str 'unittest'"),
        ('{"runner": "pytest"}', "missing key tests"),
        ('{"runner": "pytest", "tests": []}', "tests: must name at least one test"),
        ('{"runner": "pytest", "tests": "all"}', "tests: expected a list, got str 'all'"),
        ('{"runner": "pytest", "tests": [3]}', r"tests\[0\]: expected a text, got int 3"),
        ('{"runner": "pytest", "tests": ["test_a.py"]}', r"tests\[0\]: must be an id such as 'a/test_b.py::"),
        ('{"runner": "pytest", "tests": ["/a.py::t"]}', r"tests\[0\]: must be an id .* not '/a.py::t'"),
        ('{"runner": "pytest", "tests": ["../a.py::t"]}', r"tests\[0\]: must be an id"),
        ('{"runner": "pytest", "tests": ["-p.py::t"]}', r"tests\[0\]: must be an id"),
        ('{"runner": "pytest", "tests": ["a.py::t"], "deleted": ["/a"]}', r"deleted\[0\]: must be a path"),
        ('{"runner": "pytest", "tests": ["a.py::t"], "deleted": [""]}', r"deleted\[0\]: must be a path"),
        ('{"runner": "pytest", "tests": ["a.py::t"], "own": [""]}', "own.*at least 1 character"),
        ('{"runner": "pytest", "tests": ["a.py::t"], "delete": []}', "unknown key delete; did you mean del"),
    ],
)  # fmt: skip
def test_malformed_expectations_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"^tests/expected\.json: {complaint}") as caught:
        read_expected({"expected.json": text.encode(), "test_a.py": b""}, Path("tests"))
    assert "\n" not in str(caught.value)


def test_a_folder_with_malformed_expectations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tests/expected\.json: missing key runner"):
        read_folder(make(tmp_path, "", **{"tests/expected.json": '{"tests": ["test_a.py::test"]}'}))


def test_expectations_are_read() -> None:
    data: dict[str, Any] = {"runner": "pytest", "tests": ["a.py::t", "b/c.py::T::t[1]", "a.py::t"]}
    assert read_expected({"expected.json": json.dumps(data).encode()}, Path()) == Expected(
        runner="pytest", tests=("a.py::t", "b/c.py::T::t[1]")
    )
    data |= {"deleted": ["old.py"], "own": ["py", "_pytest"]}
    found = read_expected({"expected.json": json.dumps(data).encode()}, Path())
    assert found is not None
    assert (found.deleted, found.own) == (("old.py",), {"_pytest", "py"})
    assert read_expected({"test.sh": b""}, Path()) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ('{"cases": [[[1], 2]]}', "missing key entry_point"),
        ('{"entry_point": "", "cases": [[[1], 2]]}', "entry_point: .*at least 1 character"),
        ('{"entry_point": "f", "cases": []}', "cases: .*at least 1 item"),
        ('{"entry_point": "f", "cases": [[1, 2]]}', r"cases\[0\]\[0\]: expected a list, got int 1"),
        ('{"entry_point": "f", "cases": [[[1]]]}', r"missing key cases\[0\]\[1\]"),
        ('{"entry_point": "f", "cases": [[[1], 2, 3]]}', r"cases\[0\]: "),
        ('{"entry_point": "f", "cases": [[[1], 2]], "cpu_s": 0}', "cpu_s: above 0"),
        ('{"entry_point": "f", "cases": [[[1], 2]], "cpu_s": 601}', "cpu_s: at most 600"),
        ('{"entry_point": "f", "cases": [[[1], 2]], "cpu_s": true}', "cpu_s: expected .*number"),
        ('{"entry_point": "f", "cases": [[[1], 2]], "cpu": 1}', "unknown key cpu; did you mean cpu_s?"),
    ],
)
def test_malformed_cases_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"^tests/cases\.json: {complaint}") as caught:
        read_cases({"cases.json": text.encode()}, Path("tests"))
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(VALUES), VALUES | st.integers(10**20, 10**4000))
def test_cases_are_what_the_file_says(args: list[Any], expected: Any) -> None:
    """Checking a file changes no value in it: not the type of a number, nor a digit of it."""
    data = {"entry_point": "f", "cases": [[args, expected]]}
    (case,) = read_cases({"cases.json": json.dumps(data).encode()}, Path()).tests.hidden
    assert same(list(case.args), args)
    assert same(case.expected, expected)


def test_canaries_fail_and_are_of_both_forms() -> None:
    for made in (canaries() for _ in range(20)):
        assert {len(canary.names) for canary in made} == {1, 2}  # a forgery of one form is seen
        for canary in made:
            assert failed(canary), canary.source


def failed(canary: Canary) -> bool:
    """Whether its test fails, as `assert` and `unittest` see it: no error, no skip."""
    module = types.ModuleType("canary")
    exec(canary.source, module.__dict__)
    if len(canary.names) == 2:
        result = unittest.TestResult()
        getattr(module, canary.names[0])(canary.names[1]).run(result)
        return (result.testsRun, len(result.failures), len(result.errors)) == (1, 1, 0)
    try:
        getattr(module, canary.names[0])()
    except AssertionError:
        return True
    return False
