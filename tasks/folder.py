"""Grading of folder tasks: what may leave an agent's box, and the tests in a fresh one.

Only a filtered diff reaches the grading box, which is new and offline, so nothing that an agent started,
seeded or linked is there. Three kinds of tests, from the strongest: `tests/cases.json` with
`grading = "values"` (answers compared here), `tests/expected.json` (named tests, see `expected`), and
`tests/test.sh`, which writes a reward that code running beside it can forge. More: docs/grading.md.
"""

import configparser
import json
import math
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxUnavailable
from tasks.base import FolderTests, Outcome, Task, Verdict
from tasks.expected import grade_expected, read_expected
from tasks.harbor import tests_of, tree_digest
from tasks.values import grade_values, read_cases

_TRIES = 3
_LOGS = "/logs/verifier"
_STARTUP = ("sitecustomize.py", "usercustomize.py")
"""Run by every Python that starts, also the one that runs the tests; no honest solution needs them."""
_TEST_CONFIG = ("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
_CACHES = ("__pycache__", ".git", ".pytest_cache")
_TEST_MODULES = {"pytest", "_pytest", "pluggy", "py", "iniconfig", "nose", "tests", "conftest"}
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPYCACHEPREFIX": "/nonexistent",
    "PYTHONNOUSERSITE": "1",
    "PYTEST_ADDOPTS": "-p no:cacheprovider",
}
"""Of `tests/test.sh`, unless the task sets them itself."""
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


def shadows(path: str) -> bool:
    """True for a module at the top of the workspace that takes the name of one that tests rely on."""
    parts = PurePosixPath(path).parts
    parts = parts[1:] if parts[:1] == ("src",) and len(parts) > 1 else parts
    name, _, suffix = parts[0].partition(".") if parts else ("", "", "")
    code = len(parts) > 1 or suffix in ("py", "so") or suffix.endswith(".so")
    return code and name in sys.stdlib_module_names | _TEST_MODULES


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


def grade_folder(task: Task, diff: Diff, backend: Backend) -> Verdict:
    """Run the task's tests on its start files plus `diff`, in a fresh box.

    Test files, test configuration, shadows of the standard library and links in the diff are left behind;
    start-up hooks and paths outside the workspace make it INVALID, as does evidence that the tests were
    tampered with. A box that breaks three times gives INFRA. Raises SandboxUnavailable if this machine
    cannot make the task's box, ValueError for a task that is not a folder.
    """
    if not isinstance(task.tests, FolderTests):
        raise ValueError(f"task {task.id} is function-level; only folder tasks can be graded here")
    hooks = [path for path in (*diff.written, *diff.deleted) if tampering(path)]
    if hooks:
        return _verdict(Outcome.INVALID, f"tampering: {hooks[0]!r}")
    tests = tests_of(task.tests)
    if task.tags.get("tests_sha256", "") not in ("", tree_digest(tests)):
        return _verdict(Outcome.INFRA, f"{task.tests.tests_dir} changed after the task was read")
    kept, left = _sift(task, task.tests, diff)
    verdict = _verdict(Outcome.INFRA, "")
    for _ in range(_TRIES):
        try:
            verdict = _grade_once(task, kept, tests, backend)
            break
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            verdict = _verdict(Outcome.INFRA, f"the grading box broke: {error}")
    if left and verdict.outcome is Outcome.FAILED:
        return _verdict(verdict.outcome, f"{verdict.reason}; left behind: {', '.join(map(repr, left))}")
    return verdict


def _sift(task: Task, tests: FolderTests, diff: Diff) -> tuple[Diff, list[str]]:
    """(what of the diff reaches the grading box, the paths that do not)."""
    own = {*tests.files, task.tags.get("answer_file", "")}

    def stays(path: str, data: bytes = b"") -> bool:
        return steers_tests(path, data) or (shadows(path) and path not in own)

    left = [path for path, data in diff.written.items() if stays(path, data)]
    written = {path: data for path, data in diff.written.items() if path not in left}
    deleted = tuple(path for path in diff.deleted if not steers_tests(path))
    return Diff(written=written, deleted=deleted), [*left, *diff.refused]


def _verdict(outcome: Outcome, reason: str = "") -> Verdict:
    """A verdict whose reason is one line for people: a model may have written what is in it."""
    line = "".join(char if char.isprintable() else " " for char in reason)[:300].strip()
    return Verdict(outcome=outcome, verified=outcome is Outcome.PASSED, reason=line)


