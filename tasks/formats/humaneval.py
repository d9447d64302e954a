"""HumanEval, EvalPlus and MBPP rows as tasks.

    HumanEval   task_id, prompt, entry_point, canonical_solution, test
    EvalPlus    the same with base_input, plus_input, atol (and contract) in place of test, or beside it
    MBPP        task_id, text or prompt, code, test_list (test_setup_code or test_imports,
                challenge_test_list)

Sources: openai/human-eval, evalplus/evalplus, google-research/mbpp. Where rows differ from what their own
harness does, it is to be stricter: see docs/tasks.md.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plateau_bench.tasks.base import Case, Task
from plateau_bench.tasks.formats.asserts import parse, read_asserts, read_check
from plateau_bench.tasks.formats.rows import Row, read_rows
from plateau_bench.tasks.grading.published_programs import PublishedTests, digest_of
from plateau_bench.tasks.guest.exchange import pack
from plateau_bench.tasks.suite import FixedSuite, split_of

VERSION = "published/1"
"""Part of every digest: another reading of the same row is another task."""
_SETS = {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"} | {
    "larg_nnum", "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
"""MBPP functions whose answers EvalPlus compares as sets."""
LICENCES = {"HumanEval": "MIT", "HumanEval+": "MIT (HumanEval), Apache-2.0 (EvalPlus)"} | {
    "MBPP": "CC-BY-4.0",
    "MBPP+": "CC-BY-4.0 (MBPP), Apache-2.0 (EvalPlus)",
}
"""As published by the suites' makers; a row's own `licence` or `license` key goes first."""


class PublishedSuite(FixedSuite):
    """The tasks in a file of rows. Raises ValueError naming the file, the row and the key."""

    def __init__(self, path: Path, name: str = "") -> None:
        name = name or re.sub(r"\.jsonl?(\.gz)?$", "", path.name)
        super().__init__(name, [read_row(row) for row in read_rows(path)], str(path))


def read_row(row: Row) -> Task:
    """The task in one row. Raises ValueError naming the file, the row and the key."""
    readers: Mapping[str, Callable[[Row], Task]] = {
        "base_input": _evalplus,
        "test_list": _mbpp,
        "test": _humaneval,
    }
    for key, reader in readers.items():
        if key in row:
            return reader(row)
    raise ValueError(
        f"{row.place}: has none of test, base_input, test_list: not a row of HumanEval, EvalPlus or MBPP"
    )


def _humaneval(row: Row) -> Task:
    name, prompt, solution = row.name("entry_point"), row.text("prompt"), row.text("canonical_solution")
    test = row.text("test")
    whole, preamble = _solved(row, name, prompt, solution)
    try:
        cases = read_check(test)
    except ValueError as error:
        raise ValueError(f"{row.place}: test {error}") from None
    tests = PublishedTests(
        entry_point=name,
        visible=(),
        hidden=cases or (),
        prelude=prompt,
        preamble=preamble,
        script="" if cases else f"{whole}\n\n\n{test}",
    )
    return _task(row, "HumanEval", _complete(prompt), tests, solution)


def _evalplus(row: Row) -> Task:
    name, prompt, solution = row.name("entry_point"), row.text("prompt"), row.text("canonical_solution")
    base, plus = (_inputs(row, key) for key in ("base_input", "plus_input"))
    whole, preamble = _solved(row, name, prompt, solution)
    atol = row.number("atol", 0.0)
    mbpp = row.text("task_id").startswith("Mbpp")
    script = ""
    if name == "find_zero":  # the one task with many right answers: its polynomial has to vanish there
        calls = json.dumps([pack(list(args)) for args in base + plus])
        script = f"{whole}\n\n\n{_ZERO.format(calls=calls, within=max(atol, 1e-4))}"
    tests = PublishedTests(
        entry_point=name,
        visible=(),
        hidden=(),
        prelude="" if mbpp else prompt,
        preamble=0 if mbpp else preamble,
        visible_inputs=() if script else base,
        hidden_inputs=() if script else plus,
        tolerance=atol or 1e-6,
        as_set=mbpp and name in _SETS,
        script=script,
    )
    return _task(
        row, "MBPP+" if mbpp else "HumanEval+", prompt if mbpp else _complete(prompt), tests, solution
    )


_ZERO = """
def check(candidate):
    import copy
    for args in {calls}:
        assert abs(poly(*args, candidate(*copy.deepcopy(args)))) <= {within}
