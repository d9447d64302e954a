"""Grading of folder tasks: what may leave an agent's box, and the tests in a fresh one.

Only a filtered diff reaches the grading box, so nothing that an agent started, seeded or linked is there.
Not closed here: code under test shares a user with `tests/test.sh` and could forge the reward while the
tests run.
"""

import configparser
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import PurePosixPath

from sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxUnavailable
from tasks.base import FolderTests, Outcome, Task, Verdict
from tasks.harbor import tests_of, tree_digest

_TRIES = 3
_LOGS = "/logs/verifier"
_STARTUP = ("sitecustomize.py", "usercustomize.py")
"""Run by every Python that starts, also the one that runs the tests; no honest solution needs them."""
_TEST_CONFIG = ("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
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
    return parts[-1] in _TEST_SECTIONS and _has_section(parts[-1], content)


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
    """Run `tests/test.sh` on the task's start files plus `diff`, in a fresh box.

    Passed means a reward of at least 1. Test files, test configuration and links in the diff are left
    behind; start-up hooks and paths outside the workspace make it INVALID. A box that breaks three times
    gives INFRA. Raises SandboxUnavailable if this machine cannot make the task's box, ValueError for a
    task that is not a folder.
    """
    if not isinstance(task.tests, FolderTests):
        raise ValueError(f"task {task.id} is function-level; only folder tasks can be graded here")
    hooks = [path for path in (*diff.written, *diff.deleted) if tampering(path)]
    if hooks:
        return Verdict(outcome=Outcome.INVALID, verified=False, reason=f"tampering: {hooks[0]!r}"[:200])
    tests = tests_of(task.tests)
    if task.tags.get("tests_sha256", "") not in ("", tree_digest(tests)):
        return _infra(f"{task.tests.tests_dir} changed after the task was read")
    left = [path for path, data in diff.written.items() if steers_tests(path, data)]
    kept = Diff(
        written={path: data for path, data in diff.written.items() if path not in left},
        deleted=tuple(path for path in diff.deleted if not steers_tests(path)),
    )
    verdict = _infra("")
    for _ in range(_TRIES):
        try:
            verdict = _grade_once(task, kept, tests, backend)
            break
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            verdict = _infra(f"the grading box broke: {error}")
    left += diff.refused
    if left and verdict.outcome is Outcome.FAILED:
        note = f"{verdict.reason}; left behind: {', '.join(map(repr, left))}"
        return Verdict(outcome=verdict.outcome, verified=verdict.verified, reason=note[:200])
    return verdict


def _infra(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.INFRA, verified=False, reason=reason[:200])


def _grade_once(task: Task, diff: Diff, tests: Mapping[str, bytes], backend: Backend) -> Verdict:
    assert isinstance(task.tests, FolderTests)
    box = backend.open(task.box)
    try:
        try:
            _write(box, task.tests.files)
            restored = _restore(box, diff)
            _write(box, {f"/tests/{path}": data for path, data in tests.items()})
            made = box.run(["mkdir", "-p", _LOGS])
        except OSError as error:
            return _infra(f"the box did not take the task's files: {error}")
        if made.exit_code != 0:
            return _infra(f"no {_LOGS} in the box: {made.stderr.strip()}")
        if restored:
            return _failed(restored)
        execution = box.run(["bash", "/tests/test.sh"], timeout_s=task.tests.timeout_s)
        if execution.timed_out:
            return _failed(f"tests/test.sh took longer than {task.tests.timeout_s:g} s")
        return _reward(box)
    finally:
        box.close()


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
        return f"the diff does not apply: {error}"[:200]
    return ""


def _failed(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.FAILED, verified=False, reason=reason)


def _reward(box: Sandbox) -> Verdict:
    """Exactly one reward file, holding a number; a missing or odd one is never a pass."""
    found: dict[str, bytes] = {}
    for name in ("reward.txt", "reward.json"):
        try:
            found[name] = box.read(f"{_LOGS}/{name}", max_bytes=65_536)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return Verdict(outcome=Outcome.INVALID, verified=False, reason=f"{name} is not a plain file")
    if len(found) != 1:
        return _failed("tests/test.sh wrote no reward file" if not found else "two reward files")
    name, data = next(iter(found.items()))
    try:
        value = _lowest(json.loads(data)) if name == "reward.json" else float(data.decode().strip())
    except (ValueError, OverflowError, RecursionError):
        value = math.nan
    if not math.isfinite(value):
        return _failed(f"{name} does not hold a number")
    if value < 1:
        return _failed(f"reward {value:g}")
    return Verdict(outcome=Outcome.PASSED, verified=True)


def _lowest(rewards: object) -> float:
    """`{"reward": 1.0, ...}` means its reward; without that key every number has to be at least 1."""
    if not isinstance(rewards, dict) or not rewards:
        raise ValueError("not a table of numbers")
    values = [rewards["reward"]] if "reward" in rewards else list(rewards.values())
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("not a number")
    return float(min(values)) if all(map(math.isfinite, values)) else math.nan
