"""Attempts are made here, of runs and of evaluations: solve, grade, record.

There are two orders of work, with one plan, one rule for seeds and one kind of log. `roll_out` goes in waves,
for agents with local weights: one wave is one cohort whose model calls are batched together in a fixed
composition, so what is sampled depends on the plan alone; while a wave is graded, the next one is sampled. A
wave reaches the log whole or not at all, which makes a resumed run equal an uninterrupted one. `as_they_come`
begins an attempt whenever a place is free, for models that answer one request as well as many.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from plateau_bench.agents.base import Agent, BudgetSpent, Ending, ModelUnavailable, NotReached, Trajectory
from plateau_bench.agents.models.cohort import solve_many
from plateau_bench.harness.attempts.boxed import attempt_in_box, solve_in_boxes
from plateau_bench.harness.attempts.interrupts import interrupts, tell
from plateau_bench.harness.callbacks import Progress, quiet
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import AttemptLog, in_order
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task, Verdict

WAVE = 256
"""Prompts sampled together: a step of a small model costs nearly the same for few rows and for many."""
BOXED_WAVE = 64
"""The same for agents with boxes, whose waves take long: what a crash loses."""

Grade = Callable[[Sequence[tuple[Task, Trajectory]]], list[Verdict]]
Recorded = Callable[[Sequence[Attempt]], None]
"""Called with attempts that are in the log: first with those of an earlier process, then with new ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which attempts to make. Everything that is sampled follows from it and the weights."""

    arm: str
    """The arm of a run, or the agent of an evaluation."""
    seed: int
    round: int
    purpose: Purpose
    tasks: tuple[Task, ...]
    samples: int
    temperature: float | None
    """None where none is asked for."""

    def sampling_seed(self, task: Task, sample: int) -> int:
        """The seed of one attempt: fresh for every round, so that sampling noise is independent."""
        # The text of the purpose, because `derive` also depends on the type of its words.
        return derive(self.seed, self.arm, self.round, self.purpose.value, task.id, sample)

    def sampling_seeds(self, task: Task) -> list[int]:
        """The seeds of all attempts at one task."""
        return [self.sampling_seed(task, sample) for sample in range(self.samples)]

    def attempt(self, task: Task, sample: int, trajectory: Trajectory, verdict: Verdict) -> Attempt:
        """The record of one attempt."""
        return Attempt(
            arm=self.arm,
            seed=self.seed,
            round=self.round,
            split=task.split,
            task_id=task.id,
            task_digest=task.digest,
            stratum=task.stratum,
            cluster=task.cluster or task.id,
            sample=sample,
            temperature=self.temperature,
            trajectory=trajectory,
            verdict=verdict,
        )


def roll_out(
    plan: Plan,
    agent: Agent,
    grade: Grade,
    log_path: Path,
    progress: Progress = quiet,
    *,
    backend: Backend | None = None,
    at_once: int = 16,
    recorded: Recorded | None = None,
) -> None:
    """Make the attempts of `plan` that the log does not hold yet, wave by wave in the plan's order.

    An agent that needs boxes gets them from `backend`, at most `at_once` at a time. `progress` counts tasks.
    Raises SandboxError only if no box can be made at all; a broken attempt is an INFRA verdict. A model that
    is not reached leaves its whole wave open; what the agent raises then is raised after the waves before it
    are recorded. Raises ModelUnavailable, too, if every attempt of the first wave crashed without an answer.
    """
    size = BOXED_WAVE if agent.needs_box else WAVE
    waves = [plan.tasks[i : i + size] for i in range(0, len(plan.tasks), size)]
    log = AttemptLog(log_path, [len(wave) * plan.samples for wave in waves])
    if recorded:
        recorded(in_order(log_path))
    done = sum(len(wave) for wave in waves[: log.finished_waves])
    progress(plan.purpose, done, len(plan.tasks))
    with ThreadPoolExecutor(1, "grading") as grader:
        pending: Future[None] | None = None
        for wave in waves[log.finished_waves :]:
            groups = solve(agent, [(task, plan.sampling_seeds(task)) for task in wave], backend, at_once)
            if wave is waves[0]:
                _require_answers(groups)
            _wait(pending)
            pending = grader.submit(_grade_and_record, plan, wave, groups, grade, log, recorded)
            done += len(wave)
            progress(plan.purpose, done, len(plan.tasks))
        _wait(pending)


class Unfinished(RuntimeError):
    """The pass is over and some attempts are open: their model was not reached."""

    def __init__(self, open_: int, planned: int, why: str) -> None:
        """`open_` of `planned` attempts are open; `why` is the last of the reasons."""
        super().__init__(open_, planned, why)
        self.open, self.planned, self.why = open_, planned, why

    def __str__(self) -> str:
        return (
            f"{self.open} of {self.planned} attempts got no answer and are open; the same command makes them "
            f"({self.why})"
        )


def as_they_come(
    plan: Plan,
    agent: Agent,
    grade: Grade,
    log_path: Path,
    *,
    backend: Backend,
    at_once: int,
    recorded: Recorded,
    say: Callable[[str], None] = tell,
) -> None:
    """Make the attempts of `plan` that the log does not hold yet, `at_once` of them at the same time.

    All tasks have their first attempt before any has its second; the log is in the order in which attempts
    ended. What an attempt raises ends the pass after those under way have ended and are recorded, as does
    the first Ctrl-C; a second one leaves at once. Raises BudgetSpent when the next call might pass the budget
    of the whole evaluation, ModelUnavailable when no attempt can be made, and Unfinished at the end if some
    were not answered: all of them stay open, and the same call makes them.
    """
    log, known = AttemptLog(log_path), in_order(log_path)
    recorded(known)
    there = {(one.task_id, one.sample) for one in known}
    todo = ((t, s) for s in range(plan.samples) for t in plan.tasks if (t.id, s) not in there)
    planned, done = len(plan.tasks) * plan.samples, len(there)

    def make(task: Task, sample: int) -> Attempt:
        seed = plan.sampling_seed(task, sample)
        if agent.needs_box:
            trajectory = attempt_in_box(agent, backend, task, seed)
        else:
            (trajectory,) = agent.solve(task.instruction, [seed])
        return plan.attempt(task, sample, trajectory, grade([(task, trajectory)])[0])

    running: set[Future[Attempt]] = set()
    stop: BaseException | None = None
    missed: list[NotReached] = []
    with interrupts(lambda: say(_stopping(len(running)))) as interrupted:
        while True:
            places = 0 if stop or interrupted.is_set() else at_once - len(running)
            running |= {_begin(make, task, sample) for task, sample in islice(todo, places)}
            if not running:
                break
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            failed = [error for future in ended if (error := future.exception())]
            made = [future.result() for future in ended if not future.exception()]
            log.append(made)
            recorded(made)
            done += len(made)
            missed += [error for error in failed if isinstance(error, NotReached)]
            stop = stop or next((error for error in failed if not isinstance(error, NotReached)), None)
    if interrupted.is_set():
        raise KeyboardInterrupt
    if isinstance(stop, BudgetSpent):
        raise BudgetSpent(
            f"budget spent after {done} of {planned} attempts of {plan.arm}; "
            f"go on with a larger --max-usd or --max-tokens ({stop})"
        ) from stop
    if stop:
        raise stop
    if missed:
        raise Unfinished(len(missed), planned, str(missed[-1])) from missed[-1]


def _begin(make: Callable[[Task, int], Attempt], task: Task, sample: int) -> Future[Attempt]:
    """An attempt in a thread of its own: a pool's threads would be joined at exit, also after Ctrl-C."""
    future: Future[Attempt] = Future()

    def work() -> None:
        try:
            future.set_result(make(task, sample))
        except BaseException as error:  # carried to the caller's thread, whatever it is
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name=f"attempt-{task.id}-{sample}").start()
    return future


