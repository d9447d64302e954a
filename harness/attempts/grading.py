"""One grader for all tasks: function-level programs in a grading box, folder tasks in a fresh box each."""

from collections.abc import Sequence
from pathlib import Path

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.sandbox.base import Backend, Diff
from plateau_bench.sandbox.diffs import steps_from_text
from plateau_bench.tasks.base import FolderTests, Outcome, PackageTests, Task, Verdict
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.folders import grade_stages
from plateau_bench.tasks.grading.functions import FunctionGrader, Memo
from plateau_bench.tasks.grading.packages import as_function_task, bundle, evidence


class Grader:
    """Grades what agents left behind. Close it to destroy its box."""

    def __init__(self, backend: Backend, memo_path: Path | None) -> None:
        """`memo_path` is where function-level verdicts are remembered; None remembers none."""
        self._backend = backend
        self._functions = FunctionGrader(backend, Memo(memo_path))

    def __call__(self, pairs: Sequence[tuple[Task, Trajectory]]) -> list[Verdict]:
        """Verdicts in the order of `pairs`. Infrastructure trouble is a verdict (INFRA), not an exception."""
        verdicts: dict[int, Verdict] = {}
        programs: dict[int, tuple[Task, str]] = {}
        for i, (task, trajectory) in enumerate(pairs):
            if trajectory.ending in (Ending.INFRA, Ending.ERROR):
                why = trajectory.error or "the endpoint broke its answer off, also when asked again"
                verdicts[i] = graded(Outcome.INFRA, why)
            elif isinstance(task.tests, FolderTests):
                verdicts[i] = grade_stages(task, left_behind(task, trajectory), self._backend)
            elif not isinstance(task.tests, PackageTests):
                programs[i] = task, trajectory.answer
            elif path := evidence(diff := left_behind(task, trajectory)[-1]):
                verdicts[i] = graded(Outcome.INVALID, f"tampering: {path!r}")
            else:
                programs[i] = as_function_task(task), bundle(task.tests, diff)
        verdicts |= zip(programs, self._functions.grade(list(programs.values())), strict=True)
        return [verdicts[i] for i in range(len(pairs))]

    def close(self) -> None:
        self._functions.close()


def left_behind(task: Task, trajectory: Trajectory) -> list[Diff]:
    """What each step of an attempt changed: its box's diffs, or its answer as the task's answer file."""
    if trajectory.boxed:
        return steps_from_text(trajectory.answer)
    return [Diff(written={task.tags.get("answer_file", "solution.py"): trajectory.answer.encode()})]
