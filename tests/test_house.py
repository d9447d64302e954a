"""The shape of the house: small files, small functions, imports that point one way and stand at the top."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sandbox", "tasks", "agents", "results", "harness")
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
FILE_LINES, FUNCTION_LINES, LAZY_SHARE = 400, 75, 0.08


def of_ours(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plateau_bench")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(ast.parse(text)) if f.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}


def test_own_imports_stand_at_the_top() -> None:
    """Inside a function they are for heavy libraries; a few spare a command's start."""
    trees = [ast.parse(file.read_text()) for file in FILES]
    everywhere = sum(of_ours(node) for tree in trees for node in ast.walk(tree))
    inside = {id(node) for tree in trees for f in functions(tree) for node in ast.walk(f) if of_ours(node)}
    assert len(inside) < LAZY_SHARE * everywhere


def test_no_import_circle() -> None:
    graph = grimp.build_graph("plateau_bench", include_external_packages=False)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_folder_says_what_lives_there() -> None:
    folders = {file.parent for file in FILES}
    silent = [
        str(folder.relative_to(ROOT))
        for folder in folders
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert silent == []
