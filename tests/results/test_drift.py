"""Drift against a plain computation, one text and one token at a time."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from plateau_bench.agents.models.checkpoint import make_model, make_tokenizer
from plateau_bench.results.metrics.drift import Text, head_types, rare_types, score, scored_tokens


@pytest.fixture(scope="module")
def models() -> list[PreTrainedModel]:
    tokenizer = make_tokenizer(["abc"], 220)
    return [
        make_model(tokenizer, hidden=16, layers=2, heads=2, ffn=32, seed=seed).eval().double()
        for seed in (1, 2)
    ]


TEXTS = [
    Text(token_ids=(1, 7, 9, 11, 4), start=2),
    Text(token_ids=(3, 8, 8, 8, 20, 21, 22, 4), start=5),
    Text(token_ids=(1, 30, 4), start=1),
    Text(token_ids=(1, 7, 9, 8, 30, 4, 20), start=1, spans=((1, 3), (5, 7))),
]


def by_hand(p: PreTrainedModel, q: PreTrainedModel, text: Text, rare: frozenset[int]) -> dict[str, float]:
    sums = Counter[str]()
    for position in [i for start, end in text.scored for i in range(start, end)]:
        prefix = torch.tensor([text.token_ids[:position]])
        with torch.no_grad():
            a = p(input_ids=prefix).logits[0, -1].softmax(-1)
            b = q(input_ids=prefix).logits[0, -1].softmax(-1)
        token = text.token_ids[position]
        sums["tokens"] += 1
        sums["nll"] -= math.log(a[token])
        sums["entropy"] -= float((a * a.log()).sum())
        sums["kl"] += float((a * (a / b).log()).sum())
        if token in rare:
            sums["rare_tokens"] += 1
            sums["rare_nll"] -= math.log(a[token])
    return sums


def test_every_sum_equals_the_plain_computation(models: list[PreTrainedModel]) -> None:
    p, q = models
    rare = frozenset({8, 22, 4})
    found = score((p, q, p), TEXTS, rare=rare)
    for i, text in enumerate(TEXTS):
        expected = by_hand(p, q, text, rare)
        for name in ("tokens", "rare_tokens"):
            assert getattr(found, name)[i] == expected[name], name
        for name in ("nll", "entropy", "rare_nll"):
            assert getattr(found, name)[0][i] == pytest.approx(expected[name], rel=1e-4), name
        assert found.kl[1][i] == pytest.approx(expected["kl"], rel=1e-3)
        other = by_hand(q, p, text, rare)
        assert found.nll[1][i] == pytest.approx(other["nll"], rel=1e-4)
        assert found.entropy[1][i] == pytest.approx(other["entropy"], rel=1e-4)
    assert (found.kl[0] == 0).all()
    assert (found.kl[2] == 0).all()


def test_neighbours_and_padding_do_not_matter(models: list[PreTrainedModel]) -> None:
    together = score(models, TEXTS)
    for i, text in enumerate(TEXTS):
        alone = score(models, [text])
        assert alone.nll[:, 0] == pytest.approx(together.nll[:, i], rel=1e-5)
        assert alone.kl[1, 0] == pytest.approx(together.kl[1, i], rel=1e-4)


@given(st.lists(st.lists(st.integers(0, 30), min_size=2, max_size=30), min_size=1, max_size=20))
def test_rare_types_cover_at_most_the_tail_and_nothing_rarer_is_left_out(ids: list[list[int]]) -> None:
    texts = [Text(token_ids=tuple(one), start=1) for one in ids]
    counts = Counter(token for one in ids for token in one[1:])
    rare = rare_types(texts, tail=0.1)
    assert sum(counts[token] for token in rare) <= 0.1 * sum(counts.values())
    others = [counts[token] for token in counts if token not in rare]
    assert all(counts[token] <= min(others) for token in rare)


def test_the_prompt_is_context_only() -> None:
    assert rare_types([Text(token_ids=(9, 9, 1), start=2)], tail=1.0) == {1}


def test_scores_by_token_add_up_and_know_their_types(models: list[PreTrainedModel]) -> None:
    p, q = models
    found = score((p, q), TEXTS, rare=frozenset({8, 22, 4}), by_token=True)
    types, owner = scored_tokens(TEXTS)
    assert types.tolist() == [9, 11, 4] + [21, 22, 4] + [30, 4] + [7, 9, 4, 20]
    assert found.token_nll is not None
    for m in (0, 1):
        assert np.bincount(owner, found.token_nll[m]) == pytest.approx(found.nll[m])
        rare = np.isin(types, [8, 22, 4])
        assert np.bincount(owner[rare], found.token_nll[m][rare]) == pytest.approx(found.rare_nll[m])


def test_kl_is_exact_by_enumerating_every_text(models: list[PreTrainedModel]) -> None:
    """All texts of two tokens after a prompt: sum over texts of P(text) [log P(text) - log Q(text)]."""
    p, q = models
    prompt, size = (1, 7), p.config.vocab_size
    logs = []
    for model in (p, q):
        with torch.no_grad():
            first = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
            after = torch.tensor([[*prompt, token] for token in range(size)])
            second = model(input_ids=after).logits[:, -1].log_softmax(-1)
        logs.append((first[:, None] + second).double())
    exact = float((logs[0].exp() * (logs[0] - logs[1])).sum())
    entropy = float(-(logs[0].exp() * logs[0]).sum())

    # Ours: a mean over texts sampled from p of a sum over their prefixes; here weighted by chance instead.
    texts = [Text(token_ids=(*prompt, token, 0), start=2) for token in range(size)]
    found = score((p, q), texts)
    chance = logs[0].exp().sum(-1).numpy()
    assert float(chance @ found.kl[1]) == pytest.approx(exact, rel=1e-3)
    assert float(chance @ found.entropy[0]) == pytest.approx(entropy, rel=1e-4)


@given(st.lists(st.lists(st.integers(0, 30), min_size=2, max_size=30), min_size=1, max_size=20))
def test_head_types_are_the_fewest_that_cover_half(ids: list[list[int]]) -> None:
    counts = Counter(token for one in ids for token in one[1:])
    head = head_types([Text(token_ids=tuple(one), start=1) for one in ids])
    covered = sum(counts[token] for token in head)
    assert covered >= 0.5 * counts.total()
    assert covered - min(counts[token] for token in head) < 0.5 * counts.total()
    assert all(counts[token] <= min(counts[h] for h in head) for token in counts if token not in head)
    assert not head & rare_types([Text(token_ids=tuple(one), start=1) for one in ids])
