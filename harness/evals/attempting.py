"""The attempts of one agent of an evaluation: brought up to date, and the open ones made.

Every attempt is on the disk as soon as it is graded; a stopped evaluation goes on where it was.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from plateau_bench.agents.base import Agent, BudgetSpent
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import (
    BOXED_WAVE,
    WAVE,
    Grade,
    Plan,
    Recorded,
    Unfinished,
    as_they_come,
    roll_out,
    solve,
)
from plateau_bench.harness.content import grading, listed
from plateau_bench.harness.evals import ledger
from plateau_bench.harness.evals.agent_spec import AgentSpec, open_agent
from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.harness.evals.upkeep import Upkeep, of_budget, stale
from plateau_bench.results.attempt_log import AttemptLog, in_order, read_attempts
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore, hold
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task

if TYPE_CHECKING:
    from plateau_bench.agents.models.endpoint import Budget

Counted = Callable[[str, int, Sequence[Attempt]], None]
"""Called with (agent, attempts in all, attempts that are now recorded and were not before)."""


def evaluate_agent(
    folder: Path,
    what: Evaluation,
    spec: AgentSpec,
    tasks: Sequence[Task],
    backend: Backend,
    *,
    at_once: int,
    budget: "Budget | None",
    progress: Counted,
    retry: frozenset[str] = frozenset(),
    say: Callable[[str], None] = lambda line: None,
) -> list[Attempt]:
    """The attempts of one agent, in the order of tasks and samples; those on the disk are not made again.

    Fewer than planned come back where some are open: the same call makes them. `retry`: see `upkeep`. Raises
    ModelUnavailable when its model cannot be asked: nothing is lost.
    """
    store = EvalStore(folder)
    if not store.manifest.exists():
        what.save(folder)
    plan, log = what.plan(spec, tasks), store.attempts(spec.name)
    recorded = partial(_counting, progress, plan)
    forget_other_grades(store)
    with closing(Grader(backend, store.verdicts)) as grade, hold(store.lock(spec.name), str(log.parent)):
        by_id = {task.id: task for task in plan.tasks}
        known = Upkeep(store=store, spec=spec, tasks=by_id, retry=retry, say=say).bring_up_to_date(grade)
        ledger.remember(store, spec.name, tasks, known, new=not in_order(log))
        if spec.kind == "replay":
            _say_of_replay(spec, by_id, say)
        agent = open_agent(spec, plan, budget)
        make: Callable[..., None] = partial(as_they_come, say=say)
        if spec.is_local:  # weights in this process want batches
            make = roll_out if _begins(plan, log) else _fill
        try:
            make(plan, agent, grade, log, backend=backend, at_once=at_once, recorded=recorded)
        except (BudgetSpent, Unfinished) as error:  # the command says what is open, and ends with 1
            say(f"{spec.name}: {error}")
    return attempts_of(plan, log)


def attempts_of(plan: Plan, log: Path) -> list[Attempt]:
    """The recorded attempts that belong to a plan, in the order of tasks and samples."""
    there = {task.id: task.digest for task in plan.tasks}
    return [
        one
        for one in in_order(log)
        if there.get(one.task_id) == one.task_digest
        and one.sample < plan.samples
        and not of_budget(one.trajectory)
    ]


def forget_other_grades(store: EvalStore) -> None:
    """Remove remembered verdicts of other grading code than this."""
    agents = ledger.content(store.read_manifest()).get("agents", {})
    if any(code != grading() for one in agents.values() for code in one.get("grading", [])):
        for path in store.root.glob(f"{store.verdicts.name}*"):
            path.unlink(missing_ok=True)


def _counting(progress: Counted, plan: Plan, made: Sequence[Attempt]) -> None:
    there = {task.id for task in plan.tasks}
    mine = [one for one in made if one.task_id in there and one.sample < plan.samples]
    progress(plan.arm, len(plan.tasks) * plan.samples, mine)


def _begins(plan: Plan, log: Path) -> bool:
    """Whether a log is a beginning of the plan, made wave by wave; what was torn off is made again."""
    if not log.exists():
        return True
    order = ((task.id, sample) for task in plan.tasks for sample in range(plan.samples))
    known = [(one.task_id, one.sample) for one in read_attempts(log)]
    return known == [key for key, _ in zip(order, known, strict=False)]


def _fill(
    plan: Plan,
    agent: Agent,
    grade: Grade,
    log_path: Path,
    *,
    backend: Backend,
    at_once: int,
    recorded: Recorded,
) -> None:
    """Make the attempts that a log lacks anywhere, after more were asked for or some were taken out."""
    log, known = AttemptLog(log_path), in_order(log_path)
    recorded(known)
    there = {(one.task_id, one.sample) for one in known}
    todo = [(t, [s for s in range(plan.samples) if (t.id, s) not in there]) for t in plan.tasks]
    todo = [(task, samples) for task, samples in todo if samples]
    size = BOXED_WAVE if agent.needs_box else WAVE
    for start in range(0, len(todo), size):
        wave = todo[start : start + size]
        jobs = [(task, [plan.sampling_seed(task, sample) for sample in samples]) for task, samples in wave]
        solved = solve(agent, jobs, backend, at_once)
        made = [
            (task, sample, trajectory)
            for (task, samples), group in zip(wave, solved, strict=True)
            for sample, trajectory in zip(samples, group, strict=True)
        ]
        verdicts = grade([(task, trajectory) for task, _, trajectory in made])
        attempts = [plan.attempt(*one, verdict) for one, verdict in zip(made, verdicts, strict=True)]
        log.append(attempts)
        recorded(attempts)


def _say_of_replay(spec: AgentSpec, tasks: dict[str, Task], say: Callable[[str], None]) -> None:
    if spec.attempts and (old := stale(list(read_attempts(Path(spec.attempts))), tasks)):
        names = listed({one.task_id for one in old})
        say(f"{spec.name}: {names} changed since; the old answers are graded on the tasks as they are now")
