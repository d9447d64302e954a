"""Figures of conversations, on attempts made by hand."""

from dataclasses import replace

import pytest

from plateau_bench.agents.base import Message, ToolCall
from plateau_bench.results.metrics.pass_table import pass_table
from plateau_bench.results.metrics.trajectories import trajectory_metrics
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome
from tests.results.attempts import attempt


def conversation(task: str, sample: int, *commands: str, passed: bool = True, broken: int = 0) -> Attempt:
    calls = [ToolCall(id=str(i), name="bash", arguments={"command": c}) for i, c in enumerate(commands)]
    messages = [Message(role="user", text="repair it")]
    for call in calls:
        messages += [Message(role="assistant", text="", tool_calls=(call,)), Message(role="tool", text="ok")]
    messages += [Message(role="assistant", text="?", malformed=("<call",))] * broken
    made = attempt(task, sample, Outcome.PASSED if passed else Outcome.FAILED)
    return replace(made, trajectory=replace(made.trajectory, messages=tuple(messages)))


def test_conversations_are_counted_and_told_apart() -> None:
    attempts = [
        conversation("a", 0, "ls", "cat x"),
        conversation("a", 1, "ls", "cat x"),
        conversation("a", 2, "ls", "cat y", passed=False),
        conversation("a", 3, "grep x", broken=2, passed=False),
        *(conversation("b", i, "ls", passed=i == 0) for i in range(4)),
    ]
    found = trajectory_metrics(attempts, pass_table(attempts), seed=0)
    values = {name: estimate and estimate.value for name, estimate in found.items()}
    assert values == pytest.approx(
        {
            "turns": (9 / 4 + 1) / 2,
            "tool_calls": (7 / 4 + 1) / 2,
            "malformed_turns": 2 / 13,
            "distinct_actions": (3 / 4 + 1 / 4) / 2,
            "distinct_actions_passed": 1 / 2,
            "distinct_kinds": (2 / 4 + 1 / 4) / 2,
        }
    )


def test_single_completions_have_none_of_it() -> None:
    attempts = [attempt("a", 0), attempt("a", 1)]
    assert trajectory_metrics(attempts, pass_table(attempts), seed=0) == {}
