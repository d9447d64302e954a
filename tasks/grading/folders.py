"""Grades folder tasks: what left an agent's box is put into a fresh one, and the task's tests run there.

Only a filtered diff reaches the grading box, which is new and offline, so nothing that an agent started,
seeded or linked is there. There are three kinds of tests: `values`, `pytest_tests` and `scripts`, from the
strongest to the weakest. More: docs/grading.md.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import PurePosixPath

from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxUnavailable
from plateau_bench.tasks.base import FolderTests, Outcome, Task, Verdict, Verifier
from plateau_bench.tasks.files import inside, tree_digest
from plateau_bench.tasks.grading.boxes import covers, folder_tests, open_box, stages, tests_of, write_files
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.expected_file import Expected, read_expected
from plateau_bench.tasks.grading.pytest_tests import grade_pytest
from plateau_bench.tasks.grading.scripts import grade_script
from plateau_bench.tasks.grading.sift import sift, tampering
from plateau_bench.tasks.grading.values import grade_values, read_cases

_TRIES = 3


def grade_stages(task: Task, diffs: Sequence[Diff], backend: Backend) -> Verdict:
    """Do what `grade_folder` does for what each step of a task left behind; most tasks are one step.

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
    kept, left = sift(task, own, _artifacts(task, own, diff), expected.own if expected else frozenset())
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
    """The artifacts by their absolute paths, for tests with a box of their own; for others the diff.

    Agents that work in a box leave all artifacts; start files are added to the answer of those that do not.
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


def _grade_once(
    task: Task,
    own: FolderTests,
    diff: Diff,
    tests: Mapping[str, bytes],
    expected: Expected | None,
    backend: Backend,
) -> Verdict:
    if task.tags.get("grading") == "values":
        name = task.tags.get("answer_file", "")
        source = diff.written.get(name, own.files.get(name, b"")).decode(errors="replace")
        return grade_values(source, read_cases(tests, own.tests_dir), backend)
    mounts: tuple[str, ...] = () if expected else ("/tests", "/logs")
    if (verifier := own.verifier) is None:
        spec = replace(task.box, network=own.network, services={}, mounts=mounts)
        box = open_box(backend, spec, own.files)
    else:
        tests = {} if verifier.bundled else tests
        mounts = tuple(mount for mount in mounts if tests or mount != "/tests")
        spec = replace(verifier.box, mounts=(*mounts, *_rooms(verifier, diff)))
        box = open_box(backend, spec, {}, verifier.healthcheck)
    with closing(box):
        if problem := _restore(box, diff):
            return graded(Outcome.FAILED, problem)
        if expected is None:
            return grade_script(box, own, tests)
        return grade_pytest(box, expected, tests, own.timeout_s)


def _rooms(verifier: Verifier, diff: Diff) -> list[str]:
    """Folders that a verifier's box needs because artifacts go where its user could not write."""
    rooms = set()
    for source in verifier.artifacts:
        place = str(PurePosixPath(source).parent) if source in diff.written else source
        free = any(inside(place, known) for known in (verifier.box.workdir, "/tmp", "/logs"))
        if not free and place != "/" and any(inside(path, place) for path in diff.written):
            rooms.add(place)
    return sorted(rooms)


def _restore(box: Sandbox, diff: Diff) -> str:
    """Repeat the agent's changes in the box; the answer is what the diff made go wrong, or ''."""
    try:
        if diff.deleted:
            box.run(["rm", "-f", "--", *diff.deleted])
        write_files(box, diff.written)
    except (OSError, ValueError) as error:
        return f"the diff does not apply: {error}"
    return ""
