"""LocalChatModel through LangChain's own entry points."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from plateau_bench.agents.base import ModelUnavailable
from plateau_bench.agents.models.checkpoint import save
from plateau_bench.agents.models.cohort import together
from plateau_bench.agents.models.faults import ContextFull
from plateau_bench.agents.models.local import LocalChatModel, as_chat, stop_ids
from tests.agents.tiny import tiny_checkpoint

ASK = [HumanMessage("keep the even numbers of a, then add 3")]


@pytest.fixture(scope="module")
def chat() -> LocalChatModel:
    return LocalChatModel(*tiny_checkpoint(), name_or_path="tiny", max_tokens=10)


def test_invoke_tells_exactly_what_was_seen_and_written(chat: LocalChatModel) -> None:
    reply = chat.invoke(ASK, seeds=[5])
    facts = reply.response_metadata
    prompt, written = facts["prompt_token_ids"], facts["token_ids"]
    tokenizer = chat.tokenizer
    assert tokenizer.decode(prompt) == f"<|user|>{ASK[0].content}<|end|><|assistant|>"
    stopped = facts["finish_reason"] == "stop"
    assert reply.text == tokenizer.decode(written[:-1] if stopped else written)
    assert facts["model_name"] == "tiny"
    assert facts["seed"] == 5
    counts = {"input_tokens": len(prompt), "output_tokens": len(written)}
    assert reply.usage_metadata == counts | {"total_tokens": sum(counts.values())}
    with torch.no_grad():
        logits = chat.transformers_model(input_ids=torch.tensor([[*prompt, *written]])).logits[0]
    expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, torch.tensor(written)[:, None])[:, 0]
    np.testing.assert_allclose(facts["logprobs"], expected, atol=1e-4)


def test_one_call_gives_n_generations_and_seeds_decide_them(chat: LocalChatModel) -> None:
    def texts(seeds: list[int]) -> list[str]:
        result = chat.generate([ASK], n=len(seeds), seeds=seeds, temperature=1.0, max_tokens=8)
        return [generation.message.text for generation in result.generations[0]]

    four = texts([4, 5, 6, 7])
    assert len(set(four)) == 4
    assert texts([6, 4]) == [four[2], four[0]]
    assert chat.invoke(ASK).text == chat.invoke(ASK).text


def test_temperature_zero_is_greedy(chat: LocalChatModel) -> None:
    result = chat.generate([ASK], n=2, seeds=[1, 2], temperature=0)
    first, second = (generation.message.text for generation in result.generations[0])
    assert first == second


def test_load_reads_what_save_wrote(chat: LocalChatModel, tmp_path: Path) -> None:
    save(*tiny_checkpoint(), tmp_path / "checkpoint")
    loaded = LocalChatModel.load(tmp_path / "checkpoint", device="cpu", max_tokens=10)
    assert loaded.name_or_path == str(tmp_path / "checkpoint")
    assert loaded.invoke(ASK, seeds=[5]).text == chat.invoke(ASK, seeds=[5]).text
    assert loaded.transformers_model.dtype == torch.float32


def test_a_checkpoint_without_chat_template_is_refused_by_name(tmp_path: Path) -> None:
    model, tokenizer = tiny_checkpoint()
    template, tokenizer.chat_template = tokenizer.chat_template, None
    save(model, tokenizer, tmp_path / "mute")
    with pytest.raises(ValueError, match=r"mute.*no chat template.*tokenizer\.chat_template"):
        LocalChatModel.load(tmp_path / "mute")
    loaded = LocalChatModel.load(tmp_path / "mute", device="cpu", chat_template=template)
    assert loaded.invoke(ASK, max_tokens=3).usage_metadata["output_tokens"] <= 3


def test_too_long_a_prompt_and_unknown_options_are_named(chat: LocalChatModel) -> None:
    with pytest.raises(ModelUnavailable, match="tiny: .*203 tokens .*128 positions"):
        chat.invoke([HumanMessage("~" * 200)])
    with pytest.raises(ContextFull, match="tiny: .*128 positions"):
        chat.invoke([*ASK, AIMessage("~" * 200), *ASK])
    with pytest.raises(ValueError, match="top_k"):
        chat.invoke(ASK, top_k=3)
    with pytest.raises(ValueError, match="2 seeds needed, got 1"):
        chat.invoke(ASK, n=2, seeds=[1])


def test_what_was_asked_for_is_cut_to_what_the_context_leaves(chat: LocalChatModel) -> None:
    """Also in a batch with shorter prompts, whose own limit stays as it was asked."""
    asked = [[HumanMessage("~" * 100)], ASK, [HumanMessage("~" * 60)]]
    alone = [chat.generate([one], seeds=[3], max_tokens=4096).generations[0][0].message for one in asked]
    works = [partial(chat.invoke, one, seeds=[3], max_tokens=4096) for one in asked]
    for one, other in zip(alone, together(works), strict=True):
        facts = one.response_metadata
        assert facts["token_ids"] == other.response_metadata["token_ids"]
        total = len(facts["prompt_token_ids"]) + len(facts["token_ids"])
        assert total == 128 if facts["finish_reason"] == "length" else total <= 128


def test_default_length_fits_the_model() -> None:
    chat = LocalChatModel(*tiny_checkpoint())
    facts = chat.invoke([HumanMessage("~" * 100)], temperature=0).response_metadata
    assert len(facts["prompt_token_ids"]) + len(facts["token_ids"]) <= 128


def test_tools_reach_the_chat_template() -> None:
    model, tokenizer = tiny_checkpoint()
    tokenizer.chat_template = (
        "{% for tool in tools or [] %}{{ tool.function.name }};{% endfor %}" + tokenizer.chat_template
    )

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    reply = LocalChatModel(model, tokenizer).bind_tools([add]).invoke(ASK, max_tokens=1)
    assert tokenizer.decode(reply.response_metadata["prompt_token_ids"]).startswith("add;<|user|>")


def test_messages_become_what_templates_expect() -> None:
    call = {"name": "bash", "args": {"command": "ls"}, "id": "c1", "type": "tool_call"}
    messages = [
        SystemMessage("be brief"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("a.py", tool_call_id="c1"),
    ]
    assert [as_chat(message) for message in messages] == [
        {"role": "system", "content": "be brief"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"type": "function", "id": "c1", "function": {"name": "bash", "arguments": {"command": "ls"}}}
            ],
        },
        {"role": "tool", "content": "a.py", "tool_call_id": "c1"},
    ]


def test_every_end_token_stops() -> None:
    model, tokenizer = tiny_checkpoint()
    assert stop_ids(model, tokenizer) == [tokenizer.eos_token_id]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 9]
    assert stop_ids(model, tokenizer) == [tokenizer.eos_token_id, 9]
