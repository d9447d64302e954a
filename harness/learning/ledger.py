"""What learning costs: people's work, and compute next to that of the arm `replace`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plateau_bench.results.records import Attempt

TRAINING_COST = 3
"""Forward passes that one trained token costs: backward takes two (Kaplan et al. 2001.08361)."""


@dataclass(slots=True)
class Ledger:
    """One round's entries; strategies and selection write them as they spend."""

    human_drawn: int = 0
    """Human programs obtained this round. Using one again is free."""
    human_verifications: int = 0
    """Attempts that a person judged: verdicts of the hidden tests that were bought."""
    selection_attempts: int = 0
    """Attempts on the selection split."""
    extra_tokens: int = 0
    """Tokens that passed through a model beyond practice and training: selection attempts, classifiers."""

    def facts(self, earlier: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """This round's entries and the human ones' totals; `earlier` are the facts of the rounds before."""
        entries = {
            "human_drawn": self.human_drawn,
            "human_verifications": self.human_verifications,
            "selection_attempts": self.selection_attempts,
            "extra_tokens": self.extra_tokens,
        }
        totals = {
            f"{name}_total": entries[name] + sum(facts.get(name, 0) for facts in earlier)
            for name in ("human_drawn", "human_verifications")
        }
        return entries | totals


def written_tokens(attempts: Sequence[Attempt]) -> int:
    """Tokens that the model wrote."""
    return sum(end - start for attempt in attempts for start, end in attempt.trajectory.loss_spans)


def compute_multiplier(
    *, sampled: int, extra: int, trained: int, replace_trained: float, epochs: float
) -> float | None:
    """Compute of a round over what `replace` would have spent on the same practice.

    In forward passes of a token: sampled + extra + 3 x epochs x trained. None if nothing was sampled.
    Measuring on held-out tasks is the harness's cost, not the strategy's, and is left out.
    """
    replace = sampled + TRAINING_COST * epochs * replace_trained
    return round((sampled + extra + TRAINING_COST * epochs * trained) / replace, 3) if replace else None
