"""Tool calls in a local model's text: read by the tokenizer's own response template.

A checkpoint says with `tokenizer.response_template` how its chat template writes tool calls (see
transformers' response parsing). Checkpoints without one are read in the Hermes form that most use:
`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import InvalidToolCall, ToolCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HERMES: dict[str, Any] = {
    "start_anchor": ["<|im_start|>assistant\n", "<|assistant|>"],
    "fields": {
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"content": "text"},
    },
}


class Reply(NamedTuple):
    """What a model's text says: words, calls, and calls that could not be read."""

    text: str
    calls: list[ToolCall] = []  # noqa: RUF012 (never changed)
    malformed: list[InvalidToolCall] = []  # noqa: RUF012


def read_reply(
    tokenizer: "PreTrainedTokenizerBase", prompt_ids: Sequence[int], text: str, tools: list[Any]
) -> Reply:
    """Read what the model wrote. Never raises for that: a call that cannot be read is in `malformed`."""
    template = getattr(tokenizer, "response_template", None) or HERMES
    anchors = template.get("start_anchor")
    prompt = str(tokenizer.decode(list(prompt_ids), skip_special_tokens=False))
    known = any(one in prompt for one in ([anchors] if isinstance(anchors, str) else anchors or []))
    try:
        parsed: Any = tokenizer.parse_response(text, template, prefix=prompt if known else "", tools=tools)
        calls = [_call(i, call["function"]) for i, call in enumerate(parsed.get("tool_calls") or [])]
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] or type(error).__name__
        return Reply(
            text, [], [InvalidToolCall(type="invalid_tool_call", id=None, name=None, args=text, error=reason)]
        )
    words = parsed.get("content") or ""
    # What was written must stay visible even if it is neither a call nor an answer.
    return Reply(words if calls or words else text, calls)


def _call(index: int, function: Any) -> ToolCall:
    name, arguments = function["name"], function["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise TypeError("a call needs a name and a table of arguments")
    return ToolCall(name=name, args=arguments, id=f"call-{index}", type="tool_call")
