"""Compares what a program answered with what it should have, on plain values, and words the verdict."""

import math
from typing import Any

from plateau_bench.sandbox.base import Output
from plateau_bench.tasks.base import Case, FunctionTests, Outcome, Verdict


def same(value: Any, expected: Any) -> bool:
    """Equality on exact types, recursively: True is not 1, (1,) is not [1], 1.0 is not 1; nan equals nan.

    >>> same([1, 2], [1, 2]), same([True], [1]), same(float("nan"), float("nan"))
    (True, False, True)
    """
    if type(value) is not type(expected):
        return False
    if isinstance(value, list | tuple):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(value, dict):
        if len(value) != len(expected):
            return False
        kinds = {(type(key), key): item for key, item in value.items()}
        return all(
            (type(key), key) in kinds and same(kinds[type(key), key], item) for key, item in expected.items()
        )
    if isinstance(value, float) and math.isnan(value):
        return math.isnan(expected)
    return bool(value == expected)


def alike(value: Any, expected: Any, tolerance: float) -> bool:
    """Equality as Python's `==` has it on plain data; nan equals nan, and numbers may differ a little.

    That is by `tolerance`, or by 1e-7 of the expected number if that is more; not at all if `tolerance` is 0.

    >>> alike([1.0, True], [1, 1], 0), alike((1,), [1], 0), alike(0.3000001, 0.3, 1e-6)
    (True, False, True)
    """
    if isinstance(expected, int | float) and isinstance(value, int | float):
        if value == expected or (value != value and expected != expected):
            return True
        try:
            return tolerance > 0 and math.isclose(value, expected, rel_tol=1e-7, abs_tol=tolerance)
        except OverflowError:  # an int beyond all floats
            return False
    if isinstance(expected, list | tuple):
        return (
            type(value) is type(expected)
            and len(value) == len(expected)
            and all(alike(one, other, tolerance) for one, other in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict) and isinstance(value, dict):
        return value.keys() == expected.keys() and all(
            alike(value[key], item, tolerance) for key, item in expected.items()
        )
    return bool(value == expected)


def named_cases(tests: FunctionTests) -> list[tuple[str, Case]]:
    """The cases in the order of their calls, each with what it is called in a reason."""
    visible = [(f"visible case {i}", case) for i, case in enumerate(tests.visible, 1)]
    return visible + [(f"hidden case {i}", case) for i, case in enumerate(tests.hidden, 1)]


def complaint(name: str, case: Case, output: Output) -> str:
    """What is wrong with one answer, as one line; "" if nothing is."""
    if output.error is not None:
        return line(f"{name}: raised", output.error)
    if case.tolerance is None:
        good = same(output.value, case.expected)
    else:
        good = alike(output.value, case.expected, case.tolerance)
    return "" if good else f"{name}: {_short(output.value)} != {_short(case.expected)}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # an int of too many digits, a list nested too deeply
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def line(head: str, detail: str) -> str:
    """One line without control characters: `detail` may be whatever a model wrote."""
    shown = _printable(detail, 120)
    return f"{head}: {shown}" if shown else head


def graded(outcome: Outcome, reason: str = "") -> Verdict:
    """The verdict of tests that are all of one set. Its reason is one line of at most 300 characters."""
    return Verdict(outcome=outcome, verified=outcome is Outcome.PASSED, reason=_printable(reason, 300))


def _printable(text: str, most: int) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:most].strip()
