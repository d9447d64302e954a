"""Waves, the attempt log and resuming, with an agent that answers from a script and trusted programs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from plateau_bench.agents.base import Trajectory
from plateau_bench.agents.scripted import ScriptedAgent
from plateau_bench.harness.attempts.rollout import WAVE, Plan
from plateau_bench.harness.attempts.rollout import roll_out as make
from plateau_bench.results.attempt_log import AttemptLog, read_attempts
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


def test_a_log_of_a_shorter_plan_is_not_taken_for_a_longer_one(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / "log", [2, 2])
    log.append([attempt("a", 1), attempt("a", 2)])
    assert AttemptLog(tmp_path / "log", [2, 2]).finished_waves == 1
    assert AttemptLog(tmp_path / "log", [3]).finished_waves == 0
    AttemptLog(tmp_path / "log", [1])
    assert list(read_attempts(tmp_path / "log")) == []
