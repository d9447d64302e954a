"""Attempts: solve, grade, record. The one place with concurrency.

Tasks are taken in waves. One wave is one cohort of agents whose model calls are batched together in a
fixed composition, so what is sampled depends on the plan alone; while a wave is graded, the next one is
sampled. A wave reaches the log whole or not at all, which makes a resumed run equal an uninterrupted one.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from plateau_bench.agents.base import Agent, Trajectory
from plateau_bench.agents.models.cohort import solve_many
from plateau_bench.harness.attempts.boxed import solve_in_boxes
from plateau_bench.harness.seeds import derive
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import AttemptLog, attempt_from_json, attempt_to_json
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task, Verdict

WAVE = 256
"""Prompts sampled together: a step of a small model costs nearly the same for few rows and for many."""
BOXED_WAVE = 64
"""The same for agents with boxes, whose waves take long: what a crash loses."""

Grade = Callable[[Sequence[tuple[Task, Trajectory]]], list[Verdict]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which attempts to make. Everything that is sampled follows from it and the weights."""

    arm: str
    seed: int
    round: int
    purpose: str
    """'practice' or 'evaluate': keeps their random numbers apart."""
    tasks: tuple[Task, ...]
    samples: int
    temperature: float

    def sampling_seeds(self, task: Task) -> list[int]:
        """Fresh for every round, so that sampling noise is independent between rounds."""
        return [
            derive(self.seed, self.arm, self.round, self.purpose, task.id, sample)
            for sample in range(self.samples)
        ]


def roll_out(
    plan: Plan,
    agent: Agent,
    grade: Grade,
    log_path: Path,
    progress: Progress = lambda done, total: None,
    *,
    backend: Backend | None = None,
    boxes: int = 16,
) -> list[Attempt]:
    """Make the attempts of `plan` that the log does not hold yet; return all of them in plan order.

    An agent that needs boxes gets them from `backend`, at most `boxes` at a time.
    Raises SandboxError only if no box can be made at all; a broken attempt is an INFRA verdict.
    """
    size = BOXED_WAVE if agent.needs_box else WAVE
    waves = [plan.tasks[i : i + size] for i in range(0, len(plan.tasks), size)]
    log = AttemptLog(log_path, [len(wave) * plan.samples for wave in waves])
    done = sum(len(wave) for wave in waves[: log.finished_waves])
    progress(done, len(plan.tasks))
    with ThreadPoolExecutor(1, "grading") as grader:
        pending: Future[None] | None = None
        for wave in waves[log.finished_waves :]:
            groups = _solve(agent, [(task, plan.sampling_seeds(task)) for task in wave], backend, boxes)
            _wait(pending)
            pending = grader.submit(_grade_and_record, plan, wave, groups, grade, log)
            done += len(wave)
            progress(done, len(plan.tasks))
        _wait(pending)
    return [attempt_from_json(row) for row in log.rows()]


def _wait(pending: Future[None] | None) -> None:
    if pending:
        pending.result()


def _solve(
    agent: Agent, jobs: Sequence[tuple[Task, Sequence[int]]], backend: Backend | None, boxes: int
) -> list[list[Trajectory]]:
    if not agent.needs_box:
        return solve_many(agent, [(task.instruction, seeds) for task, seeds in jobs], wave=WAVE)
    if backend is None:
        raise ValueError(f"agent {agent.name!r} needs boxes, and no backend was given")
    return solve_in_boxes(agent, backend, jobs, at_once=boxes)


def _grade_and_record(
    plan: Plan, wave: Sequence[Task], groups: Sequence[Sequence[Trajectory]], grade: Grade, log: AttemptLog
) -> None:
    pairs = [(task, trajectory) for task, group in zip(wave, groups, strict=True) for trajectory in group]
    verdicts = grade(pairs)
    log.append(
        [
            attempt_to_json(
                Attempt(
                    arm=plan.arm,
                    seed=plan.seed,
                    round=plan.round,
                    split=task.split,
                    task_id=task.id,
                    task_digest=task.digest,
                    stratum=task.stratum,
                    cluster=task.cluster or task.id,
                    sample=index % plan.samples,
                    temperature=plan.temperature,
                    trajectory=trajectory,
                    verdict=verdict,
                )
            )
            for index, ((task, trajectory), verdict) in enumerate(zip(pairs, verdicts, strict=True))
        ]
    )
