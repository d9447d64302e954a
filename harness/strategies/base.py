"""Strategies: what a round learns from, and what happens to the weights. Each is a small composition.

    verifier   which attempts count as successes              visible_tests
    pool       which attempts are on the table                current_round
    select     what is picked from them, step by step         ()
    draw       how many of them are used, by which odds       uniform
    human      how much of the training set people wrote      nobody
    change     what is done to the examples                   as_they_are
    start      which weights are fine-tuned                   "previous"
    learn      how the new weights are made                   fine_tuning
    balance    score by which a practice temperature is won   None: the config's temperature
    judge      which checkpoint acts next, by a selection split     None: the new one

Budget rule, the same for all arms: a round practises `tasks.train` x `practice.samples` attempts and
trains on as many examples as its verifier accepted in this round, at most `train.examples`. A larger pool
is sampled without replacement; a smaller one is repeated up to `REPEATS` times. Whatever deviates says so
in the round record (`compute_multiplier`).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from plateau_bench.harness.learning.dataset import Example
from plateau_bench.harness.learning.ledger import Ledger
from plateau_bench.harness.strategies.lessons import Lesson, fine_tuning
from plateau_bench.harness.strategies.params import Params, Tempered, Usual
from plateau_bench.harness.strategies.verifiers import visible_tests
from plateau_bench.results.records import Attempt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPEATS = 4
"""Scarce data repeated up to four times is worth about as much as new (Muennighoff et al. 2305.16264)."""


class DrawHuman(Protocol):
    def __call__(self, count: int, *, verified: bool = True) -> list[Example]:
        """`count` examples that people wrote; with `verified`, only programs that pass their tests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What a strategy may draw on after one round."""

    current: Sequence[Attempt]
    """Practice attempts of this round. Train split only."""
    earlier: Callable[[], list[Attempt]]
    """Practice attempts of all rounds before, oldest first; read from disk only when asked for."""
    fresh_human: DrawHuman
    """`fresh_human(n)`: n new human examples on training tasks, entered in the ledger."""
    original_human: DrawHuman
    """`original_human(n)`: the first n of a human set that is the same in every round and arm."""
    as_example: Callable[[Attempt], Example]
    budget: int
    """`train.examples`."""
    ledger: Ledger
    rng: random.Random


# Each function of a composition gets the arm's parameters last: an object of its strategy's `params`.
Verifier = Callable[[Attempt, Any], bool]
Accepts = Callable[[Attempt], bool]
Pool = Callable[[Material, Accepts], list[Attempt]]
Select = Callable[[Material, list[Attempt], Any], list[Attempt]]
Draw = Callable[[Material, list[Attempt], int], list[Attempt]]
"""(material, pool, how many) -> attempts."""
Human = Callable[[Material, int, Any], list[Example]]
"""(material, size of the whole training set, parameters) -> the human part of it."""
Change = Callable[[Material, list[Example], Any], list[Example]]
Learn = Callable[[Lesson, Sequence[Example], Any], "PreTrainedModel"]
Balance = Callable[[Sequence[Attempt], Any], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A checkpoint that was made, and how it did on the selection split."""

    checkpoint: str
    parent: str
    """The checkpoint that acted when it was made; '' for the base."""
    score: float
    """Share of attempts that pass the visible tests."""


Judge = Callable[[Sequence[Trial], Any], str]
"""All trials, the base first and the newest last -> the checkpoint that acts next."""


def current_round(material: Material, accepts: Accepts) -> list[Attempt]:
    return [attempt for attempt in material.current if accepts(attempt)]


def uniform(material: Material, pool: list[Attempt], count: int) -> list[Attempt]:
    """`count` of the pool without replacement; a smaller pool in whole passes, at most `REPEATS`."""
    if not pool:
        return []
    passes, rest = divmod(count, len(pool))
    if passes >= REPEATS:
        passes, rest = REPEATS, 0
    return pool * passes + material.rng.sample(pool, rest)


def nobody(material: Material, size: int, params: Params) -> list[Example]:
    return []


def as_they_are(material: Material, examples: list[Example], params: Params) -> list[Example]:
    return examples


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """A named composition, with where the idea comes from."""

    summary: str
    source: str
    params: type[Params] = Usual
    """What an arm with this strategy may set."""
    trains: bool = True
    verifier: Verifier = visible_tests
    pool: Pool = current_round
    select: tuple[Select, ...] = ()
    draw: Draw = uniform
    human: Human = nobody
    change: Change = as_they_are
    start: Literal["previous", "base"] = "previous"
    learn: Learn = fine_tuning
    balance: Balance | None = None
    judge: Judge | None = None

    def __post_init__(self) -> None:
        """Raises TypeError if the round would miss a parameter that it reads itself."""
        needed = (Tempered if self.balance else Usual) if self.trains else Params
        if not issubclass(self.params, needed):
            raise TypeError(f"params: {self.params.__name__} must be derived from {needed.__name__}")

    def choose(self, material: Material, params: Any) -> list[Example]:
        """The training examples of this round, shuffled. `params` are the arm's, of the class `params`."""

        def accepts(attempt: Attempt) -> bool:
            return self.verifier(attempt, params)

        size = min(sum(map(accepts, material.current)), material.budget)
        pool = self.pool(material, accepts)
        for select in self.select:
            pool = select(material, pool, params)
        humans = self.human(material, size, params)
        own = self.draw(material, pool, size - len(humans))
        examples = [material.as_example(attempt) for attempt in own] + humans
        material.rng.shuffle(examples)
        return self.change(material, examples, params)
