"""What a run asks of a suite of tasks."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from plateau_bench.tasks.base import Split, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanSample:
    """One (instruction, program) pair as a person would write it; for the katas a generated stand-in."""

    instruction: str
    program: str
    stratum: str
    correct: bool
    """Whether it passes the task's hidden tests. Noisy corpora hold wrong programs, too."""
    combo: str = ""
    """Which operations it composes; the split is decided by its hash."""
    style: str = ""
    chat: tuple[Mapping[str, Any], ...] = ()
    """The conversation that led to it, for agents with tools: messages as chat templates take them."""


class Suite(Protocol):
    """A source of tasks, and of human data where there is any. The same arguments give the same bytes."""

    name: str
    has_human_data: bool
    """Whether `corpus`, `fresh_human` and `held_out_text` give anything."""
    shares_parts: bool
    """Whether tasks are made of shared parts, so that programs are alike by design; then the split is one of
    clusters, and these must not cross it."""

    @property
    def tasks(self) -> tuple[Task, ...] | None:
        """All tasks of a suite that has a fixed number; None for one that makes as many as are wanted."""

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        """Tasks to practise on. Raises ValueError if the suite holds fewer."""

    def held_out_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        """Tasks that only measure, disjoint from every train task."""

    def corpus(self, seed: int, size: int) -> Sequence[HumanSample]:
        """Human data as found: some of it wrong. Raises ValueError if the suite has none."""

    def fresh_human(self, seed: int, count: int, *, verified: bool) -> Sequence[HumanSample]:
        """New human programs on training problems; `verified` keeps only those that pass their tests."""

    def held_out_text(self, seed: int, size: int) -> Sequence[HumanSample]:
        """Correct human programs never used for training, to measure cross-entropy on."""

    def with_visible(self, count: int) -> "Suite":
        """The same suite with `count` visible cases in each training task.

        Raises ValueError if the tests of the suite are as they are.
        """


class MadeSuite:
    """What a `Suite` needs beside its name and its tasks: no human data, and tests that are as they are."""

    name: str
    has_human_data = False
    shares_parts = False
    tasks: tuple[Task, ...] | None = None

    def _no_humans(self, *arguments: object, **options: object) -> NoReturn:
        raise ValueError(f"tasks.suite: {self.name} holds no human data; only 'katas' comes with some")

    corpus = fresh_human = held_out_text = _no_humans

    def with_visible(self, count: int) -> Suite:
        raise ValueError(f"tasks.visible: the tests of the suite {self.name!r} are as they are; drop the key")


def split_of(cluster: str) -> Split:
    """Half of all clusters are held out, by hash: one repository is never on both sides."""
    first = hashlib.sha256(f"harbor/split/{cluster}".encode("utf-8", "surrogatepass")).digest()[0]
    return Split.HELD_OUT if first < 128 else Split.TRAIN


class FixedSuite(MadeSuite):
    """A `Suite` of tasks that are there from the start; no human data. `place` names it in errors."""

    tasks: tuple[Task, ...] = ()

    def __init__(self, name: str, tasks: Sequence[Task], place: str) -> None:
        self.name, self.tasks, self._place = name, tuple(tasks), place
        ids = [task.id for task in tasks]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"{place}: more than one task is called {twice[0]!r}")

    def with_tasks(self, tasks: Sequence[Task], note: str = "") -> "FixedSuite":
        """The same suite with other tasks; `note` goes behind its place in errors."""
        return FixedSuite(self.name, tasks, self._place + note)

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return self._draw(Split.TRAIN, seed, count)

    def held_out_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return self._draw(Split.HELD_OUT, seed, count)

    def _draw(self, split: Split, seed: int, count: int) -> tuple[Task, ...]:
        there = [task for task in self.tasks if task.split is split]
        if count > len(there):
            raise ValueError(
                f"tasks.{split}: {count} asked for, but {self._place} has {len(there)} {split} tasks"
            )
        return tuple(random.Random(f"harbor/{split}/{seed}").sample(there, count))
