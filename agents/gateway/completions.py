"""OpenAI's chat completions, for `agents.gateway`: requests come as they are needed, only answers are put
together here. Names as in the API's reference (`POST /v1/chat/completions`).
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from plateau_bench.agents.gateway.conversation import Answer, Conversation

NAME = "completions"
PATHS = ("/v1/chat/completions", "/chat/completions")


def read(body: Mapping[str, Any]) -> Conversation:
    """A request's messages and tools, as they came. Raises ValueError for what is none."""
    tools = body.get("tools") or []
    if not isinstance(body.get("messages"), list) or not isinstance(tools, list):
        raise ValueError("messages: a list is needed; and one of tools, if any")
    return Conversation(messages=body["messages"], tools=tools)


def from_answer(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    """The response to a request: the choice as its server wrote it, or put together from the answer."""
    calls = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in answer.calls
    ]
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"reasoning_content": answer.reasoning} if answer.reasoning else {}
    choice = {"message": message, "finish_reason": answer.finish, **(answer.choice or {}), "index": 0}
    usage = answer.usage
    read, written = ("input_token_details", "cache_read"), ("output_token_details", "reasoning")
    return {
        "id": f"plateau-{answer.number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": str(body.get("model")),
        "choices": [choice],
        "usage": usage
        and {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
            **_detail("prompt_tokens_details", "cached_tokens", usage, *read),
            **_detail("completion_tokens_details", "reasoning_tokens", usage, *written),
        },
    }


def _detail(name: str, key: str, usage: Mapping[str, Any], part: str, count: str) -> dict[str, Any]:
    known = (usage.get(part) or {}).get(count)
    return {} if known is None else {name: {key: known}}


def events(reply: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The whole response as the stream of chunks that clients expect; usage comes last if asked for."""
    (choice,) = reply["choices"]
    message = choice["message"]
    calls = [{**call, "index": i} for i, call in enumerate(message.get("tool_calls") or ())]
    more = {"logprobs": choice["logprobs"]} if choice.get("logprobs") else {}
    delta = {**message, **({"tool_calls": calls} if calls else {})}
    part = {"index": 0, "delta": delta, "finish_reason": choice["finish_reason"], **more}
    chunks = [{**reply, "object": "chat.completion.chunk", "choices": [part]}]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks = [{**chunks[0], "usage": None}, {**chunks[0], "choices": []}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
