"""Google's generateContent in OpenAI's terms and back, for `agents.gateway`. Field names as in the API's
reference (v1beta, `GenerateContentRequest` and `GenerateContentResponse`); snake case is read too.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from plateau_bench.agents.gateway.conversation import (
    Answer,
    Conversation,
    assistant,
    called,
    own_tool,
)
from plateau_bench.agents.gateway.fields import plain

NAME = "generateContent"
PATH = re.compile(
    r"(?:/v1(?:alpha|beta)?)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)"
)
_PART = {"text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"}


def named(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request with its fields, and those of its configuration, in camel case."""
    made = {_camel(name): value for name, value in body.items()}
    for name in ("generationConfig", "toolConfig"):
        if isinstance(made.get(name), Mapping):
            made[name] = {_camel(key): value for key, value in made[name].items()}
    calling = made.get("toolConfig")
    if isinstance(calling, Mapping) and isinstance(calling.get("functionCallingConfig"), Mapping):
        calling["functionCallingConfig"] = {  # type: ignore[index]
            _camel(key): value for key, value in calling["functionCallingConfig"].items()
        }
    return made


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def read(body: Mapping[str, Any]) -> Conversation:
    """A request's messages and tools. A tool that is not the agent's own keeps its name as type.

    Raises ValueError that names the place, or whatever reading a malformed request raises.
    """
    if _get(body, "cachedContent"):
        raise ValueError("cachedContent: nothing is cached here")
    made = Conversation()
    if system := _get(body, "systemInstruction"):
        parts = [{"text": system}] if isinstance(system, str) else system["parts"]
        made.messages.append({"role": "system", "content": _text(parts)})
    open_calls: list[tuple[str, str]] = []
    contents = body["contents"]
    for place, content in enumerate([contents] if isinstance(contents, Mapping) else contents):
        _add(content, f"contents[{place}]", open_calls, made)
    for tool in body.get("tools") or []:
        for declared in _get(tool, "functionDeclarations") or []:
            schema = _get(declared, "parametersJsonSchema") or plain(declared.get("parameters"))
            made.tools.append(own_tool(declared["name"], declared.get("description"), schema))
            for key in declared.keys() & {"response", "behavior", "responseJsonSchema"}:
                made.lose(key)
        hosted = [name for name in tool if name not in ("functionDeclarations", "function_declarations")]
        made.tools += [{"type": name} for name in hosted]
    return made


def from_answer(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    """The response to a request; in a stream it is the only chunk."""
    parts: list[dict[str, Any]] = []
    thinking = _get(_get(body, "generationConfig") or {}, "thinkingConfig") or {}
    if answer.reasoning and _get(thinking, "includeThoughts"):
        parts.append({"text": answer.reasoning, "thought": True})
    if answer.text or not answer.calls:
        parts.append({"text": answer.text})
    parts += [
        {"functionCall": {"id": c["id"], "name": c["name"], "args": _args(c["arguments"])}}
        for c in answer.calls
    ]
    reason = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}.get(answer.finish, "STOP")
    reply: dict[str, Any] = {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
        "modelVersion": str(body.get("model")),
        "responseId": f"plateau-{answer.number}",
    }
    if usage := answer.usage:
        reply["usageMetadata"] = {
            "promptTokenCount": usage["input_tokens"],
            "candidatesTokenCount": usage["output_tokens"],
            "totalTokenCount": usage["total_tokens"],
        }
    return reply


def _args(arguments: str) -> Any:
    """Arguments as keys and values; what is no JSON is given as it was written, for the tool to refuse."""
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable arguments": arguments}


def _get(table: Mapping[str, Any], name: str) -> Any:
    return table.get(name, table.get(re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name)))


def _text(parts: Any) -> str:
    return "\n".join(part["text"] for part in parts if "text" in part and not part.get("thought"))


def _add(content: Mapping[str, Any], at: str, open_calls: list[tuple[str, str]], made: Conversation) -> None:
    """Add one content. A result without an id answers the oldest open call of its name."""
    parts = content.get("parts") or []
    for key in {_camel(key) for part in parts for key in part} - _PART:
        made.lose(key)
    if content.get("role") == "model":
        calls = []
        for call in filter(None, (_get(part, "functionCall") for part in parts)):
            name, id = call["name"], call.get("id") or f"call-{len(open_calls)}"
            open_calls.append((name, id))
            calls.append(called(id, name, call.get("args") or {}))
        text = _text(parts)
        made.messages.append(assistant([{"type": "text", "text": text}] if text else [], calls))
        return
    results: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if result := _get(part, "functionResponse"):
            found = _answered(result, at, open_calls)
            results.append({"role": "tool", "tool_call_id": found, "content": _result(result)})
        elif data := _get(part, "inlineData"):
            blocks.append(_data(data, at))
        elif file := _get(part, "fileData"):  # told as the address that it is: the gateway refuses those
            blocks.append({"type": "image_url", "image_url": {"url": str(_get(file, "fileUri"))}})
        elif "text" in part:
            blocks.append({"type": "text", "text": part["text"]})
        else:
            raise ValueError(f"{at}: a part of {', '.join(part) or 'nothing'} is not understood here")
    made.results_first(results, blocks)


def _data(data: Mapping[str, Any], at: str) -> dict[str, Any]:
    kind = str(_get(data, "mimeType"))
    if not kind.startswith("image/"):
        raise ValueError(f"{at}: data of {kind!r} cannot be given to this model, only text and images can")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data['data']}"}}


def _answered(result: Mapping[str, Any], at: str, open_calls: list[tuple[str, str]]) -> str:
    """The id of the call that a result answers, which is no longer open then."""
    for place, (name, id) in enumerate(open_calls):
        if (id == result["id"]) if result.get("id") else (name == result.get("name")):
            open_calls[place] = ("", "")
            return id
    told = f" with id {result['id']!r}" if result.get("id") else ""
    raise ValueError(f"{at}: functionResponse {result.get('name')!r}{told} answers no functionCall")


def _result(result: Mapping[str, Any]) -> str:
    told = result.get("response") or {}
    if set(told) == {"output"} and isinstance(told["output"], str):
        return told["output"]
    return json.dumps(told)
