"""Anthropic's messages in terms of OpenAI's chat completions and back, for `agents.gateway`. Names as in the
API's reference (`POST /v1/messages`).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

PATH = re.compile(r"(?:/v1)?/messages")


def to_openai(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request with OpenAI's tools and system message; the blocks of other messages stay as they are.

    A tool that is not the agent's own keeps its type. Raises whatever reading a malformed request raises.
    """
    system = body.get("system")
    if isinstance(system, list):
        system = "\n".join(str(part.get("text", "")) for part in system if isinstance(part, dict))
    messages = [{"role": "system", "content": system}] if system else []
    tools = [_tool(tool) for tool in body.get("tools") or []]
    return {**body, "messages": [*messages, *body["messages"]], "tools": tools}


def from_answer(answer: AIMessage, *, model: str, number: int) -> dict[str, Any]:
    """The response to a request."""
    content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [
        {"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["args"]} for c in answer.tool_calls
    ]
    length = answer.response_metadata.get("finish_reason") == "length"
    usage: Mapping[str, Any] = answer.usage_metadata or {}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if answer.tool_calls else "max_tokens" if length else "end_turn",
        "stop_sequence": None,
        "usage": {name: usage.get(name, 0) for name in ("input_tokens", "output_tokens")},
    }


def events(reply: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    made: list[dict[str, Any]] = [{"type": "message_start", "message": {**reply, "content": []}}]
    for index, block in enumerate(reply["content"]):
        if block["type"] == "text":
            start: dict[str, Any] = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        made += [
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    made += [{"type": "message_delta", "delta": stop, "usage": reply["usage"]}, {"type": "message_stop"}]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in made)


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    if "input_schema" not in tool or tool.get("type") not in (None, "custom"):
        return {"type": tool.get("type")}
    function = {"name": tool.get("name"), "description": tool.get("description") or ""}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}
