"""Every file that a run or an evaluation leaves on disk has one owner: `RunStore`, `EvalStore`.

    runs/katas/
      run.json                     config, seeds, versions, sandbox backend: written once
      lock                         held while a process works in this folder
      verdicts.sqlite              memo: (task digest, program digest) -> verdict
      report.json, report.html
      regrade.json                 what grading everything again changed
      seed-1/
        base/                      the base checkpoint, an ordinary Hugging Face folder
        shared/
          reference.json           what all rounds are compared with
          round-00/...             round 0 acts with the base in every arm, so it is played once
        replace/
          round-03/
            held_out.jsonl         graded attempts of checkpoint 3, one JSON object a line
            variants.jsonl         the same on variants of the held-out tasks
            train.jsonl            graded attempts on the train split
            selection.jsonl        graded attempts of checkpoint 4 on the tasks that pick checkpoints
            training_set.jsonl     what checkpoint 4 was trained on, example by example, with origins
            checkpoint/            checkpoint 4
            round.json             metrics, selection facts, timings: the completion marker

    evals/katas/
      eval.json                    format number, suite, seed, agents, and digests of what they rest on
      verdicts.sqlite
      leaderboard.md, .csv, .html
      gpt-5/
        lock
        attempts.jsonl             graded attempts of one agent, one JSON object a line
        replaced.jsonl             attempts that were made or graded again, as they were
      .dropped/                    agents that were taken out

Attempts are appended and flushed to the disk; a torn tail is dropped when the log is opened again. Every
other file appears by rename, so it is there whole or not at all.
"""

import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plateau_bench.results.attempt_log import in_order, read_attempts
from plateau_bench.results.records import Attempt, Estimate, Purpose, RoundMetrics, RoundRecord, RunResults
from plateau_bench.validate import folder_name

SHARED = "shared"
"""The arm of round 0: it acts with the base model in every arm, so it is played once per training seed."""
EVAL_FORMAT = 2
"""Format of `eval.json`. In format 1 endpoints were sampled with other seeds than local weights."""
_LOCK, _VERDICTS = "lock", "verdicts.sqlite"
_LOGS = {
    Purpose.EVALUATE: "held_out.jsonl",
    Purpose.PRACTISE: "train.jsonl",
    Purpose.SELECT: "selection.jsonl",
}
_OF_TASKS = ("task_ids", "clusters", "strata")


class RoundFolder:
    """The files of one round of one arm."""

    def __init__(self, path: Path) -> None:
        self.variants = path / "variants.jsonl"
        self.trials = path / "practice"
        """Logs of a practice in parts; gone when it is whole."""
        self.training_set = path / "training_set.jsonl"
        self.checkpoint = path / "checkpoint"
        """What was made in this round."""
        self.record = path / "round.json"
        """Written last: a round that has it is finished."""
        self._path = path

    def attempts(self, purpose: Purpose) -> Path:
        """The log of the attempts made for `purpose`."""
        return self._path / _LOGS[purpose]


