"""Strategies: what a round learns from. Each is a small composition of four choices.

    pool    which attempts are on the table       current_round | all_rounds
    keep    which of them count as successes      verified
    mix     what else goes into the training set  own_only | with_human(fraction)
    start   which weights are fine-tuned          "previous" | "base"

All arms follow the same budget rule: at most `budget` examples a round, drawn without replacement.
A new strategy is a new entry of `STRATEGIES`:

    "keep_all": Strategy(summary="learn from everything, right or wrong", source="control", keep=anything)
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.config import ArmConfig
from harness.dataset import Example
from results.records import Attempt
from tasks.base import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What a strategy may draw on after one round."""

    current: Sequence[Attempt]
    """Practice attempts of this round. Train split only."""
    earlier: Callable[[], list[Attempt]]
    """Practice attempts of all rounds before, oldest first; read from disk only when asked for."""
    human: Callable[[int], list[Example]]
    """`human(n)` gives n fresh human examples on training tasks; each call is entered in the ledger."""
    as_example: Callable[[Attempt], Example]
    budget: int
    rng: random.Random


Pool = Callable[[Material], list[Attempt]]
Keep = Callable[[Attempt, ArmConfig], bool]
Mix = Callable[[Material, list[Attempt], ArmConfig], list[Example]]


def current_round(material: Material) -> list[Attempt]:
    return list(material.current)


def all_rounds(material: Material) -> list[Attempt]:
    return [*material.earlier(), *material.current]


def verified(attempt: Attempt, arm: ArmConfig) -> bool:
    """Passed the visible tests: the signal a user has. The hidden tests never select.

    An attempt that tampered with its grading is never learnt from, unless the arm asks for it.
    """
    honest = attempt.verdict.outcome is not Outcome.INVALID
    return attempt.verdict.verified and honest or arm.tampered and not honest


def own_only(material: Material, kept: list[Attempt], arm: ArmConfig) -> list[Example]:
    return _draw(material, kept, material.budget)


def with_human(material: Material, kept: list[Attempt], arm: ArmConfig) -> list[Example]:
    """`arm.fraction` of the examples are fresh human programs, the rest the model's own successes.

    The total is what `own_only` would have used, so the arms differ in origin, not in amount.
    """
    total = min(len(kept), material.budget)
    humans = material.human(round(arm.fraction * total))
    return _draw(material, kept, total - len(humans)) + humans


def _draw(material: Material, kept: list[Attempt], count: int) -> list[Example]:
    chosen = kept if len(kept) <= count else material.rng.sample(kept, count)
    return [material.as_example(attempt) for attempt in chosen]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """A named composition, with where the idea comes from."""

    summary: str
    source: str
    trains: bool = True
    pool: Pool = current_round
    keep: Keep = verified
    mix: Mix = own_only
    start: Literal["previous", "base"] = "previous"

    def choose(self, material: Material, arm: ArmConfig) -> list[Example]:
        """The training examples of this round, shuffled."""
        kept = [attempt for attempt in self.pool(material) if self.keep(attempt, arm)]
        examples = self.mix(material, kept, arm)
        material.rng.shuffle(examples)
        return examples


STRATEGIES: Mapping[str, Strategy] = {
    "replace": Strategy(
        summary="fine-tune the latest model on this round's own successes only",
        source="naive self-training; the 'replace' workflow of Gerstgrasser et al. 2404.01413",
    ),
    "accumulate": Strategy(
        summary="fine-tune the latest model on successes of all rounds so far, at the same budget",
        source="Gerstgrasser et al. 2404.01413; fixed-budget form: Kazdan et al. 2410.16713",
        pool=all_rounds,
    ),
    "fresh_human": Strategy(
        summary="replace, but a share of the examples are new human programs each round",
        source="fresh human data, claimed as a remedy for collapse; Shumailov et al. 2305.17493",
        mix=with_human,
    ),
    "reset_base": Strategy(
        summary="fine-tune the base model, not the latest one, on this round's own successes",
        source="ReST-EM, Singh et al. 2312.06585",
        start="base",
    ),
    "no_train": Strategy(
        summary="control: never train, only measure again with fresh samples",
        source="A/A control",
        trains=False,
    ),
}


def explain() -> list[tuple[str, str, str]]:
    """(name, summary, source) of every strategy, for `plateau strategies`."""
    return [(name, strategy.summary, strategy.source) for name, strategy in STRATEGIES.items()]
