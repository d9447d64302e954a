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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from plateau_bench.tasks.base import Case, Task
from plateau_bench.tasks.formats.asserts import parse, read_asserts, read_check
from plateau_bench.tasks.formats.rows import Row, Texts, read_rows, unpacked
from plateau_bench.tasks.grading.published_programs import PublishedTests, digest_of
from plateau_bench.tasks.guest.exchange import pack
from plateau_bench.tasks.suite import FixedSuite, split_of
from plateau_bench.validate import Text, must_be

VERSION = "published/1"
"""Part of every digest: another reading of the same row is another task."""
_SETS = {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"} | {
    "larg_nnum", "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
"""MBPP functions whose answers EvalPlus compares as sets."""
LICENCES = {
    "HumanEval": "MIT",
    "HumanEval+": "MIT (HumanEval), Apache-2.0 (EvalPlus)",
    "MBPP": "CC-BY-4.0",
    "MBPP+": "CC-BY-4.0 (MBPP), Apache-2.0 (EvalPlus)",
}
"""As published by the suites' makers; a row's own `licence` or `license` key goes first."""


def _id(value: Any) -> str:
    if type(value) not in (int, str) or not str(value).isprintable() or not str(value).strip():
        raise ValueError(f"must be a name or a number, not {repr(value)[:80]}")
    return str(value)


def _inputs(value: Any) -> tuple[tuple[Any, ...], ...]:
    """Argument lists. EvalPlus writes an empty list of inputs as {}."""
    found = () if value in ({}, None) else unpacked(value)
    if not isinstance(found, tuple) or not all(isinstance(args, list) for args in found):
        raise ValueError(f"must be a list of argument lists, not {repr(value)[:80]}")
    try:
        json.dumps(pack(list(found)))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("must be a list of argument lists of plain data") from None
    return tuple(map(tuple, found))


Name = Annotated[Text, must_be("the name of a function", str.isidentifier)]
Inputs = Annotated[tuple[tuple[Any, ...], ...], BeforeValidator(_inputs)]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """The keys that any row may have."""

    task_id: Annotated[str, BeforeValidator(_id)]
    cluster: Any = None
    stratum: Any = None
    licence: Any = None
    license: Any = None


@dataclass(frozen=True, kw_only=True)
class HumanEvalRow(PublishedRow):
    """A row of HumanEval; prompt and canonical_solution are one program."""

    prompt: Text
    entry_point: Name
    canonical_solution: Text
    test: Text = ""


@dataclass(frozen=True, kw_only=True)
class EvalPlusRow(HumanEvalRow):
    """A row of HumanEval+ or MBPP+."""

    base_input: Inputs = ()
    plus_input: Inputs = ()
    atol: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True)
class MbppRow(PublishedRow):
    """A row of MBPP."""

    text: Text | None = None
    prompt: Text = ""
    """What `text` is called in the sanitised edition, as is `test_imports`."""
    code: Text
    test_list: Texts
    challenge_test_list: Texts = ()
    test_imports: Texts = ()
    test_setup_code: Text = ""


class PublishedSuite(FixedSuite):
    """The tasks in a file of rows. Raises ValueError naming the file, the row and the key."""

    def __init__(self, path: Path, name: str = "") -> None:
        name = name or re.sub(r"\.jsonl?(\.gz)?$", "", path.name)
        super().__init__(name, [read_row(row) for row in read_rows(path)], str(path))


def read_row(row: Row) -> Task:
    """The task in one row. Raises ValueError naming the file, the row and the key."""
    readers: Mapping[str, tuple[type, Callable[[Any], Task]]] = {
        "base_input": (EvalPlusRow, _evalplus),
        "test_list": (MbppRow, _mbpp),
        "test": (HumanEvalRow, _humaneval),
    }
    for key, (kind, reader) in readers.items():
        if row.data.get(key) is not None:
            checked: Any = row.read(kind)
            try:
                return reader(checked)
            except ValueError as error:
                raise ValueError(f"{row.place}: {error}") from None
    raise ValueError(
        f"{row.place}: has none of test, base_input, test_list: not a row of HumanEval, EvalPlus or MBPP"
    )


def _humaneval(row: HumanEvalRow) -> Task:
    whole, preamble = _solved(row)
    try:
        cases = read_check(row.test)
    except ValueError as error:
        raise ValueError(f"test: {error}") from None
    tests = PublishedTests(
        entry_point=row.entry_point,
        visible=(),
        hidden=cases or (),
        prelude=row.prompt,
        preamble=preamble,
        script="" if cases else f"{whole}\n\n\n{row.test}",
    )
    return _task(row, "HumanEval", _complete(row.prompt), tests, row.canonical_solution)


