"""Test code read as cases, where it says nothing but "this call gives this value".

    assert candidate([1, 2], 3) == 5                a case
    assert abs(candidate(1.33) - 0.33) < 1e-6       a case with a tolerance
    for i in range(100): assert candidate(i) == ... not a case; such code runs, in a box of its own

Nothing is executed: values are literals and small arithmetic on numbers.
"""

import ast
import math
from collections.abc import Sequence
from typing import Any

from tasks.base import Case


def read_check(source: str, name: str = "check") -> tuple[str, tuple[Case, ...] | None]:
    """(parameter of the test function `name`, its cases; None if it holds more than cases).

    Raises ValueError if the source is not Python or does not define the function.
    """
    tree = parse(source)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found or not found[-1].args.args:
        raise ValueError(f"defines no {name}(candidate)")
    parameter = found[-1].args.args[0].arg
    return parameter, read_asserts(found[-1].body, parameter)


def parse(source: str) -> ast.Module:
    """The syntax tree. Raises ValueError."""
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
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    try:
        if isinstance(test.ops[0], ast.Eq | ast.Is):
            exact = isinstance(test.ops[0], ast.Is)
            return _called(test.left, function, value(test.comparators[0]), None if exact else 0.0)
        if isinstance(test.ops[0], ast.Lt):
            left, limit = test.left, value(test.comparators[0])
            named = isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.func.id == "abs"
            if named and isinstance(left, ast.Call) and len(left.args) == 1 and not left.keywords:
                inner = left.args[0]
                if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) and limit > 0:
                    return _called(inner.left, function, value(inner.right), float(limit))
    except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
        pass
    return None


def _called(node: ast.expr, function: str, expected: Any, tolerance: float | None) -> Case:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    if not isinstance(node, ast.Call) or not named or node.keywords:
        raise ValueError("not a call of the function under test")
    return Case(args=tuple(map(value, node.args)), expected=expected, tolerance=tolerance)


def value(node: ast.expr) -> Any:
    """A literal, with + - * / // % and ** of numbers. Raises ValueError or what the arithmetic raises."""
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


def _computed(left: Any, op: ast.operator, right: Any) -> Any:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case ast.Pow() if abs(right) <= 64:
            return left**right
    raise ValueError("not simple arithmetic")
