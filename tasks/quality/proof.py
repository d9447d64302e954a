"""A suite proves itself, without a model: solutions pass, the untouched start fails, verdicts repeat.

Every finding is one line of an append-only file, so a proof that was stopped goes on where it was.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from plateau_bench.sandbox.base import Backend, Diff, SandboxError, SandboxUnavailable
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import FolderTests, Outcome, PackageTests, Task, Verdict
from plateau_bench.tasks.grading.boxes import folder_tests, open_for, stages, work_through
from plateau_bench.tasks.grading.folders import grade_stages
from plateau_bench.tasks.grading.functions import FunctionGrader
from plateau_bench.tasks.grading.packages import as_function_task, bundle
from plateau_bench.tasks.grading.solutions import apply_solution, with_solution_folder
from plateau_bench.tasks.quality.leaks import leak
from plateau_bench.tasks.quality.quarantine import Entry, Quarantine

BATCH = 16
"""Function-level tasks that are graded together."""


class Kind(StrEnum):
    """What was found out about a task."""

    SOUND = "sound"
    BROKEN = "broken"
    """Its solution fails."""
    WEAK = "weak"
    """Its tests pass on the untouched start."""
    FLAKY = "flaky"
    """The same attempt was graded differently."""
    READABLE = "readable"
    """An agent can read the hidden tests or the solution."""
    UNPROVEN = "unproven"
    """It has no solution, so nothing says that it can be solved."""
    UNDECIDED = "undecided"
    """Boxes broke, or none can be made here: nothing is known."""


OUT = (Kind.BROKEN, Kind.WEAK, Kind.FLAKY, Kind.READABLE)
"""Kinds that put a task into quarantine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is known about one task."""

    task: str
    digest: str
    kind: Kind
    reason: str = ""
    repeats: int = 0
    seconds: float = 0.0


def prove(
    tasks: Sequence[Task],
    backend: Backend,
    *,
    repeats: int = 3,
    workers: int = 0,
    log: Path | None = None,
    found: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Findings in the order of `tasks`; those in `log` are not made again unless the task has changed.

    `found` is called for each as it is made, from this thread. Raises OSError if `log` cannot be written.
    """
    known = {} if log is None else read_log(log, repeats)
    findings = {t.id: known[t.id, t.digest] for t in tasks if (t.id, t.digest) in known}
    for finding in findings.values():
        found(finding)
    grader = FunctionGrader(backend)
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, "proof")
    try:
        missing = [task for task in tasks if task.id not in findings]
        for future in as_completed(
            [pool.submit(_prove, part, grader, backend, repeats) for part in _parts(missing)]
        ):
            for finding in future.result():
                if log is not None:
                    _append(log, finding)
                findings[finding.task] = finding
                found(finding)
    finally:
        pool.shutdown(cancel_futures=True)
        grader.close()
    return [findings[task.id] for task in tasks]


def quarantine_of(findings: Sequence[Finding]) -> Quarantine:
    """The tasks that runs should skip."""
    return {f.task: Entry(digest=f.digest, kind=f.kind, reason=f.reason) for f in findings if f.kind in OUT}


