"""Which checkpoint acts next, by its score on the selection split."""

from collections.abc import Sequence

from plateau_bench.harness.config import ArmConfig
from plateau_bench.harness.strategies.base import Trial


def not_worse(trials: Sequence[Trial], arm: ArmConfig) -> str:
    """The newest, unless it scores more than `arm.tolerance` below the checkpoint it was made from."""
    newest = trials[-1]
    parent = next(trial for trial in trials if trial.checkpoint == newest.parent)
    return newest.checkpoint if newest.score >= parent.score - arm.tolerance else parent.checkpoint


def best_so_far(trials: Sequence[Trial], arm: ArmConfig) -> str:
    """The newest, until `arm.patience` of its line in a row are no better than the best: then the best."""
    by_name = {trial.checkpoint: trial for trial in trials}
    best, newest = max(trials, key=lambda trial: trial.score), trials[-1]
    without_gain, trial = 0, newest
    while trial is not best:
        without_gain, trial = without_gain + 1, by_name[trial.parent]
    return best.checkpoint if without_gain >= arm.patience else newest.checkpoint
