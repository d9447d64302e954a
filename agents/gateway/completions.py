"""OpenAI's chat completions, for `agents.gateway`: requests come as they are needed, only answers are put
together here. Names as in the API's reference (`POST /v1/chat/completions`).
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, convert_to_openai_messages

PATH = re.compile(r"(?:/v1)?/chat/completions")
to_openai = dict[str, Any]


def from_answer(answer: AIMessage, *, model: str, number: int) -> dict[str, Any]:
    """The response to a request."""
    message: Any = convert_to_openai_messages(answer)
    message["content"] = message.get("content") or None
    reason = answer.response_metadata.get("finish_reason") or "stop"
    finish = "tool_calls" if answer.tool_calls else reason
    usage = answer.usage_metadata
    return {
        "id": f"plateau-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage
        and {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
        },
    }


def events(reply: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    (choice,) = reply["choices"]
    message = choice["message"]
    calls = [{"index": i, **call} for i, call in enumerate(message.get("tool_calls", []))]
    delta = {"index": 0, "delta": {**message, "tool_calls": calls}, "finish_reason": choice["finish_reason"]}
    chunk = {**reply, "object": "chat.completion.chunk", "choices": [delta]}
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
