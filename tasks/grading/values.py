"""Grading by values: a folder task's function is called in a program box and its answers compared here.

`tests/cases.json`: {"entry_point": "f", "cases": [[[argument, ...], expected], ...], "cpu_s": 1.0}

The strongest kind of tests: no expected value enters a box, and no code under test shares a process, a user
or a moment with a comparison. The answer is one file, which imports nothing of the workspace.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plateau_bench.sandbox.base import Backend, Output, Program
from plateau_bench.tasks.base import Case, FunctionTests, Verdict
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.functions import judge

NAME = "cases.json"


def read_cases(files: Mapping[str, bytes], place: Path) -> tuple[FunctionTests, float]:
    """(the calls and what they must return, seconds of CPU for all of them). Raises ValueError."""
    file = place / NAME
    try:
        data = json.loads(files[NAME])
        cases = tuple(Case(args=tuple(args), expected=expected) for args, expected in data["cases"])
        entry_point, cpu_s = data["entry_point"], data.get("cpu_s", 1.0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: is not a table of entry_point and cases ({error!r})") from error
    if not isinstance(entry_point, str) or not cases:
        raise ValueError(f"{file}: needs the name of a function and at least one case")
    if type(cpu_s) not in (int, float) or not 0 < cpu_s <= 600:
        raise ValueError(f"{file}: cpu_s must be a number of seconds")
    return FunctionTests(entry_point=entry_point, visible=(), hidden=cases), float(cpu_s)


def grade_values(source: str, tests: FunctionTests, cpu_s: float, backend: Backend) -> Verdict:
    """Call the function in a fresh program box. Raises SandboxError if the box broke."""
    calls = [case.args for case in tests.hidden]
    box = backend.open_program_box()
    try:
        program = Program(source=source, entry_point=tests.entry_point, calls=calls, cpu_s=cpu_s)
        (result,) = box.run([program])
    finally:
        box.close()
    outputs = None if result.outputs is None else tuple(map(_plain, result.outputs))
    found = judge(tests, replace(result, outputs=outputs))
    return graded(found.outcome, found.reason)  # with no visible case, all of them hold


def _plain(output: Output) -> Output:
    return output if output.error is not None else Output(value=_as_json(output.value))


def _as_json(value: Any) -> Any:
    """Tuples as lists: the expected values were written as JSON, which has no tuples."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return {key: _as_json(item) for key, item in value.items()} if isinstance(value, dict) else value
