"""The sampler against brute force: generate(), a plain forward, and softmax."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from plateau_bench.agents.models.sampler import Sample, sample
from tests.agents.tiny import tiny_model

ARCHITECTURES = ["llama", "qwen2", "qwen2-sliding", "gpt2"]
STOPS = [1, 7, 11]
PROMPTS = [[5, 6], [9, 4, 3, 8, 2], [12], [30, 31, 32, 33, 34, 35, 36], [5, 6, 9]]


def draw(model, prompts=PROMPTS, k=6, **changes) -> list[list[Sample]]:
    seeds = [[1000 * i + j for j in range(k)] for i in range(len(prompts))]
    settings = {"temperature": 1.0, "max_new_tokens": 12, "stop_ids": STOPS, "seeds": seeds} | changes
    return sample(model, prompts, settings.pop("seeds"), **settings)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_is_generates_greedy(architecture: str) -> None:
    model = tiny_model(architecture)
    ours = draw(model, k=1, temperature=0.0)
    for prompt, [one] in zip(PROMPTS, ours, strict=True):
        whole = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
            max_new_tokens=12, eos_token_id=STOPS, pad_token_id=0,
        )  # fmt: skip
        assert list(one.token_ids) == whole[0, len(prompt) :].tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logprobs_are_those_of_a_plain_forward_at_temperature_one(architecture: str) -> None:
    model = tiny_model(architecture)
    for prompt, found in zip(PROMPTS, draw(model, temperature=1.7), strict=True):
        for one in found:
            ids = torch.tensor([[*prompt, *one.token_ids]])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            np.testing.assert_allclose(one.logprobs, expected, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_frequencies_follow_softmax(temperature: float) -> None:
    model = tiny_model("llama", vocab=8)
    count = 4000
    [found] = draw(model, [[5, 6, 2]], seeds=[range(count)], temperature=temperature, max_new_tokens=1)
    with torch.no_grad():
        expected = (model(input_ids=torch.tensor([[5, 6, 2]])).logits[0, -1] / temperature).softmax(-1)
    seen = np.bincount([one.token_ids[0] for one in found], minlength=8)
    common = expected.double().numpy() * count > 5
    assert common.sum() >= 3
    observed = [*seen[common], seen[~common].sum()]
    wanted = [
        *(expected.double().numpy() * count)[common],
        (expected.double().numpy() * count)[~common].sum(),
    ]
    if wanted[-1] < 1:  # too rare for a cell of its own
        observed, wanted = observed[:-1], wanted[:-1]
    scale = sum(observed) / sum(wanted)
    assert chisquare(observed, np.array(wanted) * scale).pvalue > 1e-4


def test_rows_end_at_their_first_stop_and_say_why() -> None:
    found = [one for group in draw(tiny_model("llama"), k=40) for one in group]
    for one in found:
        assert len(one.logprobs) == len(one.token_ids)
        assert not set(one.token_ids[:-1]) & set(STOPS)
        assert (one.finish == "stop") == (one.token_ids[-1] in STOPS)
        assert one.finish == "stop" or len(one.token_ids) == 12
    assert {one.finish for one in found} == {"stop", "length"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_batch_does_not_change_what_a_row_draws(architecture: str) -> None:
    """Alone, beside others, in small batches, in another order: the same tokens for the same seed."""
    model = tiny_model(architecture)
    together = draw(model)
    alone = [
        [draw(model, [prompt], seeds=[[1000 * i + j]])[0][0] for j in range(6)]
        for i, prompt in enumerate(PROMPTS)
    ]
    split = draw(model, max_rows=4)
    by_slots = draw(model, max_slots=60)
    backwards = draw(
        model, PROMPTS[::-1], seeds=[[1000 * i + j for j in range(6)] for i in reversed(range(len(PROMPTS)))]
    )[::-1]
    for other in (alone, split, by_slots, backwards):
        assert [[x.token_ids for x in row] for row in other] == [
            [x.token_ids for x in row] for row in together
        ]
        for ours, theirs in zip(sum(other, []), sum(together, []), strict=True):
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)


def test_shared_prefill_equals_the_prompt_given_k_times() -> None:
    model = tiny_model("llama")
    [shared] = draw(model, [PROMPTS[1]], seeds=[[1, 2, 3]])
    repeated = draw(model, [PROMPTS[1]] * 3, seeds=[[1], [2], [3]])
    assert [one.token_ids for one in shared] == [one.token_ids for [one] in repeated]


def test_the_same_plan_gives_the_same_bits() -> None:
    model = tiny_model("llama")
    assert draw(model) == draw(model)


def test_seeds_matter_and_only_through_the_tokens_own_steps() -> None:
    model = tiny_model("llama")
    [found] = draw(model, [PROMPTS[0]], seeds=[list(range(30))])
    assert len({one.token_ids for one in found}) > 10
    [shorter] = draw(model, [PROMPTS[0]], seeds=[list(range(30))], max_new_tokens=5)
    assert [one.token_ids for one in shorter] == [one.token_ids[:5] for one in found]


def test_uneven_numbers_of_samples() -> None:
    model = tiny_model("llama")
    found = draw(model, seeds=[[], [1], [1, 2, 3], [], [5, 6]])
    assert [len(group) for group in found] == [0, 1, 3, 0, 2]
    assert draw(model, [], seeds=[]) == []


def test_no_token_without_probability_is_drawn() -> None:
    """Logits of minus infinity stay undrawn whatever the uniform, the largest below 1 included."""
    from plateau_bench.agents.models.sampler import _choose

    logits = torch.full((3, 6), -torch.inf)
    logits[:, 1], logits[:, 3] = 0.0, 1.0
    chosen, logprob = _choose(logits, torch.tensor([0.0, 0.5, 1.0]), 1.0)
    assert chosen.tolist() == [1, 3, 3]
    assert torch.isfinite(logprob).all()


def test_mistakes_are_named() -> None:
    model = tiny_model("llama", positions=16)
    with pytest.raises(ValueError, match="16 positions"):
        draw(model, [[5] * 10])
    with pytest.raises(ValueError, match="empty prompt"):
        draw(model, [[]])
    with pytest.raises(ValueError, match="temperature"):
        draw(model, temperature=-1.0)
    with pytest.raises(ValueError, match="eval"):
        draw(model.train())
