"""What a program box does with test code, in the absence of the code under test.

Shipped into the box as text; standard library only. `trace` runs the test code on the task's own solution,
to learn which calls it makes; `check` runs it on answers that came from elsewhere, as values.
"""

from __future__ import annotations

import builtins
import copy
import json
import random
import time
from collections.abc import Callable
from typing import Any

from plateau_bench.tasks.guest.exchange import pack, unpack


class Unanswered(BaseException):
    """A test asked something that is not among the answers."""


def run_tests(space: dict[str, Any], candidate: Callable[..., object]) -> str:
    """'' if `check` of the test code passes, else why not."""
    try:
        space["check"](candidate)
    except Unanswered:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def load(tests: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "tests"}
    exec(compile(tests, "tests.py", "exec", dont_inherit=True), space)
    random.seed(0)
    return space


def trace(tests: str, entry: str) -> str:
    """JSON of [packed calls that the test makes of the reference, which is called `entry`; why it fails]."""
    space = load(tests)
    reference, calls = space[entry], []

    def candidate(*args: object) -> object:
        calls.append(pack(list(args)))
        return reference(*copy.deepcopy(args))

    return json.dumps([calls, run_tests(space, candidate)])


def check(tests: str, calls: str, answers: str) -> str:
    """JSON of [why the test fails, the calls made so far if it asked for one that is not answered].

    `calls` and `answers` are JSON texts of lists; an answer is [packed value] or an exception's name.
    The test has to make the calls in the order in which they were answered.
    """
    known, said = json.loads(calls), json.loads(answers)
    made: list[Any] = []

    def candidate(*args: object) -> object:
        place = len(made)
        made.append(pack(list(args)))
        if place >= len(known) or json.dumps(made[place]) != json.dumps(known[place]):
            raise Unanswered
        found = said[place]
        if type(found) is list:
            return unpack(found[0])
        kind: Any = vars(builtins).get(found)
        fits = isinstance(kind, type) and issubclass(kind, Exception)
        raise (kind if fits else RuntimeError)(found)

    try:
        return json.dumps([run_tests(load(tests), candidate), []])
    except Unanswered:
        return json.dumps(["", made])


def calibrate(loops: int) -> str:
    """CPU seconds of a fixed mix of what small programs do."""
    started = time.process_time()
    total, seen = 0, dict[int, str]()
    for i in range(loops):
        total = (total * 31 + i) % 1000003
        seen[total % 512] = str(i)[::-1]
        if not i % 64:
            total += len(sorted(seen.values())[:8]) + sum(x * x for x in range(32))
    return json.dumps(time.process_time() - started)