def _stopping(running: int) -> str:
    answers = "answer" if running == 1 else "answers"
    return f"stopping: waiting for {running} {answers}, Ctrl-C again to leave now"


def _require_answers(groups: Sequence[Sequence[Trajectory]]) -> None:
    """Raise ModelUnavailable if every attempt of the first wave crashed without a word of the model."""
    made = [trajectory for group in groups for trajectory in group]
    if made and all(one.ending is Ending.CRASHED and not one.completion_tokens for one in made):
        raise ModelUnavailable(
            f"all of the first {len(made)} attempts crashed before an answer, and none is recorded: "
            f"{made[0].error}"
        )


def _wait(pending: Future[None] | None) -> None:
    if pending:
        pending.result()


def solve(
    agent: Agent, jobs: Sequence[tuple[Task, Sequence[int]]], backend: Backend | None, at_once: int
) -> list[list[Trajectory]]:
    """One list of trajectories per (task, seeds), in order, made as one wave.

    Raises ValueError for an agent that needs boxes where no backend is given, NotReached if the model did not
    answer: the whole wave is open then.
    """
    if agent.needs_box and backend is None:
        raise ValueError(f"agent {agent.name!r} needs boxes, and no backend was given")
    try:
        if backend is not None and agent.needs_box:
            return solve_in_boxes(agent, backend, jobs, at_once=at_once)
        return solve_many(agent, [(task.instruction, seeds) for task, seeds in jobs], wave=WAVE)
    except NotReached as error:
        raise NotReached(
            f"{error}; the attempts of its wave are open: 'plateau resume' makes them"
        ) from error


def _grade_and_record(
    plan: Plan,
    wave: Sequence[Task],
    groups: Sequence[Sequence[Trajectory]],
    grade: Grade,
    log: AttemptLog,
    recorded: Recorded | None,
) -> None:
    made = [
        (task, sample, trajectory)
        for task, group in zip(wave, groups, strict=True)
        for sample, trajectory in enumerate(group)
    ]
    verdicts = grade([(task, trajectory) for task, _, trajectory in made])
    attempts = [plan.attempt(*one, verdict) for one, verdict in zip(made, verdicts, strict=True)]
    log.append(attempts)
    if recorded:
        recorded(attempts)
