"""Which checkpoint acts next, by its score on the selection split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from plateau_bench.harness.strategies.base import Trial
from plateau_bench.harness.strategies.params import Share, Usual


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate(Usual):
    """Parameters of a gate."""

    tolerance: Share = 0.0
    """How much lower the pass rate on the selection split may be."""


def not_worse(trials: Sequence[Trial], params: Gate) -> str:
    """The newest, unless it scores more than `tolerance` below the checkpoint it was made from."""
    newest = trials[-1]
    parent = next(trial for trial in trials if trial.checkpoint == newest.parent)
    return newest.checkpoint if newest.score >= parent.score - params.tolerance else parent.checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient(Usual):
    """Parameters of an early stop."""

    patience: Annotated[int, Field(ge=1)] = 2
    """Rounds without gain before the best checkpoint goes on."""


def best_so_far(trials: Sequence[Trial], params: Patient) -> str:
    """The newest, until `patience` of its line in a row are no better than the best: then the best."""
    by_name = {trial.checkpoint: trial for trial in trials}
    best, newest = max(trials, key=lambda trial: trial.score), trials[-1]
    without_gain, trial = 0, newest
    while trial is not best:
        without_gain, trial = without_gain + 1, by_name[trial.parent]
    return best.checkpoint if without_gain >= params.patience else newest.checkpoint
