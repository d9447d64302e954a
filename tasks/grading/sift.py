"""Decides what of an agent's changes may reach the box in which the tests run."""

import configparser
import sys
import tomllib
from pathlib import PurePosixPath

from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import FolderTests, Task
from plateau_bench.tasks.files import inside

_STARTUP = ("sitecustomize.py", "usercustomize.py")
"""Run by every Python that starts, also the one that runs the tests; no honest solution needs them."""
_TEST_CONFIG = ("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
_CACHES = ("__pycache__", ".git", ".pytest_cache")
_TEST_MODULES = {"pytest", "_pytest", "pluggy", "py", "iniconfig", "nose", "tests", "conftest"}
_TEST_SECTIONS = {"tox.ini": ("pytest",), "setup.cfg": ("tool:pytest",), "pyproject.toml": ("pytest",)}


def tampering(path: str) -> bool:
    """True for paths that no honest diff holds: outside the workspace, or run by every Python start."""
    parts = PurePosixPath(path).parts
    outside = not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path
    return outside or parts[-1] in _STARTUP or path.endswith(".pth")


def steers_tests(path: str, content: bytes = b"") -> bool:
    """True for test files and for configuration that decides which tests run and how."""
    parts = PurePosixPath(path).parts
    if "tests" in parts[:-1] or path == "tests" or parts[-1] in _TEST_CONFIG:
        return True
    if path.endswith((".pyc", ".pyo")) or any(part in _CACHES or _installed(part) for part in parts):
        return True
    return parts[-1] in _TEST_SECTIONS and _has_section(parts[-1], content)


def _installed(part: str) -> bool:
    """True for package metadata, by which an installed package announces its plugins."""
    return part.endswith((".egg-info", ".dist-info")) or part == "entry_points.txt"


def _has_section(name: str, content: bytes) -> bool:
    try:
        text = content.decode()
        if name == "pyproject.toml":
            return "pytest" in tomllib.loads(text).get("tool", {})
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(text)
        return any(parser.has_section(section) for section in _TEST_SECTIONS[name])
    except (ValueError, TypeError, configparser.Error, RecursionError):
        return True  # what cannot be read cannot be cleared


def shadows(path: str) -> str:
    """The module that tests rely on and whose name one at the top of the workspace takes; "" for others."""
    parts = PurePosixPath(path).parts
    parts = parts[1:] if parts[:1] == ("src",) and len(parts) > 1 else parts
    name, _, suffix = parts[0].partition(".") if parts else ("", "", "")
    code = len(parts) > 1 or suffix in ("py", "so") or suffix.endswith(".so")
    return name if code and name in sys.stdlib_module_names | _TEST_MODULES else ""


def sift(task: Task, tests: FolderTests, diff: Diff, modules: frozenset[str]) -> tuple[Diff, list[str]]:
    """What of the diff reaches the grading box, and the paths that are left behind.

    `modules` are modules of the project that may be changed although they are named like one that tests rely
    on; so may the task's start files and the answer's.
    """
    own = {*tests.files, task.tags.get("answer_file", "")}
    wanted = tests.verifier.artifacts if tests.verifier else {}

    def stays(path: str, data: bytes = b"") -> bool:
        if path in wanted or (path.startswith("/") and not inside(path, task.box.workdir)):
            return False
        path = path.removeprefix(task.box.workdir + "/")
        return steers_tests(path, data) or (shadows(path) not in {"", *modules} and path not in own)

    left = [path for path, data in diff.written.items() if stays(path, data)]
    written = {path: data for path, data in diff.written.items() if path not in left}
    deleted = tuple(path for path in diff.deleted if not steers_tests(path))
    return Diff(written=written, deleted=deleted), [*left, *diff.refused]
