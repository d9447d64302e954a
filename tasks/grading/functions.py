"""Grades function-level tasks: programs run in a grading box, answers are compared here.

A program never sees the expected answers, and its answers are compared on exact types, so an object
that claims to equal everything equals nothing. Equal (task, program) pairs are graded once.
"""

import errno
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from plateau_bench.sandbox.base import (
    Backend,
    Program,
    ProgramBox,
    ProgramResult,
    SandboxError,
    SandboxUnavailable,
    Status,
)
from plateau_bench.tasks.base import FunctionTests, Outcome, Task, Verdict
from plateau_bench.tasks.grading.compare import complaint, graded, line, named_cases
from plateau_bench.tasks.grading.published import SolutionRuns, grading
from plateau_bench.tasks.grading.published_programs import PublishedTests, Work, run_together

Key = tuple[str, str]
"""(task digest, program digest): everything that a function-level verdict depends on."""


def program_digest(program: str) -> str:
    """sha256 of the program text; defined for every string, also for lone surrogates."""
    return hashlib.sha256(program.encode("utf-8", "surrogatepass")).hexdigest()


class Memo:
    """Verdicts by (task digest, program digest) in an SQLite file; safe for threads, processes, kill -9.

    `Memo(None)` keeps them in memory only. INFRA is never kept: it says nothing about the program.
    Raises ValueError if the file is something else.
    """

    TABLE = "verdicts_v1"
    """A grader that judges differently must use another table."""

    def __init__(self, path: Path | None) -> None:
        self._front: dict[Key, Verdict] = {}
        self._lock = threading.Lock()
        self._name = str(path or "verdicts in memory")
        try:
            self._file = sqlite3.connect(path or ":memory:", timeout=60, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            with self._file:
                self._file.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.TABLE} (task TEXT, program TEXT, outcome TEXT, "
                    "verified INTEGER, reason TEXT, PRIMARY KEY (task, program)) WITHOUT ROWID"
                )
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: not a file of verdicts ({error}); move it away") from error

    def get_many(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """The verdicts that are known among `keys`."""
        with self._lock:
            missing = iter([key for key in dict.fromkeys(keys) if key not in self._front])
            while chunk := list(islice(missing, 200)):
                places = ",".join(["(?,?)"] * len(chunk))
                rows = self._file.execute(
                    f"SELECT * FROM {self.TABLE} WHERE (task, program) IN (VALUES {places})",
                    [text for key in chunk for text in key],
                )
                for task, program, outcome, verified, reason in rows:
                    self._front[task, program] = Verdict(
                        outcome=Outcome(outcome), verified=bool(verified), reason=reason
                    )
            return {key: self._front[key] for key in keys if key in self._front}

    def put_many(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep verdicts, all or none of them. Raises OSError (ENOSPC) when the disk is full."""
        settled = {key: v for key, v in verdicts.items() if v.outcome is not Outcome.INFRA}
        rows = [(*key, v.outcome.value, int(v.verified), v.reason) for key, v in settled.items()]
        insert = f"INSERT OR IGNORE INTO {self.TABLE} VALUES (?, ?, ?, ?, ?)"
        with self._lock:
            try:
                with self._file:
                    self._file.executemany(insert, rows)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._name) from None
            self._front |= settled

    def close(self) -> None:
        with self._lock:
            self._file.close()


def verdict_of(tests: FunctionTests, result: ProgramResult) -> Verdict:
    """The verdict on what a program answered to the visible calls followed by the hidden ones."""
    cases = named_cases(tests)
    if result.status is not Status.COMPLETED or result.outputs is None:
        return graded(Outcome.FAILED, line(result.status, result.detail))
    if len(result.outputs) != len(cases):
        return graded(Outcome.FAILED, f"{len(result.outputs)} answers to {len(cases)} calls")
    complaints = [complaint(name, case, out) for (name, case), out in zip(cases, result.outputs, strict=True)]
    split = len(tests.visible)
    passed = not any(complaints[split:])
    return Verdict(
        outcome=Outcome.PASSED if passed else Outcome.FAILED,
        verified=not any(complaints[:split]),
        reason=next(filter(None, complaints[split:] + complaints[:split]), ""),
    )


def grade_functions(
    pairs: Sequence[tuple[Task, str]],
    box: ProgramBox,
    memo: Memo | None = None,
    solutions: SolutionRuns | None = None,
) -> list[Verdict]:
    """Verdicts for (task, program) pairs, in order; each distinct pair not in the memo runs once.

    `solutions` is what was learnt about published tasks in earlier calls.
    Raises SandboxError if the box died, ValueError for a task that is not function-level.
    """
    keys = [(task.digest, program_digest(program)) for task, program in pairs]
    known = memo.get_many(keys) if memo else {}
    fresh = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
    solutions = solutions or SolutionRuns()
    solutions.ready((task for task, _ in fresh.values() if isinstance(task.tests, PublishedTests)), box)
    works = [_grading(task, program, solutions) for task, program in fresh.values()]
    verdicts = dict(zip(fresh, run_together(box, works), strict=True))
    if memo and verdicts:
        memo.put_many(verdicts)
    return [(known | verdicts)[key] for key in keys]


def _grading(task: Task, source: str, solutions: SolutionRuns) -> Work[Verdict]:
    """Run a program, in the way that the task's tests ask for, and judge it."""
    tests = task.tests
    if isinstance(tests, PublishedTests):
        return (yield from grading(task, source, solutions))
    if not isinstance(tests, FunctionTests):
        raise ValueError(f"task {task.id} is a folder task; only function-level tasks can be graded here")
    calls = [case.args for case in (*tests.visible, *tests.hidden)]
    (result,) = yield [Program(source=source, entry_point=tests.entry_point, calls=calls)]
    return verdict_of(tests, result)


class FunctionGrader:
    """Grades in a box of its own, which it replaces when it dies. Safe for threads."""

    TRIES = 3
    BATCH = 256
    """Programs per call: what is lost when a box dies, and what one transaction of the memo holds."""

    def __init__(self, backend: Backend, memo: Memo | None = None, *, pause_s: float = 0.5) -> None:
        self._backend = backend
        self._memo = memo
        self._pause_s = pause_s
        self._box: ProgramBox | None = None
        self._solutions = SolutionRuns()
        self._lock = threading.Lock()

    def grade(self, pairs: Sequence[tuple[Task, str]]) -> list[Verdict]:
        """Verdicts in the order of `pairs`. A box that keeps dying gives INFRA verdicts, never memoised.

        Raises SandboxUnavailable if this machine has no way to make boxes.
        """
        batches = [pairs[start : start + self.BATCH] for start in range(0, len(pairs), self.BATCH)]
        return [verdict for batch in batches for verdict in self._grade(batch, self.TRIES)]

    def _grade(self, pairs: Sequence[tuple[Task, str]], tries: int) -> list[Verdict]:
        opened = False
        reason = ""
        for attempt in range(tries):
            time.sleep(self._pause_s * attempt)
            box = None
            try:
                box = self._open()
                opened = True
                return grade_functions(pairs, box, self._memo, self._solutions)
            except SandboxUnavailable:
                raise
            except SandboxError as error:
                reason = line("the grading box broke", str(error))
                self._drop(box)
        if opened and len(pairs) > 1:  # find the program that kills boxes, spare the others
            half = len(pairs) // 2
            return self._grade(pairs[:half], 2) + self._grade(pairs[half:], 2)
        return [graded(Outcome.INFRA, reason)] * len(pairs)

    def _open(self) -> ProgramBox:
        with self._lock:
            if self._box is None:
                self._box = self._backend.open_program_box()
            return self._box

    def _drop(self, dead: ProgramBox | None) -> None:
        with self._lock:
            if dead is not None and self._box is dead:
                self._box = None
                dead.close()

    def close(self) -> None:
        """Destroy the box and close the memo. Idempotent."""
        with self._lock:
            if self._box is not None:
                self._box.close()
                self._box = None
        if self._memo is not None:
            self._memo.close()
