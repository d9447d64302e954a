"""Everything a run leaves on disk has one owner: `RunStore`.

    runs/katas/
      run.json                     config, seeds, versions, sandbox backend: written once
      lock                         held while a process works in this folder
      verdicts.sqlite              memo: (task digest, program digest) -> verdict
      seed-1/
        base/                      the base checkpoint, an ordinary Hugging Face folder
        shared/
          reference.json           what all rounds are compared with
          round-00/...             round 0 acts with the base in every arm, so it is played once
        replace/
          round-03/
            held_out.jsonl         graded attempts of checkpoint 3, one JSON object a line
            train.jsonl            graded attempts on the train split
            training_set.jsonl     what checkpoint 4 was trained on, example by example, with origins
            checkpoint/            checkpoint 4
            round.json             metrics, selection facts, timings: the completion marker
      report.json, report.html

Attempts are appended a wave at a time and flushed to the disk; a torn tail is dropped when the log is
opened again. Every other file appears by rename, so it is there whole or not at all.
"""

import dataclasses
import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plateau_bench.agents.base import Ending, Message, ToolCall, Trajectory
from plateau_bench.results.records import Attempt, Estimate, RoundMetrics, RoundRecord, RunResults
from plateau_bench.sandbox.base import Visit
from plateau_bench.tasks.base import Outcome, Split, Verdict


class RunStore:
    """Paths and records of one run folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def seed(self, seed: int) -> Path:
        return self.root / f"seed-{seed}"

    def arm(self, seed: int, arm: str) -> Path:
        return self.seed(seed) / arm

    def round(self, seed: int, arm: str, index: int) -> Path:
        return self.arm(seed, arm) / f"round-{index:02d}"

    @property
    def manifest(self) -> Path:
        return self.root / "run.json"

    def name_of(self, folder: Path) -> str:
        """A folder of the run as records name it: relative, so that the run can be moved."""
        return folder.relative_to(self.root).as_posix()

    def read_attempts(self, path: Path) -> Iterator[Attempt]:
        """The attempts of one log."""
        return (attempt_from_json(row) for row in read_lines(path))

    def finished_rounds(self, seed: int, arm: str) -> list[RoundRecord]:
        """Records of the finished rounds in order, up to the first gap."""
        records: list[RoundRecord] = []
        while (marker := self.round(seed, arm, len(records)) / "round.json").exists():
            records.append(record_from_json(read_json(marker)))
        return records

    def attempts(self) -> Iterator[Attempt]:
        """Every attempt of the run, arm by arm; the shared round 0 appears once, under arm 'shared'."""
        for path in sorted(self.root.glob("seed-*/*/round-*/*.jsonl")):
            if path.name in ("held_out.jsonl", "train.jsonl"):
                yield from self.read_attempts(path)

    def results(self) -> RunResults:
        """All finished rounds. Raises ValueError if the folder holds no run."""
        if not self.manifest.exists():
            raise ValueError(f"{self.root}: no run here (run.json is missing)")
        manifest = read_json(self.manifest)
        rounds = {
            arm: {seed: tuple(self.finished_rounds(seed, arm)) for seed in manifest["config"]["seeds"]}
            for arm in manifest["config"]["arms"]
        }
        return RunResults(
            name=manifest["name"],
            config=manifest["config"],
            environment=manifest["environment"],
            rounds=rounds,
        )


class AttemptLog:
    """An append-only JSONL file, written in whole waves.

    A wave is what is sampled in one batch; its lines reach the disk together, so after a crash a wave
    is either finished (and never repeated) or absent (and sampled again, with the same result).
    """

    def __init__(self, path: Path, wave_sizes: Sequence[int]) -> None:
        """`wave_sizes[i]` is the number of lines of wave i. A torn or surplus tail is cut off."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = path.read_bytes() if path.exists() else b""
        lines = raw.split(b"\n")[:-1]
        self.finished_waves, keep = 0, 0
        for size in wave_sizes:
            if keep + size > len(lines):
                break
            keep += size
            self.finished_waves += 1
        whole = sum(len(line) + 1 for line in lines[:keep])
        if whole < len(raw):
            os.truncate(path, whole)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one wave and wait until it is on the disk."""
        data = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        return read_lines(self.path)


@contextmanager
def hold(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`. Raises ValueError if another process still holds it after `wait_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise ValueError(f"{what} is in use by process {owner}; wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Strict JSON (no NaN), written whole or not at all."""
    write_bytes(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises ValueError naming the file if it is not JSON."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a JSONL file; a torn last line is left out."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder so that `target` appears whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary)
    temporary.replace(target)


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    """Plain values; enums become their strings. What a one-call agent has none of is left out."""
    trajectory = fields_of(attempt.trajectory)
    for name in ("messages", "tools", "cost_usd", "boxed", "visits"):
        if trajectory[name] in (None, (), False):
            del trajectory[name]
    for name in {"messages", "visits"} & set(trajectory):
        trajectory[name] = tuple(map(dataclasses.asdict, trajectory[name]))
    return fields_of(attempt) | {"trajectory": trajectory, "verdict": fields_of(attempt.verdict)}


