"""Grades by values: a folder task's function is called in a program box and its answers compared here.

`tests/cases.json`: {"entry_point": "f", "cases": [[[argument, ...], expected], ...], "cpu_s": 1.0}

No expected value enters a box, and no code under test shares a process, a user or a moment with a comparison.
The answer is one file, which imports nothing of the workspace.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from plateau_bench.sandbox.base import Backend, Output, Program
from plateau_bench.tasks.base import Case, FunctionTests, Verdict
from plateau_bench.tasks.files import json_of
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.functions import verdict_of
from plateau_bench.validate import validated

NAME = "cases.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """What `cases.json` asks for."""

    entry_point: Annotated[str, Field(min_length=1)]
    """The name of the function."""
    cases: Annotated[tuple[tuple[tuple[Any, ...], Any], ...], Field(min_length=1)]
    """For each call, its arguments and the value that it must return."""
    cpu_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    """Seconds of CPU time for all calls together."""

    @property
    def tests(self) -> FunctionTests:
        """The cases as hidden ones of a function-level task."""
        hidden = tuple(Case(args=args, expected=expected) for args, expected in self.cases)
        return FunctionTests(entry_point=self.entry_point, visible=(), hidden=hidden)


def read_cases(files: Mapping[str, bytes], place: Path) -> Cases:
    """The content of `cases.json` among a task's tests, which lie in `place`.

    Raises ValueError that names the file, the key and what is wrong.
    """
    if NAME not in files:
        raise ValueError(f"{place / NAME}: is missing")
    return validated(Cases, json_of(files[NAME], str(place / NAME)), str(place / NAME))


def grade_values(source: str, cases: Cases, backend: Backend) -> Verdict:
    """Call the function in a fresh program box. Raises SandboxError if the box broke."""
    tests = cases.tests
    calls = [case.args for case in tests.hidden]
    program = Program(source=source, entry_point=tests.entry_point, calls=calls, cpu_s=cases.cpu_s)
    with closing(backend.open_program_box()) as box:
        (result,) = box.run([program])
    outputs = None if result.outputs is None else tuple(map(_plain, result.outputs))
    found = verdict_of(tests, replace(result, outputs=outputs))
    return graded(found.outcome, found.reason)  # with no visible case, all of them hold


def _plain(output: Output) -> Output:
    return output if output.error is not None else Output(value=_as_json(output.value))


def _as_json(value: Any) -> Any:
    """The value with lists for its tuples: the expected values were written as JSON, which has no tuples."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return {key: _as_json(item) for key, item in value.items()} if isinstance(value, dict) else value
