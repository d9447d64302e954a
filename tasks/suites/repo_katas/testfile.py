"""The test file of a package, and what it would print: only ever run on this project's own programs."""

import builtins
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import CodeType, SimpleNamespace
from typing import Any

from plateau_bench.tasks.base import Case

_TEST = """import sys

sys.dont_write_bytecode = True
CASES = {cases}
try:
    from {module} import {name}
except Exception as error:
    print("{file} cannot be imported:", type(error).__name__)
    sys.exit()
failed = []
for given, want in CASES:
    try:
        got = {name}(list(given))
    except Exception as error:
        got = type(error).__name__
    if got != want:
        failed.append(f"{name}({{given}}) -> {{got}}, want {{want}}")
if failed:
    print(len(failed), "failed in {file}:", failed[0])
else:
    print(len(CASES), "passed")
"""
"""Bytecode of a file that changed twice in a second would be taken for fresh; so none is written."""


def test_file(module: str, name: str, cases: Sequence[Case]) -> str:
    """`test.py`: says `2 passed`, or how many failed, in which file, and the first failure."""
    table = [(case.args[0], case.expected) for case in cases]
    return _TEST.format(module=module, name=name, file=f"{module}.py", cases=table)


def printed_by_tests(files: Mapping[str, str], file: str, name: str, cases: Sequence[Case]) -> str:
    """What `python3 test.py` prints."""
    try:
        function = _load(files, file, name)
    except Exception as error:  # noqa: BLE001 (as the test file has it)
        return f"{file} cannot be imported: {type(error).__name__}"
    failed = []
    for case in cases:
        got = _answer(function, case)
        if isinstance(got, Exception):
            got = type(got).__name__
        if got != case.expected:
            failed.append(f"{name}({case.args[0]}) -> {got}, want {case.expected}")
    return f"{len(failed)} failed in {file}: {failed[0]}" if failed else f"{len(cases)} passed"


def answers(files: Mapping[str, str], file: str, name: str, cases: Sequence[Case]) -> list[Any]:
    """The function's answers; an exception stands for its call, or for all if the file cannot be imported."""
    try:
        function = _load(files, file, name)
    except Exception as error:  # noqa: BLE001
        return [error] * len(cases)
    return [_answer(function, case) for case in cases]


def _answer(function: Any, case: Case) -> Any:
    try:
        return function(list(case.args[0]))
    except Exception as error:  # noqa: BLE001 (wrong programs are part of the corpus)
        return error


@lru_cache(maxsize=4096)
def _compiled(source: str, file: str) -> CodeType:
    return compile(source, file, "exec")


def _load(files: Mapping[str, str], file: str, name: str) -> Any:
    """The function `name` of a package that lies in memory. Raises what importing it raises."""

    def load(module: str, *rest: Any) -> Any:
        if module + ".py" in files:
            return SimpleNamespace(**run(module + ".py"))
        return __import__(module, *rest)

    def run(path: str) -> dict[str, Any]:
        space: dict[str, Any] = {"__builtins__": {**vars(builtins), "__import__": load}, "__name__": path}
        exec(_compiled(files[path], path), space)  # a program that this package made
        return space

    try:
        return run(file)[name]
    except KeyError as error:
        raise ImportError(name) from error
