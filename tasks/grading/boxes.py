"""A folder task's box, from its start to what is taken out of it."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TypeVar

from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxSpec
from plateau_bench.tasks.base import FolderTests, Healthcheck, PackageTests, Task
from plateau_bench.tasks.files import MAX_BYTES, files_below, inside

T = TypeVar("T")


def stages(task: Task) -> tuple[Task, ...]:
    """The steps of a task; of most tasks, the task itself."""
    return (isinstance(task.tests, FolderTests) and task.tests.steps) or (task,)


def folder_tests(task: Task) -> FolderTests:
    """The tests of a folder task, or of a step of one."""
    assert isinstance(task.tests, FolderTests)
    return task.tests


def tests_of(tests: FolderTests) -> dict[str, bytes]:
    """The test files as they are now."""
    shared = files_below(tests.shared_dir) if tests.shared_dir else {}
    return {**shared, **files_below(tests.tests_dir)}


def open_box(
    backend: Backend, spec: SandboxSpec, files: Mapping[str, bytes], healthcheck: Healthcheck | None = None
) -> Sandbox:
    """A box whose workspace holds `files` and that is well. Raises SandboxError."""
    box = backend.open(spec)
    try:
        put(box, files, "the task's files")
        await_health(box, healthcheck)
    except BaseException:
        box.close()
        raise
    return box


def open_for(task: Task, backend: Backend, spec: SandboxSpec) -> Sandbox:
    """A box as `spec` has it, in which work on the task begins. Raises SandboxError."""
    assert isinstance(task.tests, FolderTests | PackageTests)
    healthcheck = task.tests.healthcheck if isinstance(task.tests, FolderTests) else None
    return open_box(backend, spec, task.tests.files, healthcheck)


def write_files(box: Sandbox, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        box.write(path, data, mode=0o755 if path.endswith(".sh") else 0o644)


def put(box: Sandbox, files: Mapping[str, bytes], what: str) -> None:
    """`write_files` of what is the task's own, so that the box is to blame. Raises SandboxError."""
    try:
        write_files(box, files)
    except (OSError, ValueError) as error:
        raise SandboxError(f"the box did not take {what}: {error}") from error


def await_health(box: Sandbox, check: Healthcheck | None) -> None:
    """Raises SandboxError once it has failed `retries` times in a row after its grace period."""
    started, failures = time.monotonic(), 0
    while check is not None:
        early = time.monotonic() < started + check.start_s
        if box.run(check.command, timeout_s=check.timeout_s).exit_code == 0:
            return
        failures += not early
        if failures >= check.retries:
            raise SandboxError(f"the health check failed {failures} times: {check.command[:100]}")
        time.sleep(check.start_interval_s if early else check.interval_s)


def work_through(task: Task, box: Sandbox, act: Callable[[Task], T]) -> list[tuple[T, Diff]]:
    """`act` on every step in turn; with what it gave, all that has changed in the workspace since the start.

    Artifacts for a separate verifier are in the diff under their absolute paths. Raises SandboxError.
    """
    before = dict(box.snapshot())
    done = []
    for stage in stages(task):
        if stage is not task:
            step = folder_tests(stage)
            before |= {path: hashlib.sha256(data).hexdigest() for path, data in step.staged.items()}
            _begin(box, step)
        result = act(stage)
        diff = box.diff(before)
        done.append((result, replace(diff, written={**diff.written, **_artifacts(box, stage)})))
    return done


def _begin(box: Sandbox, step: FolderTests) -> None:
    put(box, step.staged, "the step's files")
    if "setup.sh" in step.staged:
        done = box.run(["bash", "setup.sh"], timeout_s=600)
        if done.exit_code != 0:
            raise SandboxError(f"workdir/setup.sh failed: {done.stderr.strip()[-200:]}")
    await_health(box, step.healthcheck)


def _artifacts(box: Sandbox, stage: Task) -> dict[str, bytes]:
    """What a separate verifier is given. All of it is what the agent, or who it left running, made of it."""
    verifier = stage.tests.verifier if isinstance(stage.tests, FolderTests) else None
    if verifier is None:
        return {}
    for command, seconds in verifier.collect:
        box.run(command, timeout_s=seconds)
    found: dict[str, bytes] = {}
    for source, exclude in verifier.artifacts.items():
        listed = box.run(["find", source, "-type", "f", "-print0"], timeout_s=60).stdout
        for path in filter(None, listed.split("\0")):
            room = MAX_BYTES - sum(map(len, found.values()))
            if covers(source, exclude, path) and room > 0:
                try:
                    found[path] = box.read(path, max_bytes=min(room, 10_000_000))
                except (OSError, ValueError):
                    continue
    return found


def covers(source: str, exclude: tuple[str, ...], path: str) -> bool:
    """Whether the artifact `source` holds the file at an absolute path."""
    if not inside(path, source):
        return False
    below = PurePosixPath(path).relative_to(source)
    names = (str(below), *below.parts)
    return not any(fnmatchcase(name, pattern) for name in names for pattern in exclude)