def fields_of(record: Any) -> dict[str, Any]:
    """`dataclasses.asdict` of one level: the long tuples of tokens are not copied value by value."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def attempt_from_json(row: Mapping[str, Any]) -> Attempt:
    trajectory, verdict = row["trajectory"], row["verdict"]
    return Attempt(
        **{
            **row,
            "split": Split(row["split"]),
            "verdict": Verdict(**{**verdict, "outcome": Outcome(verdict["outcome"])}),
            "trajectory": Trajectory(
                **{
                    **trajectory,
                    "ending": Ending(trajectory["ending"]),
                    "token_ids": tuple(trajectory["token_ids"]),
                    "loss_spans": tuple((start, end) for start, end in trajectory["loss_spans"]),
                    "logprobs": tuple(trajectory["logprobs"]),
                    "messages": tuple(map(_message, trajectory.get("messages", ()))),
                    "tools": tuple(trajectory.get("tools", ())),
                    "visits": tuple(Visit(**visit) for visit in trajectory.get("visits", ())),
                }
            ),
        }
    )


def _message(row: Mapping[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in row["tool_calls"])
    return Message(**{**row, "tool_calls": calls, "malformed": tuple(row["malformed"])})


def record_to_json(record: RoundRecord) -> dict[str, Any]:
    metrics = record.metrics
    return {
        "arm": record.arm,
        "seed": record.seed,
        "round": metrics.round,
        "metrics": {name: value and value._asdict() for name, value in sorted(metrics.values.items())},
        "task_ids": list(metrics.task_ids),
        "clusters": list(metrics.clusters),
        "strata": list(metrics.strata),
        "per_task": {
            name: [None if math.isnan(value) else value for value in values]
            for name, values in sorted(metrics.per_task.items())
        },
        "checkpoint_in": record.checkpoint_in,
        "checkpoint_out": record.checkpoint_out,
        "training": dict(record.training),
        "timings": dict(record.timings),
    }


def record_from_json(row: Mapping[str, Any]) -> RoundRecord:
    return RoundRecord(
        arm=row["arm"],
        seed=row["seed"],
        metrics=RoundMetrics(
            round=row["round"],
            values={name: value and Estimate(**value) for name, value in row["metrics"].items()},
            task_ids=tuple(row["task_ids"]),
            clusters=tuple(row["clusters"]),
            strata=tuple(row["strata"]),
            per_task={name: _with_nan(values) for name, values in row["per_task"].items()},
        ),
        checkpoint_in=row["checkpoint_in"],
        checkpoint_out=row["checkpoint_out"],
        training=row["training"],
        timings=row["timings"],
    )


def _with_nan(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)
