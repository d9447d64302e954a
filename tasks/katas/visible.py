"""The katas with a stricter or laxer verifier: more or fewer visible cases in training tasks."""

from collections.abc import Sequence

from tasks import katas
from tasks.base import Task
from tasks.suite import HumanSample


class Visible:
    """A `tasks.suite.Suite`: the katas, but for the number of visible cases in training tasks."""

    name = katas.name
    has_human_data = katas.has_human_data
    shares_parts = katas.shares_parts

    def __init__(self, count: int) -> None:
        self._count = count

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return katas.train_tasks(seed, count, visible=self._count)

    def held_out_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return katas.held_out_tasks(seed, count)

    def corpus(self, seed: int, size: int) -> Sequence[HumanSample]:
        return katas.corpus(seed, size)

    def fresh_human(self, seed: int, count: int, *, verified: bool) -> Sequence[HumanSample]:
        return katas.fresh_human(seed, count, verified=verified)

    def held_out_text(self, seed: int, size: int) -> Sequence[HumanSample]:
        return katas.held_out_text(seed, size)
