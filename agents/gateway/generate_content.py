"""Google's generateContent in OpenAI's terms and back, for `agents.gateway`. Field names as in the API's
reference (v1beta, `GenerateContentRequest` and `GenerateContentResponse`); snake case is read too.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

PATH = re.compile(
    r"(?:/v1(?:alpha|beta)?)?/models/(?P<model>[^/:]+):(?:generate|(?P<stream>stream)Generate)Content"
)


def to_openai(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request's messages, tools and max_tokens. A tool that is not the agent's own keeps its name as type.

    Raises whatever reading a malformed request raises.
    """
    messages: list[dict[str, Any]] = []
    if system := _get(body, "systemInstruction"):
        messages.append({"role": "system", "content": _text(system["parts"])})
    open_calls: list[tuple[str, str]] = []
    for content in body["contents"]:
        messages += _messages(content, open_calls)
    tools: list[dict[str, Any]] = []
    for tool in body.get("tools") or []:
        own = _get(tool, "functionDeclarations") or []
        tools += [{"type": "function", "function": _function(declared)} for declared in own]
        tools += [
            {"type": name} for name in tool if name not in ("functionDeclarations", "function_declarations")
        ]
    if _get(body, "cachedContent"):
        raise ValueError("cachedContent: nothing is cached here")
    config = _get(body, "generationConfig") or {}
    wishes = {"temperature": config.get("temperature"), "seed": config.get("seed")}
    return {"messages": messages, "tools": tools, "max_tokens": _get(config, "maxOutputTokens"), **wishes}


def from_answer(answer: AIMessage, *, model: str, number: int) -> dict[str, Any]:
    """The response to a request."""
    parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text or not answer.tool_calls else []
    parts += [
        {"functionCall": {"id": c["id"], "name": c["name"], "args": c["args"]}} for c in answer.tool_calls
    ]
    cut = answer.response_metadata.get("finish_reason") == "length"
    reply: dict[str, Any] = {
        "candidates": [
            {
                "content": {"role": "model", "parts": parts},
                "finishReason": "MAX_TOKENS" if cut else "STOP",
                "index": 0,
            }
        ],
        "modelVersion": model,
        "responseId": f"plateau-{number}",
    }
    if usage := answer.usage_metadata:
        reply["usageMetadata"] = {
            "promptTokenCount": usage["input_tokens"],
            "candidatesTokenCount": usage["output_tokens"],
            "totalTokenCount": usage["total_tokens"],
        }
    return reply


def events(reply: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    return f"data: {json.dumps(reply)}\n\n"


def _get(table: Mapping[str, Any], name: str) -> Any:
    return table.get(name, table.get(re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name)))


def _text(parts: Any) -> str:
    return "\n".join(part["text"] for part in parts if "text" in part and not part.get("thought"))


def _messages(content: Mapping[str, Any], open_calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """One content. A result without an id answers the oldest open call of its name."""
    parts, made = content["parts"], []
    if content.get("role") == "model":
        calls = []
        for call in filter(None, (_get(part, "functionCall") for part in parts)):
            name, id = call["name"], call.get("id") or f"call-{len(open_calls)}"
            open_calls.append((name, id))
            arguments = json.dumps(call.get("args") or {})
            calls.append({"type": "function", "id": id, "function": {"name": name, "arguments": arguments}})
        return [{"role": "assistant", "content": _text(parts)} | ({"tool_calls": calls} if calls else {})]
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if result := _get(part, "functionResponse"):
            told = result.get("response") or {}
            text = (
                told["output"]
                if set(told) == {"output"} and type(told["output"]) is str
                else json.dumps(told)
            )
            found = next(i for i, (name, id) in enumerate(open_calls) if _answers(result, name, id))
            made.append({"role": "tool", "tool_call_id": open_calls[found][1], "content": text})
            open_calls[found] = ("", "")
        elif data := _get(part, "inlineData"):
            url = f"data:{_get(data, 'mimeType')};base64,{data['data']}"
            blocks.append({"type": "image_url", "image_url": {"url": url}})
        elif file := _get(part, "fileData"):  # told as the address that it is: the gateway refuses those
            blocks.append({"type": "image_url", "image_url": {"url": str(_get(file, "fileUri"))}})
        else:
            blocks.append({"type": "text", "text": part["text"]})
    if all(block["type"] == "text" for block in blocks):
        text = "\n".join(block["text"] for block in blocks)
        return made + ([{"role": "user", "content": text}] if blocks else [])
    return [*made, {"role": "user", "content": blocks}]


def _answers(result: Mapping[str, Any], name: str, id: str) -> bool:
    return id == result["id"] if result.get("id") else name == result["name"]


def _function(declared: Mapping[str, Any]) -> dict[str, Any]:
    schema = _get(declared, "parametersJsonSchema") or _plain(declared.get("parameters"))
    return {
        "name": declared["name"],
        "description": declared.get("description") or "",
        "parameters": schema or {"type": "object", "properties": {}},
    }


def _plain(schema: Any) -> Any:
    """JSON Schema of Google's: its types are written in capitals."""
    if isinstance(schema, Mapping):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else _plain(value)
            for key, value in schema.items()
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