class RunStore:
    """Paths and records of one run folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "run.json"
        self.lock = root / _LOCK
        self.verdicts = root / _VERDICTS
        self.regraded = root / "regrade.json"
        self.report = root / "report.json"
        self.page = root / "report.html"

    def seed(self, seed: int) -> Path:
        return self.root / f"seed-{seed}"

    def base(self, seed: int) -> Path:
        """The base checkpoint that was made for a training seed."""
        return self.seed(seed) / "base"

    def reference(self, seed: int) -> Path:
        """What all rounds of a training seed are compared with."""
        return self.arm(seed, SHARED) / "reference.json"

    def arm(self, seed: int, arm: str) -> Path:
        return self.seed(seed) / arm

    def arm_lock(self, seed: int, arm: str) -> Path:
        return self.arm(seed, arm) / _LOCK

    def round(self, seed: int, arm: str, index: int) -> RoundFolder:
        return RoundFolder(self.arm(seed, arm) / f"round-{index:02d}")

    def name_of(self, folder: Path) -> str:
        """A folder of the run as records name it: relative, so that the run can be moved."""
        return folder.relative_to(self.root).as_posix()

    def read_manifest(self) -> dict[str, Any]:
        """The content of run.json. Raises ValueError if the folder holds no run."""
        if not self.manifest.exists():
            raise ValueError(f"{self.root}: no run here ({self.manifest.name} is missing)")
        manifest: dict[str, Any] = read_json(self.manifest)
        return manifest

    def finished_rounds(self, seed: int, arm: str) -> list[RoundRecord]:
        """Records of the finished rounds in order, up to the first gap."""
        records: list[RoundRecord] = []
        while (marker := self.round(seed, arm, len(records)).record).exists():
            records.append(record_from_json(read_json(marker)))
        return records

    def attempts(self) -> Iterator[Attempt]:
        """Every attempt of the run, arm by arm; the shared round 0 appears once, under arm 'shared'."""
        names = (_LOGS[Purpose.EVALUATE], _LOGS[Purpose.PRACTISE])
        for path in sorted(self.root.glob("seed-*/*/round-*/*.jsonl")):
            if path.name in names:
                yield from read_attempts(path)

    def results(self) -> RunResults:
        """All finished rounds. Raises ValueError if the folder holds no run."""
        manifest = self.read_manifest()
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


class EvalStore:
    """Paths and records of one evaluation's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "eval.json"
        self.verdicts = root / _VERDICTS

    def attempts(self, agent: str) -> Path:
        """The log of one agent's attempts."""
        return self._agent(agent) / "attempts.jsonl"

    def lock(self, agent: str) -> Path:
        return self._agent(agent) / _LOCK

    def _agent(self, name: str) -> Path:
        """Raises ValueError for a name that is no folder's, or that of a file of ours."""
        if name in (self.manifest.name, self.verdicts.name) or name.startswith("leaderboard."):
            raise ValueError(
                f"{self.root}: agent {name!r}: a file of the evaluation has this name; rename it"
            )
        return self.root / folder_name(name, f"{self.root}: agent")

    def read_manifest(self) -> dict[str, Any]:
        """The content of eval.json. Raises ValueError if there is none, or one of another format."""
        if not self.manifest.exists():
            make = f"make one with 'plateau eval --out {self.root} ...'"
            raise ValueError(f"{self.root}: no {self.manifest.name} there; {make}")
        manifest: dict[str, Any] = read_json(self.manifest)
        if (found := manifest.get("format", 1)) != EVAL_FORMAT:
            raise ValueError(
                f"{self.manifest} is of format {found} and this plateau reads {EVAL_FORMAT} (other sampling "
                f"seeds): choose a new folder with --out; --agent replay:{self.attempts('NAME')} takes the "
                "answers over"
            )
        return manifest

    def scores(self) -> dict[str, list[Attempt]]:
        """Agent -> its attempts, where there are any. Raises ValueError if the folder holds no evaluation."""
        names = [agent["name"] for agent in self.read_manifest()["agents"]]
        return {name: made for name in names if (made := in_order(self.attempts(name)))}


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


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder so that `target` appears whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary)
    temporary.replace(target)


def record_to_json(record: RoundRecord) -> dict[str, Any]:
    """Plain data, flat: the fields of the record and of its metrics side by side; NaN becomes None."""
    metrics = record.metrics
    return {
        "arm": record.arm,
        "seed": record.seed,
        "round": metrics.round,
        "metrics": {name: value and value._asdict() for name, value in sorted(metrics.values.items())},
        **{name: list(getattr(metrics, name)) for name in _OF_TASKS},
        "per_task": {
            name: [None if math.isnan(value) else value for value in values]
            for name, values in sorted(metrics.per_task.items())
        },
        **{
            name: getattr(record, name) for name in ("checkpoint_in", "checkpoint_out", "training", "timings")
        },
    }


def record_from_json(row: Mapping[str, Any]) -> RoundRecord:
    own = {
        name: value for name, value in row.items() if name not in ("round", "metrics", "per_task", *_OF_TASKS)
    }
    metrics = RoundMetrics(
        round=row["round"],
        values={name: value and Estimate(**value) for name, value in row["metrics"].items()},
        per_task={name: _with_nan(values) for name, values in row["per_task"].items()},
        **{name: tuple(row[name]) for name in _OF_TASKS},
    )
    return RoundRecord(metrics=metrics, **own)


def _with_nan(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)
