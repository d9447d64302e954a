"""Published function-level tests, and the programs that are made of them for a grading box."""

import hashlib
import inspect
import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from plateau_bench.sandbox.base import Output, Program, ProgramBox, ProgramResult, Status
from plateau_bench.tasks.base import FunctionTests
from plateau_bench.tasks.grading.compare import line
from plateau_bench.tasks.guest import exchange, testcode
from plateau_bench.tasks.guest.exchange import pack, unpack

T = TypeVar("T")
Work = Generator[list[Program], Any, T]
"""Something that has lists of programs run, one after the other, and gives a result at its end."""

CHUNK = 64
"""Calls of one program: what it answers has to fit in one message of the box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTests(FunctionTests):
    """Tests of a published function-level task. To pass, everything has to hold, visible or hidden."""

    prelude: str = ""
    """What the answer continues: imports, helpers, the signature with its docstring."""
    preamble: int = 0
    """Characters of the prelude before the signature, which a whole function comes after."""
    visible_inputs: tuple[tuple[Any, ...], ...] = ()
    """Arguments of calls that must return what the solution returns; the agent is shown them."""
    hidden_inputs: tuple[tuple[Any, ...], ...] = ()
    """The same, but not shown."""
    tolerance: float | None = 0.0
    """How near an answer must be to what the solution returned; see `Case`."""
    fallible: bool = False
    """Inputs on which the solution raises are left out; at least three have to remain."""
    as_set: bool = False
    """The order of the items of an answer to the inputs, and how often one occurs, mean nothing."""
    script: str = ""
    """Python text that defines the solution and `check(candidate)`; "" if cases and inputs say it all."""

    @property
    def arguments(self) -> list[tuple[Any, ...]]:
        """The arguments of all calls but the script's: cases, then inputs."""
        cases = [case.args for case in (*self.visible, *self.hidden)]
        return [*cases, *self.visible_inputs, *self.hidden_inputs]


def completed(tests: PublishedTests, answer: str) -> str:
    """The program that an answer stands for: it continues the prelude, or repeats its function whole."""
    continues = not answer.strip() or re.match(r"(?:[ \t]*\n)*[ \t]+\S", answer)
    if continues:
        return tests.prelude + answer
    before = tests.prelude[: tests.preamble].rstrip()
    return f"{before}\n\n\n{answer}" if before else answer


@cache
def guest(*modules: ModuleType) -> str:
    """Source that loads guest modules, so that they share no name with what else the program holds.

    Those that others import come first.
    """
    texts = [(module.__name__, inspect.getsource(module)) for module in modules]
    return (
        f"import sys, types\nfor name, text in {texts!r}:\n"
        "    GUEST = types.ModuleType(name)\n"
        "    exec(text, GUEST.__dict__)\n"
        "    sys.modules.setdefault(name, GUEST)\n"
    )


def own_code(function: str, args: tuple[Any, ...], cpu_s: float) -> Program:
    """A program that makes one call into the guest `testcode`."""
    source = guest(exchange, testcode) + f"work = GUEST.{function}\n"
    return Program(source=source, entry_point="work", calls=[args], cpu_s=cpu_s)


def read_json(result: ProgramResult) -> tuple[Any, str]:
    """The JSON value that the program's one call gave, and ""; or None, and what went wrong."""
    if result.status is not Status.COMPLETED or not result.outputs:
        return None, f"{result.status}: {result.detail}"
    output = result.outputs[0]
    try:
        return (None, output.error) if output.error is not None else (json.loads(output.value), "")
    except (ValueError, TypeError, RecursionError):
        return None, "no answer"


def answering(
    tests: PublishedTests, answer: str, calls: Sequence[str], limits: Sequence[float]
) -> list[Program]:
    """Programs that make calls of the code under test, `CHUNK` calls each; `limits` are their CPU seconds."""
    source = (
        f"{completed(tests, answer)}\n\n\n{guest(exchange)}\n\n"
        f"def plateau_answers(call):\n    return GUEST.answer({tests.entry_point}, call)\n"
    )
    return [
        Program(
            source=source,
            entry_point="plateau_answers",
            calls=[(call,) for call in calls[i * CHUNK : (i + 1) * CHUNK]],
            cpu_s=limit,
        )
        for i, limit in enumerate(limits)
    ]


def run_together(box: ProgramBox, works: Sequence[Work[T]]) -> list[T]:
    """What each work gives; what they ask for at one time is one call of the box. Raises SandboxError."""
    done: dict[int, T] = {}
    results: dict[int, list[ProgramResult] | None] = dict.fromkeys(range(len(works)))
    while results:
        asked: dict[int, list[Program]] = {}
        for i, mine in results.items():
            try:
                asked[i] = works[i].send(mine)
            except StopIteration as end:
                done[i] = end.value
        programs = [program for mine in asked.values() for program in mine]
        ran = iter(box.run(programs) if programs else ())
        results = {i: [next(ran) for _ in mine] for i, mine in asked.items()}
    return [done[i] for i in range(len(works))]


def merge(results: Sequence[ProgramResult]) -> tuple[list[Output], str]:
    """The answers to all calls, and ""; or none, and why. What the box says is checked, not trusted."""
    outputs: list[Output] = []
    for result in results:
        if result.status is not Status.COMPLETED or result.outputs is None:
            return [], line(result.status, result.detail)
        outputs += map(decoded, result.outputs)
    return outputs, ""


def decoded(output: Output) -> Output:
    """The value that the text of an answer stands for, or an error if it stands for none."""
    if output.error is not None:
        return output
    try:
        return Output(value=unpack(json.loads(output.value)))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return Output(error="malformed value")


def digest_of(mark: str, instruction: str, tests: PublishedTests, solution: str) -> str:
    """sha256 over what can change a verdict; `mark` tells one reading of the same text from another."""
    plain = {
        "entry_point": tests.entry_point,
        "prelude": [tests.prelude, tests.preamble],
        "visible": [[pack(list(c.args)), pack(c.expected), c.tolerance] for c in tests.visible],
        "hidden": [[pack(list(c.args)), pack(c.expected), c.tolerance] for c in tests.hidden],
        "visible_inputs": [pack(list(args)) for args in tests.visible_inputs],
        "hidden_inputs": [pack(list(args)) for args in tests.hidden_inputs],
        "tolerance": tests.tolerance,
        "as_set": tests.as_set,
        "fallible": tests.fallible,
        "script": tests.script,
    }
    content = [mark, instruction, plain, solution]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
