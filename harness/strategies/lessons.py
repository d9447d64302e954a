"""How a strategy makes new weights from its examples: plainly, with another loss, or mixed with the base."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from plateau_bench.harness.learning.dataset import Example
from plateau_bench.harness.learning.settings import TrainConfig
from plateau_bench.harness.learning.train import Loss, Progress, fine_tune, mix_weights, truncated_loss
from plateau_bench.harness.strategies.params import Params, Share, Usual

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What a `learn` step has to work with. It may call `tuned`, or train `model` in a way of its own."""

    model: "PreTrainedModel"
    """The weights to start from, loaded anew in float32; free to be changed."""
    base: Callable[[], "PreTrainedModel"]
    """Loads the base weights anew."""
    pad_id: int
    config: TrainConfig
    seed: int
    progress: Progress

    def tuned(self, examples: Sequence[Example], loss: Loss | None = None) -> "PreTrainedModel":
        """The model fine-tuned as the config's section `train` says, by `loss` in place of its own."""
        return fine_tune(
            self.model,
            examples,
            self.config,
            pad_id=self.pad_id,
            seed=self.seed,
            loss=loss,
            progress=self.progress,
        )


def fine_tuning(lesson: Lesson, examples: Sequence[Example], params: Params) -> "PreTrainedModel":
    """Supervised fine-tuning."""
    return lesson.tuned(examples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncated(Usual):
    """Parameters of a truncated loss."""

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Probability above which a token carries no loss."""


def truncated(lesson: Lesson, examples: Sequence[Example], params: Truncated) -> "PreTrainedModel":
    """Fine-tuning without loss on tokens that the model already gives more than `gamma`."""
    return lesson.tuned(examples, partial(truncated_loss, gamma=params.gamma) if params.gamma < 1 else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixed(Usual):
    """Parameters of a mix of weights."""

    lam: Share = 0.5
    """Share of the new weights in the mix with the base's."""


def mixed(lesson: Lesson, examples: Sequence[Example], params: Mixed) -> "PreTrainedModel":
    """Fine-tuning, and then `lam` of the new weights and the rest of the base's."""
    trained = lesson.tuned(examples)
    mix_weights(trained, lesson.base(), params.lam)
    return trained