def _grade_once(task: Task, diff: Diff, tests: Mapping[str, bytes], backend: Backend) -> Verdict:
    assert isinstance(task.tests, FolderTests)
    if task.tags.get("grading") == "values":
        cases, cpu_s = read_cases(tests, task.tests.tests_dir)
        name = task.tags.get("answer_file", "")
        source = diff.written.get(name, task.tests.files.get(name, b"")).decode(errors="replace")
        found = grade_values(source, cases, cpu_s, backend)
        return _verdict(found.outcome, found.reason)
    expected = read_expected(tests, task.tests.tests_dir)
    mounts = () if expected else ("/tests", "/logs")
    box = backend.open(replace(task.box, network=(), services={}, mounts=mounts))
    try:
        try:
            _write(box, task.tests.files)
        except OSError as error:
            return _verdict(Outcome.INFRA, f"the box did not take the task's files: {error}")
        if problem := _restore(box, diff):
            return _verdict(Outcome.FAILED, problem)
        if expected is None:
            return _grade_reward(box, task, tests)
        found = grade_expected(box, expected, tests, task.tests.timeout_s)
        return _verdict(found.outcome, found.reason)
    finally:
        box.close()


def _grade_reward(box: Sandbox, task: Task, tests: Mapping[str, bytes]) -> Verdict:
    """Run `tests/test.sh`, make sure that nothing outlived it, and read its reward."""
    assert isinstance(task.tests, FolderTests)
    try:
        _write(box, {f"/tests/{path}": data for path, data in tests.items()})
        made = box.run(["mkdir", "-p", _LOGS])
    except OSError as error:
        return _verdict(Outcome.INFRA, f"the box did not take the task's tests: {error}")
    if made.exit_code != 0:
        return _verdict(Outcome.INFRA, f"no {_LOGS} in the box: {made.stderr.strip()}")
    settings = [f"{key}={value}" for key, value in _ENVIRONMENT.items() if key not in task.box.env]
    done = box.run(["env", *settings, "bash", "/tests/test.sh"], timeout_s=task.tests.timeout_s)
    if done.timed_out:
        return _verdict(Outcome.FAILED, f"tests/test.sh took longer than {task.tests.timeout_s:g} s")
    if done.exit_code is None or done.exit_code > 128:
        return _verdict(Outcome.FAILED, f"tests/test.sh was killed (exit code {done.exit_code})")
    survivors = box.run(["python3", "-I", "-S", "-c", _SURVIVORS], timeout_s=30)
    if survivors.exit_code != 0 or survivors.stdout.strip():
        names = survivors.stdout.strip() or "they could not be listed"
        return _verdict(Outcome.INVALID, f"processes outlived tests/test.sh: {names}")
    return _reward(box)


_SURVIVORS = """import os
for name in filter(str.isdigit, os.listdir("/proc") if os.getppid() == 1 else []):
    try:
        text = open(f"/proc/{name}/stat", "rb").read().decode(errors="replace")
    except OSError:
        continue
    state = text.rpartition(")")[2].split()[0]
    if int(name) not in (1, os.getpid()) and state not in "ZX":
        print(text.partition(" ")[2].rpartition(")")[0][1:], end=" ")
"""
"""Lists the processes of a box but its guest and itself. Who rewrites a reward has to run after the tests."""


def _write(box: Sandbox, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        box.write(path, data, mode=0o755 if path.endswith(".sh") else 0o644)


def _restore(box: Sandbox, diff: Diff) -> str:
    """Repeat the agent's changes; what went wrong, which is the diff's fault, or ''."""
    try:
        if diff.deleted:
            box.run(["rm", "-f", "--", *diff.deleted])
        _write(box, diff.written)
    except (OSError, ValueError) as error:
        return f"the diff does not apply: {error}"
    return ""


def _reward(box: Sandbox) -> Verdict:
    """Exactly one reward file, holding a number; a missing or odd one is never a pass."""
    found: dict[str, bytes] = {}
    for name in ("reward.txt", "reward.json"):
        try:
            found[name] = box.read(f"{_LOGS}/{name}", max_bytes=65_536)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return _verdict(Outcome.INVALID, f"{name} is not a plain file")
    if len(found) != 1:
        return _verdict(
            Outcome.FAILED, "tests/test.sh wrote no reward file" if not found else "two reward files"
        )
    name, data = next(iter(found.items()))
    try:
        value = _lowest(json.loads(data)) if name == "reward.json" else float(data.decode().strip())
    except (ValueError, OverflowError, RecursionError):
        value = math.nan
    if not math.isfinite(value):
        return _verdict(Outcome.FAILED, f"{name} does not hold a number")
    if value < 1:
        return _verdict(Outcome.FAILED, f"reward {value:g}")
    return _verdict(Outcome.PASSED)


def _lowest(rewards: object) -> float:
    """`{"reward": 1.0, ...}` means its reward; without that key every number has to be at least 1."""
    if not isinstance(rewards, dict) or not rewards:
        raise ValueError("not a table of numbers")
    values = [rewards["reward"]] if "reward" in rewards else list(rewards.values())
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("not a number")
    return float(min(values)) if all(map(math.isfinite, values)) else math.nan
