"""Anthropic's messages in terms of OpenAI's chat completions and back, for `agents.gateway`. Names as in the
API's reference (`POST /v1/messages`).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from plateau_bench.agents.gateway.conversation import (
    Answer,
    Conversation,
    as_content,
    assistant,
    called,
    own_tool,
)

NAME = "messages"
PATHS = ("/v1/messages", "/messages")
COUNTS = ("/v1/messages/count_tokens", "/messages/count_tokens")
_KNOWN = {"type", "text", "id", "name", "input", "tool_use_id", "content", "source", "title", "context"}


def read(body: Mapping[str, Any]) -> Conversation:
    """A request's messages and tools. Raises ValueError that names the place, or whatever reading raises."""
    made = Conversation()
    made.tools = [_tool(tool, made) for tool in body.get("tools") or []]
    if system := body.get("system"):
        if isinstance(system, list):
            system = "\n".join(_text(block, f"system[{i}]", made) for i, block in enumerate(system))
        made.messages.append({"role": "system", "content": system})
    for place, message in enumerate(body["messages"]):
        content, at = message["content"], f"messages[{place}].content"
        if isinstance(content, str):
            made.messages.append({"role": message["role"], "content": content})
        elif message["role"] == "assistant":
            made.messages.append(_assistant(content, at, made))
        elif message["role"] == "user":
            _user(content, at, made)
        else:
            text = "\n".join(_text(block, f"{at}[{i}]", made) for i, block in enumerate(content))
            made.messages.append({"role": message["role"], "content": text})
    return made


def _assistant(content: list[Any], at: str, made: Conversation) -> dict[str, Any]:
    texts, calls = [], []
    for place, block in enumerate(content):
        match block["type"]:
            case "tool_use":
                calls.append(called(block["id"], block["name"], block.get("input") or {}))
            case (
                "thinking" | "redacted_thinking"
            ):  # another model's, or the gateway's own, which it remembers
                pass
            case "server_tool_use" | "web_search_tool_result" | "mcp_tool_use" | "mcp_tool_result" as kind:
                made.lose(kind)
            case _:
                texts.append({"type": "text", "text": _text(block, f"{at}[{place}]", made)})
    return assistant(texts, calls)


def _user(content: list[Any], at: str, made: Conversation) -> None:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for place, block in enumerate(content):
        if block["type"] != "tool_result":
            parts.append(_part(block, f"{at}[{place}]", made))
            continue
        inner = block.get("content") or ""
        if not isinstance(inner, str):
            inner = [_part(one, f"{at}[{place}].content[{i}]", made) for i, one in enumerate(inner)]
            inner = as_content(inner)
        if block.get("is_error"):
            made.lose("tool_result.is_error")
        results.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": inner})
    made.results_first(results, parts)


def _part(block: Any, at: str, made: Conversation) -> dict[str, Any]:
    """One block of a user's message or of a result as a part of a message."""
    if block["type"] == "image":
        source = block["source"]
        if source["type"] == "base64":
            url = f"data:{source['media_type']};base64,{source['data']}"
        else:  # told as the address that it is: the gateway refuses those
            url = str(source.get("url") or source.get("file_id"))
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "text", "text": _text(block, at, made)}


def _text(block: Any, at: str, made: Conversation) -> str:
    """A block as text. Raises ValueError for one that is none."""
    for key in block.keys() - _KNOWN - {"is_error"}:
        made.lose(key)
    match block["type"]:
        case "text":
            return str(block["text"])
        case "document" | "search_result":
            head = [str(block[key]) for key in ("title", "context") if block.get(key)]
            return "\n".join([*head, _document(block, at, made)])
    raise ValueError(f"{at}: {block['type']!r} is not understood here")


def _document(block: Any, at: str, made: Conversation) -> str:
    source = block["source"] if block["type"] == "document" else {"type": "content", **block}
    kind, media = source["type"], str(source.get("media_type") or "")
    if kind == "text":
        return str(source["data"])
    if kind in ("content", "search_result"):
        inner = source["content"]
        if isinstance(inner, str):
            return inner
        return "\n".join(_text(one, f"{at}.content[{i}]", made) for i, one in enumerate(inner))
    if kind == "base64" and media.startswith("text/"):
        try:
            return base64.b64decode(source["data"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{at}: the document is no text ({error})") from None
    raise ValueError(f"{at}: a document of {media or kind!r} cannot be given to this model, only text can")


def from_answer(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    """The response to a request. Thinking is told to clients that asked for it."""
    content: list[Any] = []
    if answer.reasoning and (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": "plateau"})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for call in answer.calls:
        content.append({"type": "tool_use", "id": call["id"], "name": call["name"], "input": _input(call)})
    reason = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
    stop = "stop_sequence" if answer.stopped_at else reason.get(answer.finish, "end_turn")
    usage: Mapping[str, Any] = answer.usage or {}
    return {
        "id": f"msg_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": str(body.get("model")),
        "content": content if answer.blocks is None else [*answer.blocks],
        "stop_reason": stop,
        "stop_sequence": answer.stopped_at,
        "usage": {name: usage.get(name, 0) for name in ("input_tokens", "output_tokens")},
    }


def _input(call: Mapping[str, str]) -> Any:
    """Arguments as keys and values; what is no JSON is given as it was written, for the tool to refuse."""
    try:
        found = json.loads(call["arguments"] or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable arguments": call["arguments"]}


def events(reply: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    begun = {**reply, "content": [], "stop_reason": None, "stop_sequence": None}
    made: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(reply["content"]):
        start, deltas = _pieces(block)
        made.append({"type": "content_block_start", "index": index, "content_block": start})
        made += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        made.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": reply["stop_reason"], "stop_sequence": reply["stop_sequence"]}
    made += [{"type": "message_delta", "delta": stop, "usage": reply["usage"]}, {"type": "message_stop"}]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in made)


def _pieces(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins in a stream, and what follows."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "thinking":
            told = {"type": "thinking_delta", "thinking": block["thinking"]}
            signed = {"type": "signature_delta", "signature": block.get("signature") or ""}
            return {**block, "thinking": "", "signature": ""}, [told, signed]
        case "tool_use":
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            return {**block, "input": {}}, [delta]
    return {**block}, []


def _tool(tool: Any, made: Conversation) -> Any:
    if not isinstance(tool, dict):
        return tool
    if "input_schema" not in tool or tool.get("type") not in (None, "custom"):
        return {"type": tool.get("type")}
    for key in tool.keys() - {"name", "description", "input_schema", "type", "strict"}:
        made.lose(key)
    return own_tool(tool.get("name"), tool.get("description"), tool["input_schema"], tool.get("strict"))
