"""What a run asks of a suite of tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.base import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanSample:
    """One (instruction, program) pair as a person would write it; for the katas a generated stand-in."""

    instruction: str
    program: str
    stratum: str
    correct: bool
    """By the task's hidden tests. Noisy corpora hold wrong programs too."""
    combo: str = ""
    """Which operations it composes; the split is decided by its hash."""
    style: str = ""


class Suite(Protocol):
    """A source of tasks, and of human data where there is any. The same arguments give the same bytes."""

    name: str
    has_human_data: bool
    """Whether `corpus`, `fresh_human` and `held_out_text` give anything."""

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
