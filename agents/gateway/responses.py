"""OpenAI's responses in terms of its chat completions and back, for `agents.gateway`. Names as in the API's
reference (`POST /v1/responses`).
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from plateau_bench.agents.gateway.conversation import Answer, Conversation, as_content, called, own_tool

NAME = "responses"
PATHS = ("/v1/responses", "/responses")
COUNTS = ("/v1/responses/input_tokens", "/responses/input_tokens")
_CALLS = ("function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call")
_OUTPUTS = tuple(f"{kind}_output" for kind in _CALLS)


def read(body: Mapping[str, Any]) -> Conversation:
    """A request's messages and tools. A tool that is not the agent's own keeps its type.

    Raises whatever reading a malformed request raises; ValueError for what a provider would have to keep.
    """
    for kept in ("previous_response_id", "conversation", "prompt"):
        if body.get(kept):
            raise ValueError(f"{kept}: nothing is kept here")
    made = Conversation(tools=[_tool(tool) for tool in body.get("tools") or []])
    if body.get("instructions"):
        made.messages.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    results: list[dict[str, Any]] = []
    for place, item in enumerate([{"role": "user", "content": given}] if isinstance(given, str) else given):
        kind = item.get("type", "message")
        if kind in _OUTPUTS:
            said = _content(item.get("output") or "", f"input[{place}].output", made)
            results.append({"role": "tool", "tool_call_id": item["call_id"], "content": said})
            continue
        if results and kind != "reasoning":
            made.results_first(results, [])
            results = []
        _item(item, kind, f"input[{place}]", made)
    if results:
        made.results_first(results, [])
    return made


def _item(item: Mapping[str, Any], kind: str, at: str, made: Conversation) -> None:
    """Add one item of the input that is no result of a call."""
    if kind == "message":
        role = {"developer": "system"}.get(item["role"], item["role"])
        content = _content(item["content"], f"{at}.content", made)
        last = made.messages[-1] if made.messages else {}
        if role == "assistant" and last.get("tool_calls") and isinstance(content, str):
            last["content"] = "\n".join(filter(None, (last["content"], content)))  # results must come next
        else:
            made.messages.append({"role": role, "content": content})
    elif kind in _CALLS:
        if not made.messages or made.messages[-1]["role"] != "assistant":
            made.messages.append({"role": "assistant", "content": None})
        if kind == "function_call":
            call = called(item["call_id"], item["name"], item["arguments"])
        elif kind == "custom_tool_call":
            call = called(item["call_id"], item["name"], {"input": item["input"]})
        else:
            did = item.get("action") or item.get("operation") or {}
            call = called(item["call_id"], kind.removesuffix("_call"), did)
        made.messages[-1].setdefault("tool_calls", []).append(call)
    elif kind != "reasoning":  # another model's, or the gateway's own, which it remembers
        raise ValueError(f"{at}: {kind!r} is not understood here")


def from_answer(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    """The response to a request. Reasoning is told to clients that asked for it."""
    output: list[dict[str, Any]] = []
    if answer.reasoning and body.get("reasoning"):
        told = {"type": "reasoning_text", "text": answer.reasoning}
        output.append({"type": "reasoning", "summary": [], "content": [told]})
    if answer.text or not answer.calls:
        text = {"type": "output_text", "text": answer.text, "annotations": []}
        output.append({"type": "message", "role": "assistant", "content": [text]})
    custom = {tool.get("name") for tool in body.get("tools") or [] if tool.get("type") == "custom"}
    for call in answer.calls:
        made = {"call_id": call["id"], "name": call["name"]}
        if call["name"] in custom:
            output.append({"type": "custom_tool_call", **made, "input": _input(call["arguments"])})
        else:
            output.append({"type": "function_call", **made, "arguments": call["arguments"]})
    for place, item in enumerate(output):
        item |= {"id": f"item-{answer.number}-{place}", "status": "completed"}
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
    usage = answer.usage
    return {
        "id": f"plateau-{answer.number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if why else "completed",
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "model": str(body.get("model")),
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "usage": usage and {name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")},
    }


def _input(arguments: str) -> str:
    """What was written for a tool that takes a text; what is no JSON may be that very text."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return str(found["input"]) if isinstance(found, dict) and "input" in found else arguments


_DELTAS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}


def events(reply: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The whole response as the stream of events that clients expect."""
    begun = {**reply, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    made: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for place, item in enumerate(reply["output"]):
        at = {"output_index": place}
        empty = {
            key: type(value)() for key, value in item.items() if key in ("content", "arguments", "input")
        }
        started = {**item, **empty, "status": "in_progress"}
        made.append({"type": "response.output_item.added", "item": started, **at})
        at |= {"item_id": item["id"]}
        if item["type"] == "message":
            made += _text_events(item["content"][0], at)
        elif item["type"] in _DELTAS:
            name, key = _DELTAS[item["type"]]
            made.append({"type": f"{name}.delta", "delta": item[key], **at})
            made.append({"type": f"{name}.done", key: item[key], "name": item["name"], **at})
        made.append({"type": "response.output_item.done", "item": item, "output_index": place})
    made.append({"type": f"response.{reply['status']}", "response": reply})
    return "".join(
        f"event: {one['type']}\ndata: {json.dumps({**one, 'sequence_number': number})}\n\n"
        for number, one in enumerate(made)
    )


def _text_events(part: Mapping[str, Any], at: Mapping[str, Any]) -> list[dict[str, Any]]:
    at = {**at, "content_index": 0}
    text = part["text"]
    return [
        {"type": "response.content_part.added", "part": {**part, "text": ""}, **at},
        {"type": "response.output_text.delta", "delta": text, "logprobs": [], **at},
        {"type": "response.output_text.done", "text": text, "logprobs": [], **at},
        {"type": "response.content_part.done", "part": part, **at},
    ]


def _content(given: Any, at: str, made: Conversation) -> Any:
    if isinstance(given, str):
        return given
    parts: list[dict[str, Any]] = []
    for place, part in enumerate(given):
        kind = part["type"]
        if kind in ("input_image", "computer_screenshot"):
            url = part.get("image_url") or part.get("file_id")
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            parts.append({"type": "image_url", "image_url": {"url": str(url), **detail}})
        elif kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
            if part.get("annotations"):
                made.lose("annotations")
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "refusal":
            parts.append({"type": "text", "text": part["refusal"]})
        else:
            raise ValueError(f"{at}[{place}]: {kind!r} is not understood here")
    return as_content(parts)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool; one that takes a text becomes a function of that text, and its grammar is told in words."""
    if tool["type"] == "custom":
        form = tool.get("format") or {}
        grammar = f"\n\nThe input follows this {form.get('syntax')} grammar:\n{form.get('definition')}"
        said = (tool.get("description") or "") + (grammar if form.get("type") == "grammar" else "")
        properties = {"input": {"type": "string", "description": "What the tool is given, as plain text."}}
        return own_tool(
            tool["name"], said, {"type": "object", "properties": properties, "required": ["input"]}
        )
    if tool["type"] != "function":
        return {"type": tool["type"]}
    return own_tool(tool["name"], tool.get("description"), tool.get("parameters"), tool.get("strict"))
