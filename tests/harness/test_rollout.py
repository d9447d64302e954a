"""Waves, the attempt log and resuming, with an agent that answers from a script and trusted programs."""

import dataclasses
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.base import BudgetSpent, Ending, ModelUnavailable, NotReached, Trajectory
from plateau_bench.agents.scripted import ScriptedAgent
from plateau_bench.harness.attempts.rollout import WAVE, Plan, Unfinished, as_they_come
from plateau_bench.harness.attempts.rollout import roll_out as make
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import AttemptLog, in_order, read_attempts
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.tasks.base import Outcome, Task, Verdict
from plateau_bench.tasks.grading.functions import FunctionGrader
from plateau_bench.tasks.suites import katas
from tests.results.attempts import attempt
from tests.tasks.local_backend import LocalBackend

TASKS = katas.train_tasks(5, WAVE + 10)
SOLUTIONS = {task.instruction: [task.solution, "def f(a):\n return None\n"] for task in TASKS}


def plan(tasks: Sequence[Task] = TASKS) -> Plan:
    return Plan(
        arm="replace",
        seed=1,
        round=2,
        purpose=Purpose.PRACTISE,
        tasks=tuple(tasks),
        samples=2,
        temperature=0.8,
    )


def roll_out(plan: Plan, agent: ScriptedAgent, grade: "Counting", log: Path) -> list[Attempt]:
    make(plan, agent, grade, log)
    return list(read_attempts(log))


