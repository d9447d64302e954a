"""Finds a suite by its name: one that ships with plateau, a folder or file of tasks, or somebody's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from plateau_bench.plugins import load, names, nearest
from plateau_bench.tasks.formats.harbor import FolderSuite
from plateau_bench.tasks.formats.humaneval import PublishedSuite
from plateau_bench.tasks.formats.rows import IMPORTED, SUFFIXES
from plateau_bench.tasks.suite import Suite
from plateau_bench.tasks.suites import katas, repo_katas

OWN: Mapping[str, Suite] = {"katas": katas, "repo-katas": repo_katas}
_PARTS = [name for name in (*Suite.__annotations__, *vars(Suite)) if not name.startswith("_")]


def located(name: str) -> str:
    """The name of a suite so that it means the same from any folder: a path becomes absolute."""
    file, colon, part = name.partition(".py:")
    if name in OWN:
        return name
    if colon and Path(file + ".py").exists():
        return f"{Path(file + '.py').resolve()}:{part}"
    return str(Path(name).resolve()) if Path(name).exists() else name


def load_suite(name: str, network: Sequence[str] | None = None) -> Suite:
    """The suite called `name`: a built-in one, the tasks in a folder or file, or one written in Python.

    A folder holds Harbor task folders or imported rows; a file (.jsonl, .jsonl.gz, .json) holds rows of
    HumanEval, EvalPlus or MBPP. A suite in Python is the name of an entry point in the group
    `plateau_bench.suites`, a dotted path, or `file.py:Name`; what is found there is a `Suite`, or a class or
    function without parameters that makes one. `network`: hosts for the tasks in folders that ask for all of
    the internet; None refuses those. Raises ValueError if it is none of these, or if a task is malformed.
    """
    if name in OWN:
        return OWN[name]
    path = Path(name)
    if (path / IMPORTED).is_file():
        return PublishedSuite(path / IMPORTED, path.resolve().name)
    if path.is_dir():
        return FolderSuite(path, network)
    if path.is_file() and name.endswith(SUFFIXES):
        return PublishedSuite(path)
    known = names("suites", OWN)
    dotted = all(part.isidentifier() for part in name.split(".")) and not name.endswith(SUFFIXES)
    if name in known or ".py:" in name or (dotted and "." in name):
        return _checked(load("suites", name, OWN), name)
    raise ValueError(
        f"tasks.suite: {name!r} is neither a suite nor a folder of Harbor task folders nor a file of rows "
        f"({', '.join(SUFFIXES)}) nor the dotted path or file.py:Name of one{nearest(name, known)}"
    )


def _checked(part: object, name: str) -> Suite:
    suite = part() if callable(part) else part
    if missing := [part for part in _PARTS if not hasattr(suite, part)]:
        raise ValueError(
            f"tasks.suite: {name!r} lacks {', '.join(missing)}; plateau_bench.tasks.suite.Suite says what "
            "a suite has, and MadeSuite beside it has all but the tasks"
        )
    return suite  # type: ignore[return-value]
