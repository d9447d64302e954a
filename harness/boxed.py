"""Attempts of agents that work in boxes: a box of its own for each, several at once.

Like `agents.cohort.solve_many`, with boxes: the attempts of a wave form one cohort, so a local model sees
the same batches whatever the boxes' timing is.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from agents.base import Agent, Ending, Trajectory
from agents.cohort import Cohort
from sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxSpec, SandboxUnavailable
from sandbox.diffs import diff_to_text
from tasks.base import FolderTests, PackageTests, Task

TRIES = 3
OPENING = threading.Semaphore(4)
"""Boxes that are started at the same moment: more only queue up in the engine."""
_CACHES = {"__pycache__", ".pytest_cache"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one box is for."""

    instruction: str
    seed: int
    spec: SandboxSpec
    files: Mapping[str, bytes]


def start_files(task: Task) -> Mapping[str, bytes]:
    """The workspace that a task starts from. Raises ValueError for a task that is not done in a box."""
    if not isinstance(task.tests, FolderTests | PackageTests):
        raise ValueError(f"task {task.id} has no workspace; agents with a box need a suite of folders")
    return task.tests.files


def solve_in_boxes(
    agent: Agent, backend: Backend, jobs: Sequence[tuple[Task, Sequence[int]]], *, at_once: int
) -> list[list[Trajectory]]:
    """One list of trajectories per (task, seeds), in order; at most `at_once` boxes are open.

    A box that breaks is replaced and its attempt begun again; after TRIES the attempt ends INFRA. Raises
    SandboxUnavailable if this machine cannot make the boxes, and what an agent raises, after its wave.
    """
    work = [
        Work(instruction=task.instruction, seed=seed, spec=task.box, files=start_files(task))
        for task, seeds in jobs
        for seed in seeds
    ]
    solved = iter(
        [
            trajectory
            for start in range(0, len(work), at_once)
            for trajectory in _solve_wave(agent, backend, work[start : start + at_once])
        ]
    )
    return [[next(solved) for _ in seeds] for _, seeds in jobs]


def _solve_wave(agent: Agent, backend: Backend, wave: Sequence[Work]) -> list[Trajectory]:
    cohort = Cohort(range(len(wave)))
    results: list[Future[Trajectory]] = [Future() for _ in wave]

    def work(position: int) -> None:
        try:
            with cohort.member(position):
                solved = attempt_in_box(agent, backend, wave[position])
        except BaseException as error:  # carried to the caller's thread, whatever it is
            results[position].set_exception(error)
        else:
            results[position].set_result(solved)

    try:
        for position in range(len(wave)):
            threading.Thread(target=work, args=(position,), daemon=True, name=f"agent-{position}").start()
        cohort.serve()
        return [result.result() for result in results]
    except BaseException:
        cohort.close()
        raise


def attempt_in_box(agent: Agent, backend: Backend, work: Work) -> Trajectory:
    """One attempt in a box of its own. Raises SandboxUnavailable, and what the agent raises."""
    broken = ""
    for _ in range(TRIES):
        try:
            with OPENING:
                box = open_with(backend, _with_services(agent, work.spec), work.files)
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            broken = str(error)
            continue
        try:
            before = box.snapshot()
            (trajectory,) = agent.solve(work.instruction, [work.seed], [box])
            return replace(trajectory, answer=diff_to_text(_tidy(box.diff(before))), boxed=True)
        except SandboxError as error:
            broken = str(error)
        finally:
            box.close()
    return Trajectory(
        agent=agent.name,
        model="",
        seed=work.seed,
        answer="",
        ending=Ending.INFRA,
        error=f"the box broke {TRIES} times: {broken}"[:500],
        boxed=True,
    )


def _with_services(agent: Agent, spec: SandboxSpec) -> SandboxSpec:
    """The spec with what an agent wants on its box's loopback; new for every attempt."""
    services = getattr(agent, "services", None)
    return replace(spec, services={**spec.services, **services()}) if services else spec


def _tidy(diff: Diff) -> Diff:
    """Without what running Python leaves behind; it would not reach the tests anyway."""
    written = {path: data for path, data in diff.written.items() if not _CACHES & {*path.split("/")}}
    return replace(diff, written=written)


def open_with(backend: Backend, spec: SandboxSpec, files: Mapping[str, bytes]) -> Sandbox:
    """A box whose workspace holds `files`. Raises SandboxError."""
    box = backend.open(spec)
    try:
        for path, data in files.items():
            box.write(path, data, mode=0o755 if path.endswith(".sh") else 0o644)
    except (OSError, ValueError) as error:
        box.close()
        raise SandboxError(f"the box did not take the task's files: {error}") from error
    except BaseException:
        box.close()
        raise
    return box
