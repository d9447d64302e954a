"""What conversations tell beyond their outcome: how long they are, and how many ways of working there are."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from plateau_bench.agents.base import Message, ToolCall
from plateau_bench.results.metrics.estimators import Floats, Values, ratio_interval
from plateau_bench.results.metrics.metric import RATE, UNBOUNDED, Metric, Population, RoundData
from plateau_bench.results.metrics.pass_table import PassTable
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome


def trajectory_metrics(attempts: Sequence[Attempt], table: PassTable, *, seed: int) -> Values:
    """The values of `METRICS`; none if no attempt took several turns or had tools."""
    if not any(a.trajectory.tools or a.trajectory.boxed or len(_answers(a)) > 1 for a in attempts):
        return {}
    groups: dict[str, list[Attempt]] = {task: [] for task in table.task_ids}
    for attempt in attempts:
        groups[attempt.task_id].append(attempt)
    rows = list(groups.values())
    passed = [[a for a in row if a.verdict.outcome is Outcome.PASSED] for row in rows]
    answers = [[message for attempt in row for message in _answers(attempt)] for row in rows]
    turns = np.array([float(len(said)) for said in answers])
    calls = np.array([float(sum(len(actions(a)) for a in row)) for row in rows])
    broken = np.array([float(sum(not m.tool_calls for m in said)) for said in answers])
    return {
        "turns": table.mean(turns / table.n, seed, UNBOUNDED),
        "tool_calls": table.mean(calls / table.n, seed, UNBOUNDED),
        "malformed_turns": ratio_interval(broken, turns, table.clusters, seed=seed, bounds=(0.0, 1.0)),
        "distinct_actions": table.mean(_distinct(rows, 1, action), seed),
        "distinct_actions_passed": table.mean(_distinct(passed, 2, action), seed),
        "distinct_kinds": table.mean(_distinct(rows, 1, kind), seed),
    }


def _answers(attempt: Attempt) -> list[Message]:
    return [message for message in attempt.trajectory.messages if message.role == "assistant"]


def actions(attempt: Attempt) -> list[ToolCall]:
    """All calls of an attempt, in order."""
    return [call for message in attempt.trajectory.messages for call in message.tool_calls]


def action(call: ToolCall) -> str:
    """A call as one text: equal calls give equal texts."""
    return f"{call.name} {json.dumps(call.arguments, sort_keys=True, default=str)}"


def kind(call: ToolCall) -> str:
    """The tool, and of a command its first word."""
    words = str(call.arguments.get("command", "")).split()
    return " ".join([call.name, *words[:1]])


def _distinct(rows: Sequence[Sequence[Attempt]], least: int, name: Callable[[ToolCall], str]) -> Floats:
    """Per task: different sequences over attempts; NaN below `least` attempts."""
    found = [len({tuple(map(name, actions(a))) for a in row}) for row in rows]
    return np.array(
        [f / len(row) if len(row) >= least else math.nan for f, row in zip(found, rows, strict=True)]
    )


def _conversations(data: RoundData) -> Values:
    return trajectory_metrics(data.attempts, data.table, seed=data.seed)


_metric = partial(Metric, function=_conversations, population=Population.GRADED)
METRICS = (
    _metric("turns", "answers of the model per attempt, mean over tasks", unit="answers", good="unclear"),
    _metric("tool_calls", "tool calls that could be read, per attempt", unit="calls", good="unclear"),
    _metric("malformed_turns", "share of answers without a call that could be read", unit="share",
        bounds=RATE, good="down"),
    _metric("distinct_actions", "different sequences of calls, arguments included, among the n attempts at a "
        "task, over n", unit="share", bounds=RATE, good="up"),
    _metric("distinct_actions_passed", "`distinct_actions` among the attempts that passed; tasks with two or "
        "more", unit="share", bounds=RATE, good="up", population=Population.CORRECT),
    _metric("distinct_kinds", "`distinct_actions` with calls told apart by the tool and the first word of a "
        "command only", unit="share", bounds=RATE, good="up"),
)  # fmt: skip