"""


def _mbpp(row: Row) -> Task:
    solution = row.text("code")
    text = row.text("text" if "text" in row else "prompt")
    asserts = row.texts("test_list") + row.texts("challenge_test_list", [])
    setup = "\n".join(row.texts("test_imports", [])) or row.text("test_setup_code", "")
    if not asserts:
        raise row.wrong("test_list", "a list of asserts")
    name = _asserted(row, asserts, solution)
    _parse(row, "test_setup_code", setup)
    cases: tuple[Case, ...] | None = None if setup.strip() else read_asserts(_body(row, asserts), name)
    script = ""
    if cases is None:
        body = "\n".join(f"    {line}" for test in asserts for line in ast.unparse(parse(test)).split("\n"))
        script = f"{setup}\n\n\n{solution}\n\n\ndef check(candidate):\n    {name} = candidate\n{body}\n"
    tests = PublishedTests(
        entry_point=name, visible=(cases or ())[:1], hidden=(cases or ())[1:], prelude="", script=script
    )
    return _task(
        row, "MBPP", f"{text.strip()}\nYour code should pass this test:\n{asserts[0]}", tests, solution
    )


def _asserted(row: Row, asserts: list[str], solution: str) -> str:
    """The function of the solution that the tests call."""
    defined = {node.name for node in _parse(row, "code", solution).body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(ast.Module(body=_body(row, asserts), type_ignores=[])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
            return node.func.id
    raise row.wrong("test_list", "asserts about a function that code defines")


def _body(row: Row, asserts: list[str]) -> list[ast.stmt]:
    return [statement for text in asserts for statement in _parse(row, "test_list", text).body]


def _parse(row: Row, key: str, text: str) -> ast.Module:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{row.place}: {key} {error}") from None


def _solved(row: Row, name: str, prompt: str, solution: str) -> tuple[str, int]:
    """(prompt and solution as one program, which has to define `name`; characters before that function)."""
    whole = prompt + solution
    tree = _parse(row, "prompt and canonical_solution", whole)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found:
        raise row.wrong("entry_point", "a function that prompt and canonical_solution define")
    first = min([found[0].lineno, *(node.lineno for node in found[0].decorator_list)])
    before = sum(map(len, re.findall(r"[^\r\n]*(?:\r\n|\r|\n)", whole)[: first - 1]))
    return whole, min(before, len(prompt))


def _inputs(row: Row, key: str) -> tuple[tuple[Any, ...], ...]:
    """Argument lists. EvalPlus writes an empty list of inputs as {}."""
    if row.data.get(key) in ({}, None):
        return ()
    found = row.items(key)
    if not all(isinstance(args, list) for args in found):
        raise row.wrong(key, "a list of argument lists")
    try:
        json.dumps(pack(found))
    except (ValueError, TypeError, RecursionError):
        raise row.wrong(key, "a list of argument lists of plain data") from None
    return tuple(map(tuple, found))


def _complete(prompt: str) -> str:
    return f"Complete this Python function. Answer with the whole function.\n\n{prompt.strip()}\n"


def _task(row: Row, kind: str, instruction: str, tests: PublishedTests, solution: str) -> Task:
    number = row.data.get("task_id")
    if type(number) not in (int, str) or not str(number).isprintable() or not str(number).strip():
        raise row.wrong("task_id", "a name or a number")
    name = str(number) if "/" in str(number) else f"{kind}/{number}"
    cluster = str(row.data.get("cluster") or name)
    licence = row.data.get("licence") or row.data.get("license") or LICENCES[kind]
    return Task(
        id=name,
        instruction=instruction,
        split=split_of(cluster.replace("Mbpp/", "MBPP/")),
        digest=digest_of(VERSION, instruction, tests, solution),
        tests=tests,
        solution=solution,
        stratum=str(row.data.get("stratum") or ""),
        cluster=cluster,
        tags={"suite": kind, "licence": str(licence)},
    )