class Counting:
    """Grades like the real grader and remembers what it was asked."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.functions = FunctionGrader(LocalBackend())
        self.asked: list[str] = []
        self.fail_after = fail_after

    def __call__(self, pairs: Sequence[tuple[Task, Trajectory]]) -> list[Verdict]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += [task.id for task, _ in pairs]
        return self.functions.grade([(task, trajectory.answer) for task, trajectory in pairs])


def facts(attempts: Sequence[Attempt]) -> list[tuple[str, int, Outcome, int]]:
    return [(a.task_id, a.sample, a.verdict.outcome, a.trajectory.seed) for a in attempts]


def test_attempts_come_in_plan_order_with_their_verdicts(tmp_path: Path) -> None:
    attempts = roll_out(plan(), ScriptedAgent(SOLUTIONS), Counting(), tmp_path / "log.jsonl")
    assert [(a.task_id, a.sample) for a in attempts] == [(t.id, s) for t in TASKS for s in (0, 1)]
    assert {a.verdict.outcome for a in attempts if a.sample == 0} == {Outcome.PASSED}
    assert {a.verdict.outcome for a in attempts if a.sample == 1} == {Outcome.FAILED}


def test_a_stopped_rollout_repeats_no_finished_wave(tmp_path: Path) -> None:
    whole = roll_out(plan(), ScriptedAgent(SOLUTIONS), Counting(), tmp_path / "whole.jsonl")
    log = tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        roll_out(plan(), ScriptedAgent(SOLUTIONS), Counting(fail_after=2 * WAVE), log)
    again = Counting()
    attempts = roll_out(plan(), ScriptedAgent(SOLUTIONS), again, log)
    assert again.asked == [task.id for task in TASKS[WAVE:] for _ in range(2)]
    assert facts(attempts) == facts(whole)


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_torn_log_is_cut_at_the_last_whole_wave(tmp_path: Path, cut: int) -> None:
    log = tmp_path / "log.jsonl"
    whole = roll_out(plan(), ScriptedAgent(SOLUTIONS), Counting(), log)
    data = log.read_bytes()
    log.write_bytes(data[:-cut])
    again = Counting()
    assert facts(roll_out(plan(), ScriptedAgent(SOLUTIONS), again, log)) == facts(whole)
    assert set(again.asked) == {task.id for task in TASKS[WAVE:]}


def test_sampling_seeds_differ_between_rounds_samples_tasks_and_purposes() -> None:
    one = plan()
    others = [
        Plan(arm="replace", seed=1, round=3, purpose=Purpose.PRACTISE, tasks=TASKS, samples=2, temperature=1),
        Plan(arm="replace", seed=1, round=2, purpose=Purpose.EVALUATE, tasks=TASKS, samples=2, temperature=1),
        Plan(
            arm="no_train", seed=1, round=2, purpose=Purpose.PRACTISE, tasks=TASKS, samples=2, temperature=1
        ),
    ]
    seeds = [s for p in (one, *others) for task in TASKS[:5] for s in p.sampling_seeds(task)]
    assert len(set(seeds)) == len(seeds)


def test_the_seeds_of_runs_never_change() -> None:
    """They decide what is sampled, so a run that was begun with an older version goes on as it would have."""
    assert [plan().sampling_seed(TASKS[0], sample) for sample in (0, 1)] == [
        derive(1, "replace", 2, "practise", TASKS[0].id, sample) for sample in (0, 1)
    ]
    assert derive(1, "replace", 2, "practise", "a", 0) == 7049483395516928016


class Erring(ScriptedAgent):
    """Is slow at all tasks but the first, and fails at the last."""

    def solve(self, instruction: str, seeds: Sequence[int], boxes: Any = ()) -> list[Trajectory]:
        if instruction == TASKS[0].instruction:
            return super().solve(instruction, seeds)
        time.sleep(0.1)
        if instruction == TASKS[2].instruction:
            raise ModelUnavailable("gone")
        return super().solve(instruction, seeds)


def test_an_attempt_that_ended_beside_one_that_failed_is_kept(tmp_path: Path) -> None:
    few, log = dataclasses.replace(plan(TASKS[:3]), samples=1), tmp_path / "log.jsonl"
    seen: list[list[str]] = []

    def freely(agent: ScriptedAgent) -> None:
        def recorded(new: Sequence[Attempt]) -> None:
            seen.append([one.task_id for one in new])
            time.sleep(0.5 if new and not seen[0] else 0)  # the other two end meanwhile

        as_they_come(few, agent, Counting(), log, backend=LocalBackend(), at_once=3, recorded=recorded)

    with pytest.raises(ModelUnavailable):
        freely(Erring(SOLUTIONS))
    assert seen == [[], [TASKS[0].id], [TASKS[1].id]]
    seen.clear()
    freely(ScriptedAgent(SOLUTIONS))
    assert seen == [sorted([TASKS[0].id, TASKS[1].id]), [TASKS[2].id]]
    waves = roll_out(few, ScriptedAgent(SOLUTIONS), Counting(), tmp_path / "waves.jsonl")
    assert in_order(log) == sorted(waves, key=lambda one: one.task_id), "one rule for seeds, one record"


class Fails(ScriptedAgent):
    """Raises `error` at every task from the third on."""

    error: BaseException = NotReached("busy")

    def solve(self, instruction: str, seeds: Sequence[int], boxes: Any = ()) -> list[Trajectory]:
        if instruction in [task.instruction for task in TASKS[2:6]]:
            raise self.error
        return super().solve(instruction, seeds)


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (NotReached("busy"), Unfinished, r"^8 of 12 attempts got no answer and are open; .*\(busy\)"),
        (BudgetSpent("gone"), BudgetSpent, "budget spent after [23] of 12 attempts of replace; .*--max-usd"),
        (ModelUnavailable("401"), ModelUnavailable, "401"),
    ],
)
def test_attempts_without_an_answer_stay_open(
    tmp_path: Path, error: BaseException, raised: type[BaseException], said: str
) -> None:
    log = tmp_path / "log.jsonl"

    def freely(agent: ScriptedAgent) -> list[tuple[str, int]]:
        as_they_come(
            plan(TASKS[:6]), agent, Counting(), log,
            backend=LocalBackend(), at_once=2, recorded=lambda new: None,
        )  # fmt: skip
        return [(one.task_id, one.sample) for one in in_order(log)]

    agent = Fails(SOLUTIONS)
    agent.error = error
    with pytest.raises(raised, match=said):
        freely(agent)
    kept = in_order(log)
    assert {one.task_id for one in kept} <= {task.id for task in TASKS[:2]}
    whole = [(task.id, sample) for task in TASKS[:6] for sample in (0, 1)]
    assert freely(ScriptedAgent(SOLUTIONS)) == sorted(whole), "the same call makes them, once"


def test_a_wave_without_an_answer_stays_open(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(NotReached, match="busy"):
        roll_out(plan(TASKS[:6]), Fails(SOLUTIONS), Counting(), log)
    assert in_order(log) == []
    assert len(roll_out(plan(TASKS[:6]), ScriptedAgent(SOLUTIONS), Counting(), log)) == 12


def test_a_first_wave_without_a_single_answer_is_no_measurement(tmp_path: Path) -> None:
    class Broken(ScriptedAgent):
        def solve(self, instruction: str, seeds: Sequence[int], boxes: Any = ()) -> list[Trajectory]:
            return [
                dataclasses.replace(one, ending=Ending.CRASHED, error="TypeError: x", completion_tokens=0)
                for one in super().solve(instruction, seeds)
            ]

    with pytest.raises(ModelUnavailable, match="all of the first 12 attempts crashed.*TypeError: x"):
        roll_out(plan(TASKS[:6]), Broken(SOLUTIONS), Counting(), tmp_path / "log.jsonl")
    assert in_order(tmp_path / "log.jsonl") == []


def test_the_first_interrupt_waits_for_answers_and_the_second_does_not(tmp_path: Path) -> None:
    said: list[str] = []
    main = threading.get_ident()

    class Slow(ScriptedAgent):
        def solve(self, instruction: str, seeds: Sequence[int], boxes: Any = ()) -> list[Trajectory]:
            time.sleep(0.5)
            return super().solve(instruction, seeds)

    def freely(log: Path, presses: int) -> None:
        for press in range(presses):
            threading.Timer(0.2 + 0.1 * press, signal.pthread_kill, [main, signal.SIGINT]).start()
        as_they_come(
            plan(TASKS[:6]), Slow(SOLUTIONS), Counting(), log,
            backend=LocalBackend(), at_once=3, recorded=lambda new: None, say=said.append,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        freely(tmp_path / "once", 1)
    assert len(in_order(tmp_path / "once")) == 3
    assert said == ["stopping: waiting for 3 answers, Ctrl-C again to leave now"]
    with pytest.raises(KeyboardInterrupt):
        freely(tmp_path / "twice", 2)
    assert in_order(tmp_path / "twice") == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_log_of_a_shorter_plan_is_not_taken_for_a_longer_one(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "log", [2, 2])
    log.append([attempt("a", 1), attempt("a", 2)])
    assert AttemptLog(tmp_path / "log", [2, 2]).finished_waves == 1
    assert AttemptLog(tmp_path / "log", [3]).finished_waves == 0
    AttemptLog(tmp_path / "log", [1])
    assert list(read_attempts(tmp_path / "log")) == []
