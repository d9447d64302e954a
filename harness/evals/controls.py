"""Agents without a model: the suite's own solutions, nothing at all, and what was answered before."""

from collections.abc import Iterable, Mapping, Sequence

from plateau_bench.agents.base import Agent, Ending, Trajectory
from plateau_bench.harness.attempts.rollout import Plan
from plateau_bench.results.records import Attempt
from plateau_bench.sandbox.base import Backend, Sandbox, SandboxSpec
from plateau_bench.tasks.base import FolderTests, PackageTests, Task
from plateau_bench.tasks.grading.boxes import stages
from plateau_bench.tasks.grading.solutions import apply_solution, with_solution_folder


def works_in_boxes(tasks: Sequence[Task]) -> bool:
    """Whether any of the tasks is done in a box."""
    return any(isinstance(task.tests, FolderTests | PackageTests) for task in tasks)


class Oracle(Agent):
    """Gives the reference solution: what the best agent can get, and a test of the suite.

    An attempt whose solution is missing, or fails as a program, ends CRASHED and is graded all the same.
    """

    name = "oracle"

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks: Mapping[str, Task] = {
            stage.instruction: stage for task in tasks for stage in stages(task)
        }
        self.needs_box = works_in_boxes(tasks)

    def fit(self, spec: SandboxSpec, backend: Backend) -> SandboxSpec:
        """The task's box with a place for its solution."""
        return with_solution_folder(spec)

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        task = self._tasks[instruction]
        problems = [apply_solution(task, box) for box in boxes] if self.needs_box else [""] * len(seeds)
        return [
            _said(self.name, seed, task.solution, problem)
            for seed, problem in zip(seeds, problems, strict=True)
        ]


class Nop(Agent):
    """Submits the untouched start. A suite that passes it measures nothing."""

    name = "nop"

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.needs_box = works_in_boxes(tasks)

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        return [_said(self.name, seed) for seed in seeds]


class Replay(Agent):
    """Repeats recorded answers: each attempt of a plan is the recorded one at the same task and sample."""

    name = "replay"
    needs_box = False

    def __init__(self, plan: Plan, earlier: Iterable[Attempt]) -> None:
        self._recorded = {(one.task_id, one.sample): one.trajectory for one in earlier}
        self._wanted = {
            plan.sampling_seed(task, sample): (task.id, sample)
            for task in plan.tasks
            for sample in range(plan.samples)
        }

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Raises ValueError for an attempt that was not recorded."""
        wanted = [self._wanted[seed] for seed in seeds]
        for task, sample in wanted:
            if (task, sample) not in self._recorded:
                raise ValueError(f"replay: no attempt {task}#{sample} was recorded")
        return [self._recorded[key] for key in wanted]


def _said(name: str, seed: int, answer: str = "", error: str = "") -> Trajectory:
    ending = Ending.CRASHED if error else Ending.SUBMITTED
    return Trajectory(agent=name, model=name, seed=seed, answer=answer, ending=ending, error=error)
