"""Real gradient steps on a very small model."""

import hashlib

import pytest
import torch
from transformers import PreTrainedModel

from agents.checkpoint import make_model, make_tokenizer
from harness.config import TrainConfig
from harness.dataset import Example, Origin
from harness.train import fine_tune


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return make_tokenizer(["abc"], 220)


def model(tokenizer) -> PreTrainedModel:  # type: ignore[no-untyped-def]
    return make_model(tokenizer, hidden=16, layers=1, heads=2, ffn=32, seed=1)


EXAMPLES = [
    Example(token_ids=(1, 7, 9, 11, 4), loss_spans=((2, 5),), origin=Origin.SELF, source=str(i), correct=True)
    for i in range(24)
]
CONFIG = TrainConfig(epochs=12, learning_rate=1e-2, batch_tokens=40)


def fingerprint(trained: PreTrainedModel) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trained.parameters())).hexdigest()


def loss(trained: PreTrainedModel, *, start: int) -> float:
    ids = torch.tensor([EXAMPLES[0].token_ids])
    labels = ids.clone()
    labels[:, :start] = -100
    return trained(input_ids=ids, labels=labels).loss.item()


def test_training_learns_what_the_spans_show_and_repeats_to_the_bit(tokenizer) -> None:  # type: ignore[no-untyped-def]
    steps: list[tuple[int, int]] = []
    first = fine_tune(
        model(tokenizer), EXAMPLES, CONFIG, pad_id=0, seed=5, progress=lambda *s: steps.append(s)
    )
    second = fine_tune(model(tokenizer), EXAMPLES, CONFIG, pad_id=0, seed=5)
    other = fine_tune(model(tokenizer), EXAMPLES, CONFIG, pad_id=0, seed=2**62)
    assert loss(first, start=2) < 0.5 * loss(model(tokenizer), start=2)
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(model(tokenizer))
    assert not other.training
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_lora_changes_the_outputs_and_leaves_an_ordinary_model(tokenizer) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("peft")
    config = TrainConfig(epochs=4, learning_rate=1e-2, batch_tokens=40, lora_rank=4)
    trained = fine_tune(model(tokenizer), EXAMPLES, config, pad_id=0, seed=5)
    assert loss(trained, start=2) < loss(model(tokenizer), start=2)
    assert trained.state_dict().keys() == model(tokenizer).state_dict().keys()


def test_nothing_to_learn_from_is_an_error(tokenizer) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="nothing to train on"):
        fine_tune(model(tokenizer), [], CONFIG, pad_id=0, seed=1)
