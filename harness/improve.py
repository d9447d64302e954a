"""What changes between rounds. Today: the weights, by supervised fine-tuning.

A round only knows this protocol, so that a memory document or the agent's own scaffold can be improved
by the same loop and judged by the same measures.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.config import TrainConfig
from harness.dataset import TrainingSet
from harness.models import Models

Progress = Callable[[int, int], None]


class Improver(Protocol):
    def improve(
        self, start: str, training_set: TrainingSet, folder: Path, *, seed: int, progress: Progress
    ) -> None:
        """Learn from `training_set`, starting at checkpoint `start`; `folder` appears whole when done."""


class FineTune:
    """Improver over the weights: `start` and `folder` are Hugging Face checkpoints."""

    def __init__(self, config: TrainConfig, models: Models) -> None:
        self._config = config
        self._models = models

    def improve(
        self, start: str, training_set: TrainingSet, folder: Path, *, seed: int, progress: Progress
    ) -> None:
        from agents.checkpoint import save
        from harness.train import fine_tune

        model, tokenizer = self._models.fresh(start)
        trained = fine_tune(
            model,
            training_set.examples,
            self._config,
            pad_id=tokenizer.pad_token_id,
            seed=seed,
            progress=progress,
        )
        save(trained, tokenizer, folder)
