from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.agents.models.checkpoint import make_model, make_tokenizer
from plateau_bench.harness.learning.dataset import (
    Example,
    Origin,
    TrainingSet,
    batches,
    collate,
    from_attempt,
    from_human,
)
from tests.harness.material import attempt, human


def example(length: int) -> Example:
    ids = tuple(range(1, length + 1))
    return Example(
        token_ids=ids, loss_spans=((length // 2, length),), origin=Origin.SELF, source="s", correct=True
    )


@given(st.lists(st.integers(2, 40), min_size=1, max_size=60), st.integers(40, 400), st.integers(1, 3))
def test_batches_cover_every_example_once_per_epoch_within_the_token_limit(
    lengths: list[int], limit: int, epochs: int
) -> None:
    examples = [example(length) for length in lengths]
    plan = batches(examples, batch_tokens=limit, epochs=epochs, seed=3)
    assert sorted(len(e.token_ids) for batch in plan for e in batch) == sorted(lengths * epochs)
    assert all(len(batch) * max(len(e.token_ids) for e in batch) <= limit for batch in plan)


def test_a_part_of_an_epoch_takes_a_part_of_the_examples() -> None:
    plan = batches([example(5)] * 100, batch_tokens=50, epochs=1.1, seed=0)
    assert sum(map(len, plan)) == 110


def test_loss_is_only_on_the_spans() -> None:
    short, long = example(4), example(6)
    tensors = collate([short, long], pad_id=0)
    assert tensors["labels"].tolist() == [[-100, -100, 3, 4, -100, -100], [-100, -100, -100, 4, 5, 6]]
    assert torch.equal(tensors["input_ids"][0], torch.tensor([1, 2, 3, 4, 0, 0]))


def test_padding_does_not_change_the_loss() -> None:
    model = make_model(make_tokenizer(["abc"], 220), hidden=16, layers=2, heads=2, ffn=32, seed=1).eval()
    short, long = example(4), example(9)

    def loss(batch: list[Example]) -> torch.Tensor:
        return model(**collate(batch, pad_id=0)).loss.detach()

    together = loss([short, long])
    counts = [sum(end - start for start, end in one.loss_spans) for one in (short, long)]
    alone = [float(loss([one])) * n for one, n in zip((short, long), counts, strict=True)]
    assert float(together) == pytest.approx(sum(alone) / sum(counts), rel=1e-5)


def test_noise_is_read_and_the_clean_tokens_are_the_labels() -> None:
    noisy = replace(example(4), input_ids=(9, 9, 3, 9))
    tensors = collate([noisy], pad_id=0)
    assert tensors["input_ids"].tolist() == [[9, 9, 3, 9]]
    assert tensors["labels"].tolist() == [[-100, -100, 3, 4]]
    assert TrainingSet((noisy,)).digest != TrainingSet((example(4),)).digest


def test_the_models_own_tokens_are_used_as_sampled() -> None:
    assert from_attempt(attempt(token_ids=(9, 8, 7, 6, 5))).token_ids == (9, 8, 7, 6, 5)


def test_an_attempt_without_token_ids_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"round-00/t0#0: no token ids"):
        from_attempt(attempt(token_ids=()))


def test_a_human_program_looks_like_an_attempt() -> None:
    tokenizer = make_tokenizer(["add them up", "def f(a):\n return sum(a)\n"], 300)
    made = from_human(tokenizer, "add them up", "def f(a):\n return sum(a)\n", source="human/0", correct=True)
    (start, end) = made.loss_spans[0]
    assert tokenizer.decode(made.token_ids[:start]) == "<|user|>add them up<|end|><|assistant|>"
    assert tokenizer.decode(made.token_ids[start:end]) == "def f(a):\n return sum(a)\n<|end|>"
    assert end == len(made.token_ids)


def test_facts_count_origins_and_the_digest_sees_order() -> None:
    mixed = [from_attempt(attempt()), from_attempt(attempt("t1", passed=False)), *human(2)]
    facts = TrainingSet(tuple(mixed)).facts()
    assert (facts["examples"], facts["human_examples"], facts["precision_own"]) == (4, 2, 0.5)
    assert facts["digest"] != TrainingSet(tuple(reversed(mixed))).digest
