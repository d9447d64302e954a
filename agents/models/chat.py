"""What every agent needs of a chat model: its name, its seeds, and what was said as it is recorded."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.base import Message, ToolCall
from plateau_bench.agents.models.prices import Price

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage


def model_name(model: "BaseChatModel") -> str:
    """Return what a chat model calls its model, whichever of LangChain's spellings it uses."""
    named = (getattr(model, field, None) for field in ("name_or_path", "model_name", "model"))
    return next((name for name in named if isinstance(name, str)), type(model).__name__)


def seeding(model: "BaseChatModel", seeds: Sequence[int]) -> dict[str, Any]:
    """Return the option that asks for one completion per seed; endpoints count up from the first."""
    if getattr(model, "takes_seeds", False):
        return {"seeds": list(seeds)}
    return {"seed": seeds[0] % 2**31}


def reasoning_of(message: "AIMessage") -> str:
    """Return what the model thought, as text, where its server told it in a field; else ''."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.additional_kwargs.get(name), str) and text:
            return text
    return ""


def to_message(message: "BaseMessage", price: Price | None = None) -> Message:
    """Return a LangChain message as it is recorded."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    role = {"human": "user", "ai": "assistant"}.get(message.type, message.type)
    if isinstance(message, AIMessage):
        usage = message.usage_metadata
        return Message(
            role=role,
            text=message.text,
            tool_calls=tuple(
                ToolCall(id=call["id"] or "", name=call["name"], arguments=call["args"])
                for call in message.tool_calls
            ),
            malformed=tuple(str(call["args"]) for call in message.invalid_tool_calls),
            prompt_tokens=usage["input_tokens"] if usage else None,
            completion_tokens=usage["output_tokens"] if usage else None,
            cost_usd=price.of(usage) if price and usage else None,
            reasoning=reasoning_of(message),
            refusal=str(message.additional_kwargs.get("refusal") or ""),
        )
    assert isinstance(message, HumanMessage | SystemMessage | ToolMessage)
    text = message.text if isinstance(message.content, str) else json.dumps(message.content)
    call = message.tool_call_id if isinstance(message, ToolMessage) else ""
    return Message(role=role, text=text, tool_call_id=call)


def linear_history(
    answers: "Sequence[AIMessage]",
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...], tuple[float, ...]]:
    """Return token ids, the spans the model wrote, their log-probabilities; empty if an answer has no ids.

    Raises ValueError if an answer's prompt does not continue the one before: then the history was not
    linear, and no single sequence is what the model saw.
    """
    ids: tuple[int, ...] = ()
    spans: list[tuple[int, int]] = []
    logprobs: list[float] = []
    for answer in answers:
        facts = answer.response_metadata
        prompt, written = tuple(facts.get("prompt_token_ids", ())), tuple(facts.get("token_ids", ()))
        if not written:
            return (), (), ()
        if prompt[: len(ids)] != ids:
            raise ValueError("the prompt of a later call does not continue the earlier ones")
        ids = prompt + written
        spans.append((len(prompt), len(ids)))
        logprobs.extend(facts.get("logprobs", ()))
    return ids, tuple(spans), tuple(logprobs)
