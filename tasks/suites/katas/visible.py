"""The katas with a stricter or laxer verifier: more or fewer visible cases in training tasks."""

from plateau_bench.tasks.base import Task
from plateau_bench.tasks.suite import Derived
from plateau_bench.tasks.suites import katas


class Visible(Derived):
    """The katas, but for the number of visible cases in training tasks."""

    def __init__(self, count: int) -> None:
        super().__init__(katas)
        self._count = count

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return katas.train_tasks(seed, count, visible=self._count)