def _evalplus(row: EvalPlusRow) -> Task:
    whole, preamble = _solved(row)
    mbpp = row.task_id.startswith("Mbpp")
    script = ""
    if row.entry_point == "find_zero":  # the one task with many right answers: its polynomial vanishes there
        calls = json.dumps([pack(list(args)) for args in row.base_input + row.plus_input])
        script = f"{whole}\n\n\n{_ZERO.format(calls=calls, within=max(row.atol, 1e-4))}"
    tests = PublishedTests(
        entry_point=row.entry_point,
        visible=(),
        hidden=(),
        prelude="" if mbpp else row.prompt,
        preamble=0 if mbpp else preamble,
        visible_inputs=() if script else row.base_input,
        hidden_inputs=() if script else row.plus_input,
        tolerance=row.atol or 1e-6,
        as_set=mbpp and row.entry_point in _SETS,
        script=script,
    )
    kind, instruction = ("MBPP+", row.prompt) if mbpp else ("HumanEval+", _complete(row.prompt))
    return _task(row, kind, instruction, tests, row.canonical_solution)


_ZERO = """
def check(candidate):
    import copy
    for args in {calls}:
        assert abs(poly(*args, candidate(*copy.deepcopy(args)))) <= {within}
"""


def _mbpp(row: MbppRow) -> Task:
    asserts = row.test_list + row.challenge_test_list
    if not asserts:
        raise ValueError("test_list: must be a list of asserts")
    body = [statement for text in asserts for statement in _parse("test_list", text).body]
    name = _asserted(body, row.code)
    setup = "\n".join(row.test_imports) or row.test_setup_code
    _parse("test_setup_code", setup)
    cases: tuple[Case, ...] | None = None if setup.strip() else read_asserts(body, name)
    script = ""
    if cases is None:
        lines = "\n".join(f"    {line}" for test in asserts for line in ast.unparse(parse(test)).split("\n"))
        script = f"{setup}\n\n\n{row.code}\n\n\ndef check(candidate):\n    {name} = candidate\n{lines}\n"
    tests = PublishedTests(
        entry_point=name, visible=(cases or ())[:1], hidden=(cases or ())[1:], prelude="", script=script
    )
    text = (row.prompt if row.text is None else row.text).strip()
    return _task(row, "MBPP", f"{text}\nYour code should pass this test:\n{asserts[0]}", tests, row.code)


def _asserted(body: list[ast.stmt], solution: str) -> str:
    """The function of the solution that the tests call."""
    defined = {node.name for node in _parse("code", solution).body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(ast.Module(body=body, type_ignores=[])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
            return node.func.id
    raise ValueError("test_list: must be asserts about a function that code defines")


def _parse(key: str, text: str) -> ast.Module:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _solved(row: HumanEvalRow) -> tuple[str, int]:
    """(prompt and solution as one program, characters in it before the function that is asked for)."""
    whole = row.prompt + row.canonical_solution
    tree = _parse("prompt and canonical_solution", whole)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == row.entry_point]
    if not found:
        raise ValueError(
            "entry_point: must be a function that prompt and canonical_solution define, "
            f"not {row.entry_point!r}"
        )
    first = min([found[0].lineno, *(node.lineno for node in found[0].decorator_list)])
    before = sum(map(len, re.findall(r"[^\r\n]*(?:\r\n|\r|\n)", whole)[: first - 1]))
    return whole, min(before, len(row.prompt))


def _complete(prompt: str) -> str:
    return f"Complete this Python function. Answer with the whole function.\n\n{prompt.strip()}\n"


def _task(row: PublishedRow, kind: str, instruction: str, tests: PublishedTests, solution: str) -> Task:
    name = row.task_id if "/" in row.task_id else f"{kind}/{row.task_id}"
    cluster = str(row.cluster or name)
    return Task(
        id=name,
        instruction=instruction,
        split=split_of(cluster.replace("Mbpp/", "MBPP/")),
        digest=digest_of(VERSION, instruction, tests, solution),
        tests=tests,
        solution=solution,
        stratum=str(row.stratum or ""),
        cluster=cluster,
        tags={"suite": kind, "licence": str(row.licence or row.license or LICENCES[kind])},
    )
