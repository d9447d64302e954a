"""Level L3 of the ladder of program classes: what a program does on inputs that no test asks for.

Correct programs agree on the tests, so probes must lie outside of the specification: odd types, empty and
extreme values. There, programs that are the same idea tend to fail or answer alike, and others do not.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from plateau_bench.sandbox.base import Program, ProgramBox, ProgramResult

PROBES: tuple[tuple[Any, ...], ...] = (
    ([],),
    ([0],),
    ([-1, 0, 1],),
    ([5, 5, 5],),
    ([1000, -1000],),
    ([1.5, 2, -0.5],),
    ([True, False, 2],),
    (["b", "a", ""],),
    ([None],),
    ([[1], [2, 3]],),
    ("abba",),
    ({"b": 1, "a": 2},),
    (7,),
    (None,),
)
"""Arguments (JSON values) for functions of one list: at the edge of and outside of their specification.

None is so large that a reasonable program runs out of time on it, which would hide the other answers.
"""


def behaviour_keys(
    programs: Sequence[str],
    entry_point: str,
    box: ProgramBox,
    probes: Sequence[tuple[Any, ...]] = PROBES,
    *,
    cpu_s: float = 1.0,
) -> list[str]:
    """Key of each program's behavioural class: equal if all probes give the same value or error type.

    Every different program text runs once, in the box. A program that does not load is of the class of
    its status. Raises SandboxError if the box fails.
    """
    texts = list(dict.fromkeys(programs))
    calls = tuple(tuple(probe) for probe in probes)
    jobs = [Program(source=text, entry_point=entry_point, calls=calls, cpu_s=cpu_s) for text in texts]
    keys = {text: _key(result) for text, result in zip(texts, box.run(jobs), strict=True)}
    return [keys[text] for text in programs]


def _key(result: ProgramResult) -> str:
    # repr tells 1, 1.0, True and "1" apart.
    seen = [out.error or repr(out.value) for out in result.outputs or ()]
    return hashlib.sha256("\n".join([result.status, *seen]).encode("utf-8", "surrogatepass")).hexdigest()
