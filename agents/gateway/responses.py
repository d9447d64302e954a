"""OpenAI's responses in terms of its chat completions and back, for `agents.gateway`. Names as in the API's
reference (`POST /v1/responses`).
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

PATH = re.compile(r"(?:/v1)?/responses")


def to_openai(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request's messages, tools and max_tokens. A tool that is not the agent's own keeps its type.

    Raises whatever reading a malformed request raises; ValueError for what a provider would have to keep.
    """
    for kept in ("previous_response_id", "conversation", "prompt"):
        if body.get(kept):
            raise ValueError(f"{kept}: nothing is kept here")
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "message":
            role = {"developer": "system"}.get(item["role"], item["role"])
            messages.append({"role": role, "content": _content(item["content"])})
        elif kind == "function_call":
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            said = _content(item["output"])
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": said})
        elif kind != "reasoning":
            raise ValueError(f"input: {kind!r} is not understood here")
    most = body.get("max_output_tokens")
    tools = [_tool(tool) for tool in body.get("tools") or []]
    temperature = body.get("temperature")
    return {"messages": messages, "tools": tools, "max_tokens": most, "temperature": temperature}


def from_answer(answer: AIMessage, *, model: str, number: int) -> dict[str, Any]:
    """The response to a request."""
    output: list[dict[str, Any]] = []
    if answer.text or not answer.tool_calls:
        text = {"type": "output_text", "text": answer.text, "annotations": []}
        output.append({"type": "message", "role": "assistant", "content": [text]})
    output += [
        {"type": "function_call", "call_id": c["id"], "name": c["name"], "arguments": json.dumps(c["args"])}
        for c in answer.tool_calls
    ]
    for place, item in enumerate(output):
        item |= {"id": f"item-{number}-{place}", "status": "completed"}
    cut = answer.response_metadata.get("finish_reason") == "length"
    usage = answer.usage_metadata
    return {
        "id": f"plateau-{number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": model,
        "output": output,
        "usage": usage and {name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")},
    }


def events(reply: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    made: list[dict[str, Any]] = [{"type": "response.created", "response": {**reply, "output": []}}]
    for place, item in enumerate(reply["output"]):
        at = {"output_index": place}
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        made.append({"type": "response.output_item.added", "item": {**item, **empty}, **at})
        if item["type"] == "message":
            delta = {"item_id": item["id"], "content_index": 0, "delta": item["content"][0]["text"]}
            made.append({"type": "response.output_text.delta", **delta, **at})
        made.append({"type": "response.output_item.done", "item": item, **at})
    made.append({"type": f"response.{reply['status']}", "response": reply})
    return "".join(
        f"event: {one['type']}\ndata: {json.dumps({**one, 'sequence_number': number})}\n\n"
        for number, one in enumerate(made)
    )


def _content(given: Any) -> Any:
    if isinstance(given, str):
        return given
    parts: list[dict[str, Any]] = []
    for part in given:
        if part["type"] == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        elif part["type"] in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": part["text"]})
        else:
            raise ValueError(f"content: {part['type']!r} is not understood here")
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool["type"] != "function":
        return {"type": tool["type"]}
    function = {"name": tool["name"], "description": tool.get("description") or ""}
    return {"type": "function", "function": {**function, "parameters": tool.get("parameters") or {}}}
