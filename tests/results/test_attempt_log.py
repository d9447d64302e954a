"""What is written to the log of attempts is what is read from it, whatever an attempt holds."""

import json
import math
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plateau_bench.agents.base import Message, ToolCall, Trajectory
from plateau_bench.results.attempt_log import (
    LEFT_OUT,
    AttemptLog,
    attempt_from_json,
    attempt_to_json,
    read_attempts,
)
from plateau_bench.results.records import Attempt
from plateau_bench.sandbox.base import Visit
from plateau_bench.tasks.base import Verdict
from tests.results.attempts import attempt as planted

text = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates, NUL and line ends too
number = st.sampled_from([0.0, -0.0, 0.5, 1e-300, math.inf]) | st.floats(allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | number | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
table = st.dictionaries(text, plain, max_size=3)


def some(kind: Any, **own: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any instance of a dataclass: every field is drawn, also those that are not written yet."""
    hints = typing.get_type_hints(kind)
    known = {
        str: text,
        int: st.integers(-(2**63), 2**63),
        float: number,
        bool: st.booleans(),
        tuple[str, ...]: st.lists(text, max_size=2).map(tuple),
        tuple[int, ...]: st.lists(st.integers(), max_size=3).map(tuple),
        tuple[float, ...]: st.lists(number, max_size=3).map(tuple),
        tuple[tuple[int, int], ...]: st.lists(st.tuples(st.integers(), st.integers()), max_size=2).map(tuple),
    }
    drawn = {}
    for one in fields(kind):
        hint = hints[one.name]
        if hint in (int | None, float | None):
            drawn[one.name] = st.none() | known[typing.get_args(hint)[0]]
        else:
            other = known[hint] if hint in known else st.from_type(hint)
            drawn[one.name] = own.get(one.name, other)
    return st.builds(kind, **drawn)


def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(one, max_size=2).map(tuple)


calls = several(some(ToolCall, arguments=table))
trajectories = some(
    Trajectory,
    messages=several(some(Message, tool_calls=calls)),
    tools=several(table),
    visits=several(some(Visit)),
)
attempts = some(Attempt, trajectory=trajectories, verdict=some(Verdict), later=st.just(()))
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@slow
@given(attempts)
def test_every_field_comes_back(attempt: Attempt) -> None:
    line = json.dumps(attempt_to_json(attempt))
    assert "\n" not in line
    assert attempt_from_json(json.loads(line)) == attempt


@slow
@given(attempts)
def test_only_nothing_is_left_out(attempt: Attempt) -> None:
    written = attempt_to_json(attempt)["trajectory"]
    for one in fields(Trajectory):
        value = getattr(attempt.trajectory, one.name)
        nothing = value is None or value is False or value == ()
        assert (one.name in written) != (nothing and one.name in LEFT_OUT)


def test_a_cost_of_nothing_is_known(tmp_path: Path) -> None:
    free = planted("t", 0)
    free = replace(free, trajectory=replace(free.trajectory, cost_usd=0.0))
    log = AttemptLog(tmp_path / "attempts.jsonl")
    log.append([free])
    (found,) = read_attempts(log.path)
    assert found.trajectory.cost_usd == 0.0


@slow
@given(attempts, table, table)
def test_what_a_newer_version_wrote_is_kept(
    attempt: Attempt, more: dict[str, Any], inner: dict[str, Any]
) -> None:
    row = json.loads(json.dumps(attempt_to_json(attempt)))
    row["newer"] = more
    row["verdict"]["newer"] = inner
    trajectory = row["trajectory"]
    for one in (trajectory, *trajectory.get("messages", ()), *trajectory.get("visits", ())):
        one["newer"] = inner
        for call in one.get("tool_calls", ()):
            call["newer"] = more
    found = attempt_from_json(row)
    assert json.loads(json.dumps(attempt_to_json(found))) == row
    assert replace(found, later=()) == attempt
