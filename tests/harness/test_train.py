"""Real gradient steps on a very small model."""

import hashlib

import pytest
import torch
from transformers import PreTrainedModel

from plateau_bench.agents.models.checkpoint import make_model, make_tokenizer
from plateau_bench.harness.learning.dataset import Example, Origin
from plateau_bench.harness.learning.settings import TrainConfig
from plateau_bench.harness.learning.train import fine_tune, mix_weights, truncated_loss
from plateau_bench.harness.strategies import Usual
from plateau_bench.harness.strategies.lessons import Lesson, Truncated, fine_tuning, truncated


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


def test_a_single_step_is_a_step(tokenizer) -> None:  # type: ignore[no-untyped-def]
    config = TrainConfig(epochs=1, learning_rate=1e-2, batch_tokens=40)
    once = fine_tune(model(tokenizer), EXAMPLES[:2], config, pad_id=0, seed=5)
    assert fingerprint(once) != fingerprint(model(tokenizer))


def test_truncated_loss_leaves_out_what_the_model_is_sure_of() -> None:
    labels = torch.tensor([[-100, 1, 2, -100]])
    logits = torch.zeros(1, 4, 4)
    logits[0, 0, 1] = 10.0  # sure of the first label, undecided about the second
    whole = truncated_loss(logits, labels, 1.0)
    plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert whole == pytest.approx(plain.item())
    assert truncated_loss(logits, labels, 0.9) == pytest.approx(torch.log(torch.tensor(4.0)).item() / 2)
    assert truncated_loss(logits, labels, 0.1) == 0


def test_truncation_changes_training_only_below_one(tokenizer) -> None:  # type: ignore[no-untyped-def]
    config = TrainConfig(epochs=2, learning_rate=1e-2, batch_tokens=40)
    lessons = [
        Lesson(
            model=model(tokenizer), base=lambda: model(tokenizer), pad_id=0, config=config, seed=5,
            progress=lambda done, total: None,
        )
        for _ in range(3)
    ]  # fmt: skip
    params = [Truncated(gamma=1.0), Truncated(gamma=1e-9)]
    prints = [fingerprint(truncated(*pair)) for pair in zip(lessons, [EXAMPLES] * 2, params, strict=False)]
    assert prints[0] == fingerprint(fine_tuning(lessons[2], EXAMPLES, Usual()))
    assert prints[0] != prints[1] == fingerprint(model(tokenizer))  # no token is under the loss


def test_mixed_weights_lie_between(tokenizer) -> None:  # type: ignore[no-untyped-def]
    base = model(tokenizer)
    trained = fine_tune(model(tokenizer), EXAMPLES, CONFIG, pad_id=0, seed=5)
    expected = [0.25 * t + 0.75 * b for t, b in zip(trained.parameters(), base.parameters(), strict=True)]
    mix_weights(trained, base, 0.25)
    for mixed, wanted in zip(trained.parameters(), expected, strict=True):
        assert torch.allclose(mixed, wanted, atol=1e-6)


def test_a_training_that_diverges_stops(tokenizer) -> None:  # type: ignore[no-untyped-def]
    config = TrainConfig(epochs=12, learning_rate=1e30, batch_tokens=40)
    with pytest.raises(ValueError, match=r"diverged.*learning_rate|NaN or infinite"):
        fine_tune(model(tokenizer), EXAMPLES, config, pad_id=None, seed=5)