def _parts(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Folder tasks one by one, the others in batches."""
    others = []
    for task in tasks:
        if isinstance(task.tests, FolderTests):
            yield [task]
        else:
            others.append(task)
    for start in range(0, len(others), BATCH):
        yield others[start : start + BATCH]


def _prove(tasks: Sequence[Task], grader: FunctionGrader, backend: Backend, repeats: int) -> list[Finding]:
    started = time.monotonic()
    if isinstance(tasks[0].tests, FolderTests):
        results = [_prove_folder(tasks[0], backend, repeats)]
    else:
        results = _prove_functions(tasks, grader, repeats)
    each = round((time.monotonic() - started) / len(tasks), 3)
    return [
        Finding(task=t.id, digest=t.digest, kind=kind, reason=reason, repeats=repeats, seconds=each)
        for t, (kind, reason) in zip(tasks, results, strict=True)
    ]


Result = tuple[Kind, str]


def _prove_functions(tasks: Sequence[Task], grader: FunctionGrader, repeats: int) -> list[Result]:
    """Results in the order of `tasks`. A call grades equal programs once, so every repetition is a call."""
    tried = [_programs(task) for task in tasks]
    solved = [grader.grade([(task, solution) for task, solution, _ in tried]) for _ in range(repeats)]
    untouched = [grader.grade([(task, start) for task, _, start in tried]) for _ in range(repeats)]
    results = []
    for task, own, start in zip(tasks, zip(*solved, strict=True), zip(*untouched, strict=True), strict=True):
        told = task.solution.strip()
        if not told:
            results.append((Kind.UNPROVEN, "has no solution"))
        elif len(told) > 40 and told in task.instruction:
            results.append((Kind.READABLE, "the instruction holds the solution"))
        else:
            results.append(judge(own, start))
    return results


def _programs(task: Task) -> tuple[Task, str, str]:
    """(the task for the function grader, its solution, its untouched start)."""
    if not isinstance(task.tests, PackageTests):
        return task, task.solution, ""
    solution = diff_from_text(task.solution) if task.solution else Diff(written={})
    return as_function_task(task), bundle(task.tests, solution), bundle(task.tests, Diff(written={}))


def _prove_folder(task: Task, backend: Backend, repeats: int) -> Result:
    try:
        if seen := leak(task, backend):
            return Kind.READABLE, seen
        unsolved = [stage.id for stage in stages(task) if folder_tests(stage).solution_dir is None]
        if unsolved:
            return Kind.UNPROVEN, f"{unsolved[0]} has no solution/solve.sh"
        solved = []
        for _ in range(repeats):
            diffs, problem = solve(task, backend)
            verdict = grade_stages(task, diffs, backend)
            failed = problem and verdict.outcome is Outcome.FAILED
            solved.append(replace(verdict, reason=problem) if failed else verdict)
        untouched = [grade_stages(task, _idle(task, backend), backend) for _ in range(repeats)]
    except SandboxUnavailable as error:
        return Kind.UNDECIDED, f"no box for it here: {error}"
    except SandboxError as error:
        return Kind.UNDECIDED, f"a box broke: {error}"
    return judge(solved, untouched)


def _idle(task: Task, backend: Backend) -> list[Diff]:
    """The changes of each step if nothing is done. Only a separate verifier needs a box to find them out."""
    if not any(folder_tests(stage).verifier or folder_tests(stage).staged for stage in stages(task)):
        return [Diff(written={}) for _ in stages(task)]
    with closing(open_for(task, backend, task.box)) as box:
        return [diff for _, diff in work_through(task, box, lambda stage: None)]


def solve(task: Task, backend: Backend) -> tuple[list[Diff], str]:
    """What the solution of each step changes in the task's box, and what went wrong or "".

    Raises SandboxError.
    """
    with closing(open_for(task, backend, with_solution_folder(task.box))) as box:
        done = work_through(task, box, lambda stage: apply_solution(stage, box))
    return [diff for _, diff in done], next(filter(None, (problem for problem, _ in done)), "")


def judge(solved: Sequence[Verdict], untouched: Sequence[Verdict]) -> Result:
    """What repeated verdicts on the solution and on the untouched start say about a task."""
    for verdict in (*solved, *untouched):
        if verdict.outcome is Outcome.INFRA:
            own = verdict.reason.startswith("this task is broken")
            return Kind.BROKEN if own else Kind.UNDECIDED, verdict.reason
    passes = [verdict.outcome is Outcome.PASSED for verdict in solved]
    first = next((v.reason for v in solved if v.outcome is not Outcome.PASSED), "")
    if not any(passes):
        return Kind.BROKEN, f"the solution fails: {first}"
    if not all(passes):
        return Kind.FLAKY, f"the solution passed {sum(passes)} of {len(passes)} times: {first}"
    again = [verdict.outcome is Outcome.PASSED for verdict in untouched]
    if all(again):
        return Kind.WEAK, "the tests pass on the untouched start"
    if any(again):
        return Kind.FLAKY, f"the untouched start passed {sum(again)} of {len(again)} times"
    if len({(v.outcome, v.verified) for v in untouched}) > 1 or len({v.verified for v in solved}) > 1:
        return Kind.FLAKY, "the same attempt was graded differently"
    return Kind.SOUND, ""


# --- the file of findings ------------------------------------------------------------------------------


def read_log(log: Path, repeats: int) -> Mapping[tuple[str, str], Finding]:
    """(task, digest) -> what was found with at least as many repetitions. Other lines are skipped."""
    found = {}
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            row = json.loads(line)
            finding = Finding(**{**row, "kind": Kind(row["kind"])})
            if finding.repeats >= repeats and finding.kind is not Kind.UNDECIDED:
                found[finding.task, finding.digest] = finding
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return found


def _append(log: Path, finding: Finding) -> None:
    """Append a whole line, also after a line that a crash has torn."""
    with log.open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
        torn = file.tell() and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(asdict(finding)).encode() + b"\n")
