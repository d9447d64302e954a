"""What changes between rounds. Today: the weights, by supervised fine-tuning.

A round only knows this protocol, so that a memory document or the agent's own scaffold can be improved
by the same loop and judged by the same measures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.config import ArmConfig, TrainConfig
from plateau_bench.harness.learning.dataset import TrainingSet
from plateau_bench.harness.strategies import STRATEGIES


class Improver(Protocol):
    def improve(
        self, start: str, training_set: TrainingSet, folder: Path, *, seed: int, progress: Progress
    ) -> None:
        """Learn from `training_set`, starting at checkpoint `start`; `folder` appears whole when done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an arm fine-tunes; the default is plain fine-tuning."""

    truncate_above: float = 1.0
    """No loss on tokens with a higher probability than this."""
    anchor: str = ""
    """Checkpoint that the new weights are mixed with; '' mixes nothing."""
    share_of_new: float = 1.0

    @classmethod
    def of(cls, arm: ArmConfig, base: str) -> "Recipe":
        strategy = STRATEGIES[arm.strategy]
        return cls(
            truncate_above=arm.gamma if strategy.truncates else 1.0,
            anchor=base if strategy.averages else "",
            share_of_new=arm.lam if strategy.averages else 1.0,
        )


class FineTune:
    """Improver over the weights: `start` and `folder` are Hugging Face checkpoints."""

    def __init__(self, config: TrainConfig, models: Models, recipe: Recipe | None = None) -> None:
        self._config = config
        self._models = models
        self._recipe = recipe or Recipe()

    def improve(
        self, start: str, training_set: TrainingSet, folder: Path, *, seed: int, progress: Progress
    ) -> None:
        from plateau_bench.agents.models.checkpoint import save
        from plateau_bench.harness.learning.train import fine_tune, mix_weights

        model, tokenizer = self._models.fresh(start)
        trained = fine_tune(
            model,
            training_set.examples,
            self._config,
            pad_id=tokenizer.pad_token_id,
            seed=seed,
            progress=lambda done, total: progress("training", done, total),
            truncate_above=self._recipe.truncate_above,
        )
        if self._recipe.anchor:
            anchor, _ = self._models.fresh(self._recipe.anchor)
            mix_weights(trained, anchor, self._recipe.share_of_new)
        save(trained, tokenizer, folder)
