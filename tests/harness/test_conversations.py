"""Conversations as training data: rendered as the agent sees them, loss on the assistant's tokens alone."""

import random
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import pytest

from plateau_bench.agents.models.checkpoint import STABLE, make_tokenizer
from plateau_bench.agents.models.toolcalls import read_reply
from plateau_bench.agents.tool import SYSTEM_PROMPT, tool_schemas
from plateau_bench.harness.learning.base_model import _plan, _texts, _tokenizer, cache_key
from plateau_bench.harness.learning.dataset import from_attempt, from_sample
from plateau_bench.harness.learning.settings import PretrainConfig
from plateau_bench.harness.rounds.measure import of_conversations
from plateau_bench.results.metrics.drift import Text
from plateau_bench.results.metrics.drift_values import _row, _text, in_turns
from plateau_bench.tasks.suite import HumanSample
from plateau_bench.tasks.suites import katas, repo_katas
from tests.harness.material import attempt

SETTINGS = PretrainConfig(vocab=700, context=1024, observed=0.5, short_first=0.5, batch_tokens=600)


@lru_cache
def people() -> list[HumanSample]:
    return repo_katas.corpus(4, 60)


@lru_cache
def tokenizer() -> Any:
    return _tokenizer(people(), SETTINGS)


def test_loss_is_on_what_the_assistant_wrote_and_on_nothing_else() -> None:
    for sample in people():
        made = from_sample(tokenizer(), sample, source="x")
        parts = [tokenizer().decode(made.token_ids[start:end]) for start, end in made.loss_spans]
        turns = [m["tool_calls"][0]["function"] for m in sample.chat if m["role"] == "assistant"]
        assert len(parts) == len(turns)
        for part, turn in zip(parts, turns, strict=True):
            assert part.startswith(f"<|call|>{turn['name']}")
            assert part.endswith("<|end|>")
        assert made.loss_spans[-1][1] == len(made.token_ids)
        whole = tokenizer().decode(made.token_ids)
        assert whole.startswith(f"<|system|>{SYSTEM_PROMPT}<|end|><|user|>{sample.instruction}<|end|>")
        assert all(m["content"] in whole for m in sample.chat)


def test_every_human_call_is_read_back_as_it_was_written() -> None:
    schemas = list(tool_schemas())
    prompt = tokenizer()("<|assistant|>")["input_ids"]
    for sample in people():
        made = from_sample(tokenizer(), sample, source="x")
        turns = [m["tool_calls"][0]["function"] for m in sample.chat if m["role"] == "assistant"]
        for (start, end), turn in zip(made.loss_spans, turns, strict=True):
            reply = read_reply(
                tokenizer(), prompt, tokenizer().decode(made.token_ids[start : end - 1]), schemas
            )
            assert [(one["name"], one["args"]) for one in reply.calls] == [(turn["name"], turn["arguments"])]


def test_a_system_prompt_is_one_token_and_what_is_copied_is_split_alike() -> None:
    (prompt,) = tokenizer()(SYSTEM_PROMPT)["input_ids"]
    assert tokenizer().decode([prompt]) == SYSTEM_PROMPT
    listed = tokenizer().tokenize("     2\t return sum(a)")
    written = tokenizer().tokenize("<|arg|>text= return sum(a)")
    inside = tokenizer().tokenize("x\n return sum(a)")
    assert listed[-2:] == written[-2:] or listed[-1] == written[-1] == inside[-1]
    names = {tuple(tokenizer().tokenize(f"{before}load_nums{after}")[-3:-1]) for before, after in [
        ("def ", "("), ('"', "("), (" = ", "("), ("", "("),
    ]}  # fmt: skip
    assert names == {("load", "_nums")}
    assert STABLE
    plain = make_tokenizer(["load_nums(a) load_nums(b)"] * 9, 300)
    assert plain.tokenize("load_nums") != ["load", "_nums"]


def test_short_conversations_come_first_and_some_carry_loss_everywhere() -> None:
    examples = [from_sample(tokenizer(), sample, source=str(i)) for i, sample in enumerate(people())]
    plan = _plan(examples, SETTINGS, 3)
    tokens = [sum(len(one.token_ids) for one in batch) for batch in plan]
    longest = sorted(len(one.token_ids) for one in examples)[19]
    early = [batch for i, batch in enumerate(plan) if sum(tokens[:i]) < 0.4 * sum(tokens)]
    assert max(len(one.token_ids) for batch in early for one in batch) <= longest
    used = [one for batch in plan for one in batch]
    everywhere = [one for one in used if one.loss_spans == ((1, len(one.token_ids)),)]
    assert 0.2 * len(used) < len(everywhere) < 0.8 * len(used)
    assert sum(tokens) == pytest.approx(sum(len(one.token_ids) for one in examples), rel=0.1)


def test_programs_are_rendered_as_before() -> None:
    sample = katas.corpus(1, 1)[0]
    plain = _tokenizer([sample], replace(SETTINGS, vocab=300))
    made = from_sample(plain, sample, source="x")
    ((start, end),) = made.loss_spans
    assert plain.decode(made.token_ids[start:end]) == sample.program + "<|end|>"
    assert list(_texts(sample)) == [sample.instruction, sample.program]


def test_drift_texts_of_conversations_survive_the_reference_file() -> None:
    text = in_turns((1, 2, 3, 4, 5), [[1, 2], [3, 5]])
    assert text.written == (2, 4, 5)
    assert _text(_row(text)) == text
    plain = Text(token_ids=(1, 2, 3), start=1)
    assert _text(_row(plain)) == plain
    rng = random.Random(1)
    rows = [attempt("t", i, token_ids=tuple(rng.choices(range(9), k=8))) for i in range(3)]
    found = of_conversations(rows, 2)
    assert [t.token_ids for t in found.texts] == [row.trajectory.token_ids for row in rows[:2]]
    assert from_attempt(rows[0]).loss_spans == found.texts[0].spans


def test_a_cached_base_model_is_known_by_everything_that_its_weights_depend_on() -> None:
    spoken, plain = people()[0], HumanSample(instruction="i", program="p", stratum="", correct=True)
    settings = PretrainConfig()
    changed = [
        replace(settings, **{one.name: getattr(settings, one.name) + 1}) for one in fields(PretrainConfig)
    ]
    keys = [cache_key(one, [plain], 1, "cpu") for one in (settings, *changed)]
    keys += [cache_key(settings, [plain], 2, "cpu"), cache_key(settings, [plain], 1, "cuda")]
    keys += [cache_key(settings, corpus, 1, "cpu") for corpus in ([plain] * 2, [spoken], [])]
    assert len({*keys}) == len(keys)
    assert keys[0] == cache_key(PretrainConfig(), [plain], 1, "cpu")
