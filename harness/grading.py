"""One grader for all tasks: function-level programs in a grading box, folder tasks in a fresh box."""

from collections.abc import Sequence
from pathlib import Path

from agents.base import Trajectory
from sandbox.base import Backend, Diff
from tasks.base import FolderTests, Task, Verdict
from tasks.folder import grade_folder
from tasks.grade import FunctionGrader, Memo


class Grader:
    """Grades what agents left behind. Close it to destroy its box."""

    def __init__(self, backend: Backend, memo_path: Path | None) -> None:
        """`memo_path` is where function-level verdicts are remembered; None remembers none."""
        self._backend = backend
        self._functions = FunctionGrader(backend, Memo(memo_path))

    def __call__(self, pairs: Sequence[tuple[Task, Trajectory]]) -> list[Verdict]:
        """Verdicts in the order of `pairs`. Infrastructure trouble is a verdict (INFRA), not an exception."""
        verdicts: dict[int, Verdict] = {}
        functions: list[int] = []
        for i, (task, trajectory) in enumerate(pairs):
            if isinstance(task.tests, FolderTests):
                answer = {task.tags.get("answer_file", "solution.py"): trajectory.answer.encode()}
                verdicts[i] = grade_folder(task, Diff(written=answer), self._backend)
            else:
                functions.append(i)
        graded = self._functions.grade([(pairs[i][0], pairs[i][1].answer) for i in functions])
        verdicts |= dict(zip(functions, graded, strict=True))
        return [verdicts[i] for i in range(len(pairs))]

    def close(self) -> None:
        self._functions.close()
