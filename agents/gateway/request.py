"""One request of a client, read: what goes to the model and what does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from plateau_bench.agents.gateway import completions, generate_content, messages, responses
from plateau_bench.agents.gateway.conversation import addresses, to_langchain
from plateau_bench.agents.gateway.fields import Fate, sort
from plateau_bench.agents.models.whole import REASONING

PROTOCOLS: Mapping[str, Any] = {
    path: protocol for protocol in (completions, responses, messages) for path in protocol.PATHS
}
"""Path -> module with `read`, `from_answer` and `events`. Google's has the model in its path."""
COUNTS: Mapping[str, Any] = {path: protocol for protocol in (responses, messages) for path in protocol.COUNTS}
"""Path where the tokens of a request are asked for -> module."""
_OWN_KINDS = {"completions": ("function", "custom")}
_TOOL_FIELDS = ("tool_choice", "parallel_tool_calls")


class Withheld(ValueError):
    """The request would have the model's provider fetch something."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the gateway asks for it."""

    messages: Sequence[BaseMessage]
    tools: Sequence[Mapping[str, Any]]
    """The agent's own functions."""
    max_tokens: int | None
    temperature: float | None
    seed: int | None
    stop: Sequence[str]
    tool_choice: Any
    body: dict[str, Any] | None
    """What the model's server gets as it stands here, besides limits and sampling; None if it speaks a
    protocol that this request cannot be put in."""
    withheld: Sequence[str]


def read(protocol: Any, given: Mapping[str, Any], speaks: str, thoughts: Mapping[str, Any]) -> Request:
    """Read a request of a `protocol` for a model whose server `speaks` one, if that is known.

    `thoughts` are the reasoning fields of earlier answers by the id of their first call: a server may want
    them back, and only clients of chat completions keep them. Raises ValueError for what is no request, and
    Withheld.
    """
    if protocol is generate_content:
        given = generate_content.named(given)
    fields = sort(protocol.NAME, given)
    try:
        said = protocol.read(given)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:300]) from None
    same = speaks == protocol.NAME
    if fetched := addresses([_content(message) for message in said.messages]):
        raise Withheld(f"a URL for the provider to fetch is withheld: {fetched[:100]}")
    tools = [tool for tool in said.tools if _kind(tool) == "function"]
    kept = [tool for tool in said.tools if _kind(tool) in _OWN_KINDS.get(speaks, ("function",))]
    withheld = [*fields.withheld, *(_kind(tool)[:100] for tool in said.tools if tool not in kept)]
    withheld += [] if same else [*fields.only_own, *said.lost]
    chat, own = fields.chat, fields.own
    if not kept:
        withheld += [fields.names[name] for name in _TOOL_FIELDS if name in chat]
        chat, own = ({k: v for k, v in one.items() if k not in _TOOL_FIELDS} for one in (chat, own))
    stop = fields.plain.get(Fate.STOP, [])
    body: dict[str, Any] | None = None
    if same and speaks == "messages":
        body = {**own, "messages": given["messages"], "stop_sequences": stop, "system": given.get("system")}
        body["tools"] = [t for t in given.get("tools") or [] if _anthropic(t)]
    elif speaks == "completions":
        body = {**(own if same else chat), "messages": said.messages, "stop": stop, "tools": kept}
        if not same:
            body["messages"] = [_with_thoughts(message, thoughts) for message in said.messages]
    else:
        withheld += [name for key, name in fields.names.items() if key != "tool_choice" and key in chat]
    return Request(
        messages=to_langchain(body["messages"] if speaks == "completions" and body else said.messages),
        tools=tools,
        max_tokens=fields.plain.get(Fate.MOST),
        temperature=fields.plain.get(Fate.TEMPERATURE),
        seed=fields.plain.get(Fate.SEED),
        stop=stop,
        tool_choice=None if body else chat.get("tool_choice"),
        body=body and {name: value for name, value in body.items() if value not in (None, [])},
        withheld=tuple(dict.fromkeys(withheld)),
    )


def estimate(protocol: Any, given: Mapping[str, Any]) -> int:
    """Tokens of a request, about: one for every four bytes of its texts."""
    if protocol is generate_content:
        given = generate_content.named(given.get("generateContentRequest") or given)
    try:
        said = protocol.read(given)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:300]) from None
    return len(f"{said.messages}{said.tools or ''}".encode("utf-8", "surrogatepass")) // 4 + 1


def _kind(tool: Any) -> str:
    """The kind of a tool, or what stands in its place; a function that is none is no function."""
    kind = tool.get("type") if isinstance(tool, Mapping) else tool
    whole = isinstance(tool, Mapping) and isinstance(tool.get(str(kind)), Mapping)
    return str(kind) if kind != "function" or whole else "function without its description"


def _anthropic(tool: Any) -> bool:
    return isinstance(tool, Mapping) and "input_schema" in tool and tool.get("type") in (None, "custom")


def _content(message: Any) -> Any:
    """What of a message a provider may read as more than text; arguments of calls are the agent's own."""
    if not isinstance(message, Mapping):
        raise ValueError("messages: every message is keys and values")
    return {key: value for key, value in message.items() if key not in ("tool_calls", "function_call")}


def _with_thoughts(message: dict[str, Any], thoughts: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    return message | thoughts.get(calls[0]["id"], {}) if calls else message


def thoughts_of(answer: Any) -> dict[str, Any]:
    """Id of the first call -> the reasoning that led to it, by the fields in which it came."""
    told = {name: answer.additional_kwargs[name] for name in REASONING if answer.additional_kwargs.get(name)}
    return {str(answer.tool_calls[0]["id"]): told} if told and answer.tool_calls else {}
