"""A request in terms of chat completions, which all protocols are translated to, and what was answered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from plateau_bench.agents.models.chat import reasoning_of
from plateau_bench.agents.models.whole import REASONING


@dataclass
class Conversation:
    """What a protocol's module reads from a request."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)
    """The agent's own, as chat completions have them; of others the kind alone, as {'type': kind}."""
    lost: list[str] = field(default_factory=list)
    """Names of what chat completions have no place for."""

    def lose(self, what: str) -> None:
        if what not in self.lost:
            self.lost.append(what)

    def results_first(self, results: Sequence[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
        """Add the results of calls in the order of the calls, and then what the user says beside them."""
        calls: Sequence[Any] = ()
        for message in reversed(self.messages):
            if message["role"] == "assistant":
                calls = message.get("tool_calls") or ()
                break
        order = {call["id"]: place for place, call in enumerate(calls)}
        self.messages += sorted(results, key=lambda one: order.get(one["tool_call_id"], len(order)))
        if parts or not results:
            self.messages.append({"role": "user", "content": as_content(parts)})


def assistant(parts: list[dict[str, Any]], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """An assistant's message; one that only calls has no content."""
    content = as_content(parts)
    if not calls:
        return {"role": "assistant", "content": content}
    return {"role": "assistant", "content": content or None, "tool_calls": calls}


def as_content(parts: list[dict[str, Any]]) -> Any:
    """Parts of a message: one text where they are nothing but text."""
    if all(part.get("type") == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return parts


def own_tool(name: Any, description: Any, parameters: Any, strict: Any = None) -> dict[str, Any]:
    """A tool as chat completions have it."""
    if not isinstance(name, str):
        raise ValueError(f"tools: {name!r} is no name of a tool")
    made = {"name": name, "description": description or ""}
    made["parameters"] = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": made | ({"strict": strict} if strict is not None else {})}


def called(id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call of a tool as chat completions have it."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function", "id": id, "function": {"name": name, "arguments": text}}


def to_langchain(messages: Any) -> list[BaseMessage]:
    """Messages of chat completions as LangChain has them. Raises ValueError that names the place."""
    if not isinstance(messages, list):
        raise ValueError("messages: a list is needed")
    made = []
    for place, message in enumerate(messages):
        try:
            made.append(_read(message))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"messages[{place}]: {told}"[:300]) from None
    return made


def _read(message: Mapping[str, Any]) -> BaseMessage:
    content: Any = message.get("content")
    if isinstance(content, list):
        parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
        content = [{**part} for part in parts]
    elif content is None:
        content = ""
    elif not isinstance(content, str):
        raise ValueError(f"content: expected a text or a list of parts, got {type(content).__name__}")
    name = message.get("name")
    match message["role"]:
        case "user":
            return HumanMessage(content, name=name)
        case "system" | "developer" as role:
            more = {"__openai_role__": role} if role == "developer" else {}
            return SystemMessage(content, name=name, additional_kwargs=more)
        case "tool":
            return ToolMessage(content, tool_call_id=str(message["tool_call_id"]))
        case "function":
            return ToolMessage(content, tool_call_id=str(name))
        case "assistant":
            return _assistant(content, message)
    raise ValueError(f"role: {message['role']!r} is none of user, assistant, system, developer and tool")


def _assistant(content: Any, message: Mapping[str, Any]) -> AIMessage:
    calls, broken = [], []
    given = list(message.get("tool_calls") or [])
    if legacy := message.get("function_call"):
        given.append(called(legacy["name"], legacy["name"], legacy["arguments"]))
    for call in given:
        if call.get("type") == "custom":
            calls.append(
                ToolCall(id=call["id"], name=call["custom"]["name"], args={"input": call["custom"]["input"]})
            )
            continue
        name, text = call["function"]["name"], call["function"].get("arguments") or "{}"
        try:
            args = json.loads(text, strict=False)
            if not isinstance(args, dict):
                raise TypeError("arguments are keys and values")
            calls.append(ToolCall(id=call["id"], name=name, args=args))
        except (ValueError, TypeError, RecursionError) as error:
            broken.append(
                InvalidToolCall(
                    type="invalid_tool_call", id=call["id"], name=name, args=str(text), error=str(error)[:200]
                )
            )
    more = {key: message[key] for key in (*REASONING, "refusal") if message.get(key)}
    return AIMessage(content, tool_calls=calls, invalid_tool_calls=broken, additional_kwargs=more)


def addresses(value: Any) -> str:
    """The first address below a message's content that its provider would have to fetch, or ''.

    That is any `url`, `..._url`, `..._uri` or `file_id` that is not the data itself, however deep it lies.
    """
    if isinstance(value, list):
        return next(filter(None, map(addresses, value)), "")
    if not isinstance(value, Mapping):
        return ""
    for key, inner in value.items():
        name = str(key).lower()
        if name.endswith(("url", "uri", "file_id", "fileid")) and isinstance(inner, str):
            if not inner.startswith("data:"):
                return inner or name
        elif found := addresses(inner):
            return found
    return ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said, for a client of any protocol."""

    text: str
    calls: tuple[Mapping[str, str], ...] = ()
    """`id`, `name` and `arguments`, these as they were written: they may be no JSON."""
    finish: str = "stop"
    """In words of chat completions."""
    stopped_at: str | None = None
    """The stop sequence at which the gateway cut the text."""
    usage: Mapping[str, Any] | None = None
    reasoning: str = ""
    choice: Mapping[str, Any] | None = None
    """As a server of chat completions wrote it."""
    blocks: Sequence[Any] | None = None
    """As a server of Anthropic's messages wrote it."""
    number: int = 0
    """Which call of the attempt, from 1 on."""

    @property
    def cut(self) -> bool:
        """Whether it ended because it was too long."""
        return self.finish == "length"


def answered(message: AIMessage, stopped_at: str | None, number: int, protocol: str) -> Answer:
    """Read an answer; `protocol` is the one that its server speaks, if that is known."""
    calls: list[Mapping[str, str]] = [
        {"id": call["id"] or "", "name": call["name"], "arguments": json.dumps(call["args"])}
        for call in message.tool_calls
    ]
    calls += [
        {"id": call["id"] or "", "name": call["name"] or "", "arguments": call["args"] or ""}
        for call in message.invalid_tool_calls
    ]
    told = message.response_metadata
    reason = told.get("finish_reason") or {"max_tokens": "length"}.get(told.get("stop_reason", ""), "stop")
    if calls and reason not in ("length", "content_filter"):
        reason = "tool_calls"
    content: Any = message.content
    return Answer(
        text=str(message.text) or str(message.additional_kwargs.get("refusal") or ""),
        calls=tuple(calls),
        finish=reason,
        stopped_at=stopped_at or told.get("stop_sequence"),
        usage=dict(message.usage_metadata) if message.usage_metadata else None,
        reasoning=reasoning_of(message),
        choice=told.get("choice"),
        blocks=_blocks(content) if protocol == "messages" and isinstance(content, list) else None,
        number=number,
    )


def _blocks(content: list[Any]) -> list[Any]:
    """Blocks without the nulls that Anthropic's client adds where the server said nothing."""
    return [
        {k: v for k, v in one.items() if v is not None} if isinstance(one, dict) else one for one in content
    ]


def cut_at(message: AIMessage, stops: Sequence[str]) -> tuple[AIMessage, str | None]:
    """The answer up to the first stop sequence in it, and that sequence."""
    text = str(message.text)
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        return message, None
    place, stop = min(found)
    told = dict(message.response_metadata)
    if choice := told.get("choice"):
        told["choice"] = choice | {"message": choice["message"] | {"content": text[:place]}}
    if told.get("finish_reason"):
        told["finish_reason"] = "stop"
    return message.model_copy(update={"content": text[:place], "response_metadata": told}), stop
