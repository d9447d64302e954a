"""The log of graded attempts: one JSON object a line, appended and never changed."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any, cast

from plateau_bench.agents.base import Ending, Message, ToolCall, Trajectory
from plateau_bench.results.records import Attempt, fields_of
from plateau_bench.sandbox.base import Visit
from plateau_bench.tasks.base import Outcome, Split, Verdict

PROVIDER = ("provider_models", "fingerprints", "response_ids")
LEFT_OUT = ("messages", "tools", "cost_usd", "boxed", "visits", "withheld", *PROVIDER)
"""Fields of a trajectory that are not written where they hold nothing."""


class AttemptLog:
    """An append-only file of graded attempts, one JSON object a line.

    What is appended together reaches the disk together. A log that is written in waves holds whole waves
    only: after a crash a wave is either finished (and never repeated) or absent (and sampled again, with the
    same result).
    """

    def __init__(self, path: Path, waves: Sequence[int] | None = None) -> None:
        """Open the log and cut off what a crash has torn.

        `waves[i]` is the number of attempts of wave i; of a log without waves only a torn last line is cut.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = path.read_bytes() if path.exists() else b""
        lines = raw.split(b"\n")[:-1]
        keep = len(lines) if waves is None else 0
        self.finished_waves = 0
        for size in waves or ():
            if keep + size > len(lines):
                break
            keep += size
            self.finished_waves += 1
        whole = sum(len(line) + 1 for line in lines[:keep])
        if whole < len(raw):
            os.truncate(path, whole)

    def append(self, attempts: Sequence[Attempt]) -> None:
        """Write these attempts and wait until they are on the disk."""
        data = b"".join(map(attempt_to_line, attempts))
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def read_attempts(path: Path) -> Iterator[Attempt]:
    """The attempts of one log as they lie there, one after the other."""
    return map(attempt_from_json, _lines(path))


def in_order(path: Path) -> list[Attempt]:
    """The attempts of one log in the order of tasks and samples; none if there is no log yet."""
    found = read_attempts(path) if path.exists() else ()
    return sorted(found, key=lambda one: (one.task_id, one.sample))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a JSONL file; a torn last line is left out."""
    return list(_lines(path))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from (json.loads(line) for line in file if line.endswith(b"\n"))


def attempt_to_line(attempt: Attempt) -> bytes:
    """The line of a log."""
    return (json.dumps(attempt_to_json(attempt), separators=(",", ":")) + "\n").encode()


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    """Plain values; enums become their strings. What a one-call agent has none of is left out."""
    trajectory = fields_of(attempt.trajectory)
    for name in LEFT_OUT:
        if _is_nothing(trajectory[name]):
            del trajectory[name]
    for name in {"messages", "visits"} & set(trajectory):
        trajectory[name] = tuple(map(dataclasses.asdict, trajectory[name]))
    for message in trajectory.get("messages", ()):
        for name in [name for name in ("reasoning", "refusal") if not message[name]]:
            del message[name]
    row = fields_of(attempt) | {"trajectory": trajectory, "verdict": fields_of(attempt.verdict)}
    for (*place, name), value in row.pop("later"):
        reduce(getitem, place, cast(Any, row))[name] = value
    return row


def _is_nothing(value: Any) -> bool:
    """Whether a field holds nothing. Not by equality: a cost of 0 is something, and equals False."""
    return value is None or value is False or (isinstance(value, tuple) and not value)


def attempt_from_json(row: Mapping[str, Any]) -> Attempt:
    """The attempt of a row; fields that are not known here are kept as they came, in `later`."""
    later: list[tuple[tuple[str | int, ...], Any]] = []
    made = _known(Attempt, row, later)
    trajectory = _known(Trajectory, row["trajectory"], later, "trajectory")
    for name in ("token_ids", "logprobs", "tools", "withheld", *PROVIDER):
        trajectory[name] = tuple(trajectory.get(name, ()))
    trajectory["loss_spans"] = tuple((start, end) for start, end in trajectory["loss_spans"])
    found = enumerate(trajectory.get("messages", ()))
    trajectory["messages"] = tuple(_message(one, later, "trajectory", "messages", i) for i, one in found)
    found = enumerate(trajectory.get("visits", ()))
    visits = (_known(Visit, one, later, "trajectory", "visits", i) for i, one in found)
    trajectory["visits"] = tuple(Visit(**visit) for visit in visits)
    trajectory["ending"] = Ending(trajectory["ending"])
    verdict = _known(Verdict, row["verdict"], later, "verdict")
    made |= {
        "split": Split(row["split"]),
        "verdict": Verdict(**{**verdict, "outcome": Outcome(verdict["outcome"])}),
        "trajectory": Trajectory(**trajectory),
    }
    return Attempt(**made, later=tuple(later))


def _known(kind: type, row: Mapping[str, Any], later: list[Any], *place: str | int) -> dict[str, Any]:
    """The fields of a row that a `kind` has; the others go to `later`."""
    names = _names(kind)
    if not row.keys() <= names:
        later += (((*place, name), row[name]) for name in row if name not in names)
    return {name: value for name, value in row.items() if name in names}


@cache
def _names(kind: Any) -> frozenset[str]:
    return frozenset(one.name for one in dataclasses.fields(kind)) - {"later"}


def _message(row: Mapping[str, Any], later: list[Any], *place: str | int) -> Message:
    calls = enumerate(row["tool_calls"])
    made = tuple(ToolCall(**_known(ToolCall, one, later, *place, "tool_calls", i)) for i, one in calls)
    told = _known(Message, row, later, *place)
    return Message(**{**told, "tool_calls": made, "malformed": tuple(row["malformed"])})
