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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxUnavailable
from plateau_bench.tasks.base import FolderTests, Outcome, Task, Verdict, Verifier
from plateau_bench.tasks.files import inside, tree_digest
from plateau_bench.tasks.grading.boxes import covers, folder_tests, open_box, stages, tests_of, write_files
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.named_tests import Expected, grade_expected, read_expected
from plateau_bench.tasks.grading.values import grade_values, read_cases

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


def shadows(path: str) -> str:
    """The module that tests rely on and whose name one at the top of the workspace takes; "" for others."""
    parts = PurePosixPath(path).parts
    parts = parts[1:] if parts[:1] == ("src",) and len(parts) > 1 else parts
    name, _, suffix = parts[0].partition(".") if parts else ("", "", "")
    code = len(parts) > 1 or suffix in ("py", "so") or suffix.endswith(".so")
    return name if code and name in sys.stdlib_module_names | _TEST_MODULES else ""


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


def grade_stages(task: Task, diffs: Sequence[Diff], backend: Backend) -> Verdict:
    """`grade_folder` for what each step of a task left behind; of a task without steps, there is one.

    A task passes with all of its steps or, if its last step decides, with that one and all gates. A step
    that was not reached fails.
    """
    own, steps = folder_tests(task), stages(task)
    verdict = graded(Outcome.FAILED, "no step was reached")
    for number, step in enumerate(steps):
        if own.last_decides and not folder_tests(step).gate and step is not steps[-1]:
            continue
        name = f"step {step.id.rpartition('/')[2]}" if own.steps else "task"
        if number >= len(diffs):
            return graded(Outcome.FAILED, f"{name} was not reached")
        verdict = grade_folder(step, diffs[number], backend)
        if verdict.outcome is not Outcome.PASSED:
            return graded(verdict.outcome, f"{name}: {verdict.reason}") if own.steps else verdict
    return verdict


def grade_folder(task: Task, diff: Diff, backend: Backend) -> Verdict:
    """Run the task's tests on its start files plus `diff`, in a fresh box.

    Test files, test configuration, shadows of the standard library and links in the diff are left behind;
    start-up hooks and paths outside the workspace make it INVALID, as does evidence that the tests were
    tampered with. A box that breaks three times gives INFRA. Raises SandboxUnavailable if this machine
    cannot make the task's box, ValueError for a task that is not a folder, or has steps.
    """
    own = task.tests
    if not isinstance(own, FolderTests):
        raise ValueError(f"task {task.id} is function-level; only folder tasks can be graded here")
    if own.steps:
        raise ValueError(f"task {task.id} has steps, which are graded one by one")
    apart = own.verifier is not None
    hooks = [p for p in (*diff.written, *diff.deleted) if tampering(p.removeprefix("/") if apart else p)]
    if hooks:
        return graded(Outcome.INVALID, f"tampering: {hooks[0]!r}")
    tests = tests_of(own)
    if task.tags.get("tests_sha256", "") not in ("", tree_digest(tests)):
        return graded(Outcome.INFRA, f"{own.tests_dir} changed after the task was read")
    expected = read_expected(tests, own.tests_dir)
    kept, left = _sift(task, own, _artifacts(task, own, diff), expected.own if expected else frozenset())
    verdict = graded(Outcome.INFRA)
    for _ in range(_TRIES):
        try:
            verdict = _grade_once(task, own, kept, tests, expected, backend)
            break
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            verdict = graded(Outcome.INFRA, f"the grading box broke: {error}")
    if left and verdict.outcome is Outcome.FAILED:
        return graded(verdict.outcome, f"{verdict.reason}; left behind: {', '.join(map(repr, left))}")
    return verdict


def _artifacts(task: Task, tests: FolderTests, diff: Diff) -> Diff:
    """For a separate verifier, only the artifacts, by their absolute paths; else the diff.

    Who works in a box leaves all of them; to the answer of who does not, the start files are added.
    """
    if tests.verifier is None or task.tags.get("grading") == "values":
        return diff
    start = {path: data for path, data in tests.files.items() if path not in diff.deleted}
    found = {
        path if path.startswith("/") else f"{task.box.workdir}/{path}": data
        for path, data in {**start, **diff.written}.items()
    }
    chosen = tests.verifier.artifacts.items()
    given = {path: data for path, data in found.items() if any(covers(*one, path) for one in chosen)}
    return Diff(written=given, refused=diff.refused)


def _sift(task: Task, tests: FolderTests, diff: Diff, modules: frozenset[str]) -> tuple[Diff, list[str]]:
    """(what of the diff reaches the grading box, the paths that do not). `modules`: own odd ones."""
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


