"""Test code read as cases, where it says nothing but "this call gives this value".

    assert candidate([1, 2], 3) == 5                a case
    assert abs(candidate(1.33) - 0.33) < 1e-6       a case with a tolerance
    for i in range(100): assert candidate(i) == ... not a case; such code runs, in a box of its own

Nothing is executed: values are literals and small arithmetic on numbers.
"""

import ast
import math
import operator
from collections.abc import Sequence
from typing import Any

from plateau_bench.tasks.base import Case


def read_check(source: str) -> tuple[Case, ...] | None:
    """The cases in `check(candidate)`; None if it holds more than cases.

    Raises ValueError if the source is not Python or does not define the function.
    """
    tree = parse(source)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not found or not found[-1].args.args:
        raise ValueError("defines no check(candidate)")
    return read_asserts(found[-1].body, found[-1].args.args[0].arg)


def parse(source: str) -> ast.Module:
    """The syntax tree of a program. Raises ValueError if it is not Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"is not Python ({error})") from None


def read_asserts(statements: Sequence[ast.stmt], function: str) -> tuple[Case, ...] | None:
    """The cases in a row of asserts about `function`; None if some statement is anything else."""
    cases = []
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if not isinstance(statement, ast.Assert):
            return None
        if isinstance(statement.test, ast.Constant) and statement.test.value is True:
            continue
        case = _case(statement.test, function)
        if case is None:
            return None
        cases.append(case)
    return tuple(cases) or None


def _case(test: ast.expr, function: str) -> Case | None:
    try:
        match test:
            case ast.Compare(left=call, ops=[ast.Eq() | ast.Is() as op], comparators=[right]):
                return _called(call, function, value(right), 0.0 if isinstance(op, ast.Eq) else None)
            case ast.Compare(
                left=ast.Call(
                    func=ast.Name(id="abs"),
                    args=[ast.BinOp(left=call, op=ast.Sub(), right=right)],
                    keywords=[],
                ),
                ops=[ast.Lt()],
                comparators=[limit],
            ) if (within := value(limit)) > 0:
                return _called(call, function, value(right), float(within))
    except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
        pass
    return None


def _called(node: ast.expr, function: str, expected: Any, tolerance: float | None) -> Case:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name == function:
            return Case(args=tuple(map(value, args)), expected=expected, tolerance=tolerance)
    raise ValueError("not a call of the function under test")


def value(node: ast.expr) -> Any:
    """The value of a literal, with + - * / // % and ** of numbers. Raises ValueError or ArithmeticError."""
    match node:
        case ast.Constant(value=constant) if constant is not ...:
            return constant
        case ast.List(elts=items):
            return [value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(value(item) for item in items)
        case ast.Set(elts=items):
            return {value(item) for item in items}
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {value(key): value(item) for key, item in zip(keys, values, strict=True) if key}
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_number(inner, math.inf)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return +_number(inner)
        case ast.BinOp(
            left=ast.Constant() | ast.BinOp() as left, op=ast.Add(), right=ast.Constant(value=str(end))
        ):
            start = value(left)
            if isinstance(start, str):
                return start + end
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(_number(left), op, _number(right))
    raise ValueError("not a literal")


def _number(node: ast.expr, limit: float = 1e12) -> Any:
    found = value(node)
    if type(found) not in (int, float, complex) or abs(found) > limit:
        raise ValueError("not a small number")
    return found


_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _computed(left: Any, op: ast.operator, right: Any) -> Any:
    if type(op) not in _ARITHMETIC or (isinstance(op, ast.Pow) and abs(right) > 64):
        raise ValueError("not simple arithmetic")
    return _ARITHMETIC[type(op)](left, right)
