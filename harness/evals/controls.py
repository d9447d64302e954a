"""Agents without a model: the suite's own solutions, nothing at all, and what was answered before."""

from collections.abc import Mapping, Sequence

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.sandbox.base import Sandbox
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import FolderTests, PackageTests, Task
from plateau_bench.tasks.grading.boxes import stages


def _said(name: str, seed: int, answer: str = "", *, ending: Ending = Ending.SUBMITTED) -> Trajectory:
    return Trajectory(agent=name, model=name, seed=seed, answer=answer, ending=ending)


class Oracle:
    """Gives the reference solution: what the best agent can get, and a test of the suite."""

    name = "oracle"

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks: Mapping[str, Task] = {
            stage.instruction: stage for task in tasks for stage in stages(task)
        }
        self.needs_box = any(isinstance(task.tests, FolderTests | PackageTests) for task in tasks)

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        task = self._tasks[instruction]
        for box in boxes:
            _apply(task, box)
        return [_said(self.name, seed, task.solution) for seed in seeds]


def _apply(task: Task, box: Sandbox) -> None:
    if isinstance(task.tests, PackageTests):
        for path, data in diff_from_text(task.solution).written.items():
            box.write(path, data)
    elif isinstance(task.tests, FolderTests) and (folder := task.tests.solution_dir):
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                box.write(f"/tmp/solution/{file.relative_to(folder)}", file.read_bytes(), mode=0o755)
        box.run(["bash", "/tmp/solution/solve.sh"], timeout_s=task.tests.timeout_s)


class Nop:
    """Submits the untouched start. A suite that passes it measures nothing."""

    name = "nop"

    def __init__(self, *, boxed: bool) -> None:
        self.needs_box = boxed

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        return [_said(self.name, seed) for seed in seeds]


class Replay:
    """Repeats recorded answers, found by their sampling seed."""

    name = "replay"
    needs_box = False

    def __init__(self, earlier: Sequence[Trajectory]) -> None:
        self._by_seed = {one.seed: one for one in earlier}

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Raises ValueError for an attempt that was not recorded."""
        missing = [seed for seed in seeds if seed not in self._by_seed]
        if missing:
            raise ValueError(f"replay: no recorded attempt has the sampling seed {missing[0]}")
        return [self._by_seed[seed] for seed in seeds]