def _grade_once(
    task: Task,
    own: FolderTests,
    diff: Diff,
    tests: Mapping[str, bytes],
    expected: Expected | None,
    backend: Backend,
) -> Verdict:
    if task.tags.get("grading") == "values":
        cases, cpu_s = read_cases(tests, own.tests_dir)
        name = task.tags.get("answer_file", "")
        source = diff.written.get(name, own.files.get(name, b"")).decode(errors="replace")
        return grade_values(source, cases, cpu_s, backend)
    mounts: tuple[str, ...] = () if expected else ("/tests", "/logs")
    if (verifier := own.verifier) is None:
        spec = replace(task.box, network=own.network, services={}, mounts=mounts)
        box = open_box(backend, spec, own.files)
    else:
        tests = {} if verifier.bundled else tests
        mounts = tuple(mount for mount in mounts if tests or mount != "/tests")
        spec = replace(verifier.box, mounts=(*mounts, *_rooms(verifier, diff)))
        box = open_box(backend, spec, {}, verifier.healthcheck)
    try:
        if problem := _restore(box, diff):
            return graded(Outcome.FAILED, problem)
        if expected is None:
            return _grade_reward(box, own, tests)
        return grade_expected(box, expected, tests, own.timeout_s)
    finally:
        box.close()


def _rooms(verifier: Verifier, diff: Diff) -> list[str]:
    """Folders that a verifier's box needs because artifacts go where its user could not write."""
    rooms = set()
    for source in verifier.artifacts:
        place = str(PurePosixPath(source).parent) if source in diff.written else source
        free = any(inside(place, known) for known in (verifier.box.workdir, "/tmp", "/logs"))
        if not free and place != "/" and any(inside(path, place) for path in diff.written):
            rooms.add(place)
    return sorted(rooms)


def _grade_reward(box: Sandbox, own: FolderTests, tests: Mapping[str, bytes]) -> Verdict:
    """Run `tests/test.sh`, make sure that nothing outlived it, and read its reward."""
    try:
        write_files(box, {f"/tests/{path}": data for path, data in tests.items()})
        made = box.run(["mkdir", "-p", _LOGS])
    except OSError as error:
        return graded(Outcome.INFRA, f"the box did not take the task's tests: {error}")
    if made.exit_code != 0:
        return graded(Outcome.INFRA, f"no {_LOGS} in the box: {made.stderr.strip()}")
    settings = {key: value for key, value in _ENVIRONMENT.items() if key not in box.spec.env} | dict(own.env)
    command = ["env", *(f"{key}={value}" for key, value in settings.items()), "bash", "/tests/test.sh"]
    known = _processes(box) if box.spec.network else []  # who carries connections outlives everything
    done = box.run(command, timeout_s=own.timeout_s)
    if done.timed_out:
        return graded(Outcome.FAILED, f"tests/test.sh took longer than {own.timeout_s:g} s")
    if done.exit_code is None or done.exit_code > 128:
        return graded(Outcome.FAILED, f"tests/test.sh was killed (exit code {done.exit_code})")
    left = None if known is None else _processes(box)
    if left is None or known is None:
        return graded(Outcome.INVALID, "processes outlived tests/test.sh: they could not be listed")
    if names := [str(process[-1]) for process in left if process not in known]:
        return graded(Outcome.INVALID, f"processes outlived tests/test.sh: {' '.join(names)}")
    return _reward(box)


def _processes(box: Sandbox) -> list[list[object]] | None:
    """[id, start, name] of the processes of a box but its guest; None if they cannot be listed.

    Who rewrites a reward has to run after the tests.
    """
    listed = box.run(["python3", "-I", "-S", "-c", _LIST], timeout_s=30)
    try:
        return list(json.loads(listed.stdout)) if listed.exit_code == 0 else None
    except (ValueError, TypeError):
        return None


_LIST = """import json, os
found = []
for name in filter(str.isdigit, os.listdir("/proc") if os.getppid() == 1 else []):
    try:
        text = open(f"/proc/{name}/stat", "rb").read().decode(errors="replace")
    except OSError:
        continue
    words = text.rpartition(")")[2].split()
    if int(name) not in (1, os.getpid()) and words[0] not in "ZX":
        found.append([name, words[19], text.partition(" ")[2].rpartition(")")[0][1:]])
print(json.dumps(found))
"""


def _restore(box: Sandbox, diff: Diff) -> str:
    """Repeat the agent's changes; what went wrong, which is the diff's fault, or ''."""
    try:
        if diff.deleted:
            box.run(["rm", "-f", "--", *diff.deleted])
        write_files(box, diff.written)
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
            return graded(Outcome.INVALID, f"{name} is not a plain file")
    if len(found) != 1:
        return graded(
            Outcome.FAILED, "tests/test.sh wrote no reward file" if not found else "two reward files"
        )
    name, data = next(iter(found.items()))
    try:
        value = _lowest(json.loads(data)) if name == "reward.json" else float(data.decode().strip())
    except (ValueError, OverflowError, RecursionError):
        value = math.nan
    if not math.isfinite(value):
        return graded(Outcome.FAILED, f"{name} does not hold a number")
    if value < 1:
        return graded(Outcome.FAILED, f"reward {value:g}")
    return graded(Outcome.PASSED)


def _lowest(rewards: object) -> float:
    """`{"reward": 1.0, ...}` means its reward; without that key every number has to be at least 1."""
    if not isinstance(rewards, dict) or not rewards:
        raise ValueError("not a table of numbers")
    values = [rewards["reward"]] if "reward" in rewards else list(rewards.values())
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("not a number")
    return float(min(values)) if all(map(math.isfinite, values)) else math.nan
