"""Settings of training and of the base model: the sections `train` and `model` of a config."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Supervised fine-tuning of one round."""

    examples: Positive = 800
    """At most this many examples a round, in every arm but accumulate."""
    epochs: Positive = 3
    learning_rate: Rate = 7e-4
    batch_tokens: Positive = 1024
    """Padded tokens in one optimizer step."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """0 trains all weights; above 0 trains LoRA matrices of this rank and merges them."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """The small base model that is made on the spot when `model.path` is not given."""

    corpus: Positive = 40_000
    """Generated stand-ins for human (instruction, program) pairs."""
    vocab: Positive = 768
    hidden: Positive = 96
    layers: Positive = 3
    heads: Positive = 3
    ffn: Positive = 256
    epochs: Rate = 1.1
    learning_rate: Rate = 4e-3
    batch_tokens: Positive = 2048
    context: Positive = 512
    """Positions of the model: the longest conversation, in tokens."""
    observed: Share = 0.0
    """Share of the corpus whose prompts and tool results carry loss too."""
    short_first: Share = 0.0
    """Share of pretraining, at its start, that sees only the shortest third of the corpus."""
    init_std: Rate = 0.02
    """Standard deviation of the fresh weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model that every arm of a seed starts from."""

    path: str | None = None
    """Checkpoint folder or hub id; null pretrains a small model from the suite's human corpus."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
