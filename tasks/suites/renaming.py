"""Other names for a function and its parameters, in a program's text and nowhere else in it."""

import ast
import re
from collections.abc import Mapping


def rename(program: str, function: str, names: Mapping[str, str]) -> str | None:
    """The program with `names` exchanged: the function's everywhere, the others within it.

    Attributes, keyword arguments and strings stay, except for calls of the function in a docstring. None if
    the program is not Python, uses a new name already, or hides a name where positions do not tell it (in an
    f-string).
    """
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if _used(tree) & set(names.values()):
        return None
    places: dict[tuple[int, int], str] = {}
    inside = {node for top in tree.body if _is(top, function) for node in ast.walk(top)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) if name in names and (
                node in inside or name == function
            ):
                places[node.lineno, node.col_offset] = name
            case ast.keyword(arg=name) if (
                name in names and name != function and _calls_itself(tree, function)
            ):
                return None
    lines = [line.encode() for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n|\Z)", program)]
    for (row, column), name in sorted(places.items(), reverse=True):
        line, old = lines[row - 1], name.encode()
        if line[column : column + len(old)] != old:
            return None
        lines[row - 1] = line[:column] + names[name].encode() + line[column + len(old) :]
    text = b"".join(lines).decode()
    called = re.escape(function)
    text = re.sub(rf"(^[ \t]*def[ \t]+){called}\b", rf"\g<1>{names[function]}", text, flags=re.MULTILINE)
    return re.sub(rf"(?<![\w.]){called}(?=\()", names[function], text)


def _is(node: ast.stmt, function: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == function


def _used(tree: ast.Module) -> set[str]:
    fields = ("id", "arg", "name", "attr")
    return {
        value for node in ast.walk(tree) for f in fields if isinstance(value := getattr(node, f, None), str)
    }


def _calls_itself(tree: ast.Module, function: str) -> bool:
    """Whether the function is called with keywords, which are names of its parameters."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function
        and node.keywords
        for node in ast.walk(tree)
    )
