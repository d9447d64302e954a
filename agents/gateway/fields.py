"""What becomes of every field of a request: one table for each protocol, and nowhere else a list of fields.

A field that a table does not name goes on as it came where the model's server speaks the protocol of the
request. Elsewhere it is withheld, as is one that names an address: a provider might go there. What is
withheld is named, so nothing that a client asked for is lost without a word.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fate(StrEnum):
    """What is done with a field that is not simply passed on under a name of chat completions."""

    READ = "read"
    """Translated by the protocol's own module."""
    HERE = "answered here"
    """The gateway's own business: which model, streamed or not."""
    ONE = "one"
    """How many answers; one is given, and more are refused."""
    MOST = "counted"
    """Tokens of the answer at most; the attempt's limit holds as well."""
    TEMPERATURE = "temperature"
    """The agent's description comes first, if it names one."""
    SEED = "seed"
    """plateau's own comes first."""
    STOP = "stop"
    """Passed on, and the answer is cut there in any case."""
    OWN = "own"
    """Only servers of the same protocol have it."""
    WITHHELD = "withheld"
    """It would have the provider reach elsewhere, keep something, or cost what cannot be counted."""


Rule = Fate | str | Callable[[Any], Mapping[str, Any]]
"""A fate, the field of chat completions that takes the value, or what makes such fields of the value."""


def _choice(given: Any) -> dict[str, Any]:
    """Anthropic's choice of a tool."""
    made: dict[str, Any] = {}
    kind = given["type"]
    if kind == "tool":
        made["tool_choice"] = {"type": "function", "function": {"name": given["name"]}}
    else:
        made["tool_choice"] = {"any": "required"}.get(kind, kind)
    if given.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False
    return made


def _flat_choice(given: Any) -> dict[str, Any]:
    """The choice of a tool as responses have it."""
    if isinstance(given, str):
        return {"tool_choice": given}
    if given["type"] in ("function", "custom"):
        return {"tool_choice": {"type": "function", "function": {"name": given["name"]}}}
    raise ValueError(f"{given['type']!r} is no tool of the agent's own")


def _mode(given: Any) -> dict[str, Any]:
    """Google's choice of a tool."""
    calling = given.get("functionCallingConfig") or {}
    names = calling.get("allowedFunctionNames") or []
    if len(names) == 1 and calling.get("mode") == "ANY":
        return {"tool_choice": {"type": "function", "function": {"name": names[0]}}}
    modes = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
    return {"tool_choice": modes[calling["mode"]]} if calling.get("mode") else {}


def _format(given: Any) -> dict[str, Any]:
    """The form of an answer as responses have it."""
    if given["type"] != "json_schema":
        return {"response_format": given}
    return {"response_format": {"type": "json_schema", "json_schema": _without(given, "type")}}


def _schema(given: Any) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": plain(given)}}
    }


def _mime(given: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_object"}} if given == "application/json" else {}


def _without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}


_ELSEWHERE = dict.fromkeys(
    (
        *(
            "web_search_options",
            "search_parameters",
            "search_options",
            "enable_search",
            "plugins",
            "connectors",
        ),
        *(
            "mcp_servers",
            "container",
            "tool_resources",
            "models",
            "fallbacks",
            "route",
            "provider",
            "transforms",
        ),
        *("api_base", "base_url", "api_key", "extra_headers", "extra_body", "extra_query", "lora_request"),
        *("service_tier", "inference_geo", "speed", "store", "background", "best_of", "use_beam_search"),
        *("modalities", "audio"),
    ),
    Fate.WITHHELD,
)
"""Fields of any protocol, and of servers and proxies between, that reach elsewhere, keep, or cost."""

_SAME = (
    *(
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    ),
    *("logit_bias", "logprobs", "top_logprobs", "reasoning_effort", "verbosity"),
)

TABLES: Mapping[str, Mapping[str, Rule]] = {
    "completions": {
        **_ELSEWHERE,
        **{name: name for name in _SAME},
        **dict.fromkeys(("messages", "tools"), Fate.READ),
        **dict.fromkeys(("model", "stream", "stream_options"), Fate.HERE),
        **dict.fromkeys(("max_tokens", "max_completion_tokens"), Fate.MOST),
        **{"n": Fate.ONE, "temperature": Fate.TEMPERATURE, "seed": Fate.SEED, "stop": Fate.STOP},
        **dict.fromkeys(("prompt_cache_key", "safety_identifier", "user", "prediction"), Fate.OWN),
        **dict.fromkeys(("functions", "function_call"), Fate.OWN),
        "metadata": Fate.WITHHELD,
    },
    "responses": {
        **_ELSEWHERE,
        **dict.fromkeys(("input", "instructions", "tools"), Fate.READ),
        **dict.fromkeys(("previous_response_id", "conversation", "prompt"), Fate.READ),
        **dict.fromkeys(("model", "stream", "stream_options", "include"), Fate.HERE),
        **{"max_output_tokens": Fate.MOST, "temperature": Fate.TEMPERATURE},
        **{"top_p": "top_p", "parallel_tool_calls": "parallel_tool_calls", "tool_choice": _flat_choice},
        **{"reasoning.effort": "reasoning_effort", "text.verbosity": "verbosity", "text.format": _format},
        "top_logprobs": lambda most: {"logprobs": True, "top_logprobs": most} if most else {},
        **dict.fromkeys(("metadata", "client_metadata", "user", "prompt_cache_key"), Fate.OWN),
        **dict.fromkeys(("safety_identifier", "max_tool_calls", "truncation"), Fate.OWN),
        **dict.fromkeys(("reasoning.summary", "reasoning.generate_summary"), Fate.OWN),
    },
    "messages": {
        **_ELSEWHERE,
        **dict.fromkeys(("messages", "system", "tools"), Fate.READ),
        **dict.fromkeys(("model", "stream"), Fate.HERE),
        **{"max_tokens": Fate.MOST, "temperature": Fate.TEMPERATURE, "stop_sequences": Fate.STOP},
        **{"tool_choice": _choice, "top_p": "top_p", "output_config.effort": "reasoning_effort"},
        "output_config.format": lambda given: _schema(given["schema"]),
        **dict.fromkeys(("top_k", "thinking", "metadata", "context_management", "cache_control"), Fate.OWN),
    },
    "generateContent": {
        **dict.fromkeys(("contents", "systemInstruction", "tools", "cachedContent"), Fate.READ),
        **{"model": Fate.HERE, "toolConfig": _mode},
        **{"generationConfig.maxOutputTokens": Fate.MOST, "generationConfig.seed": Fate.SEED},
        **{"generationConfig.temperature": Fate.TEMPERATURE, "generationConfig.stopSequences": Fate.STOP},
        **{"generationConfig.candidateCount": Fate.ONE, "generationConfig.topP": "top_p"},
        "generationConfig.presencePenalty": "presence_penalty",
        "generationConfig.frequencyPenalty": "frequency_penalty",
        "generationConfig.responseLogprobs": "logprobs",
        "generationConfig.logprobs": "top_logprobs",
        "generationConfig.responseMimeType": _mime,
        "generationConfig.responseSchema": _schema,
        "generationConfig.responseJsonSchema": _schema,
        **dict.fromkeys(("generationConfig.topK", "generationConfig.thinkingConfig"), Fate.OWN),
        **dict.fromkeys(("safetySettings", "labels"), Fate.OWN),
    },
}
"""Protocol -> field -> what becomes of it; a dot stands between a field and one of its parts."""

_PARTS = {"reasoning", "text", "output_config", "generationConfig"}
"""Fields whose parts have fates of their own."""


@dataclass
class Sorted:
    """The fields of a request that are not its conversation."""

    plain: dict[Fate, Any] = field(default_factory=dict)
    """MOST, TEMPERATURE, SEED and STOP as they were asked for."""
    chat: dict[str, Any] = field(default_factory=dict)
    """Fields of chat completions."""
    own: dict[str, Any] = field(default_factory=dict)
    """The same fields and more as the request's own protocol has them."""
    names: dict[str, str] = field(default_factory=dict)
    """Name in `chat` -> name in the request."""
    only_own: list[str] = field(default_factory=list)
    """Names of what only a server of the same protocol takes."""
    withheld: list[str] = field(default_factory=list)


def sort(protocol: str, given: Mapping[str, Any]) -> Sorted:
    """Give every field of a request its fate. Raises ValueError that names the field, for a value that is
    none of its kind.
    """
    made = Sorted()
    for top, part, value in _flat(protocol, given):
        name = f"{top}.{part}" if part else top
        try:
            _place(made, top, part, value, TABLES[protocol].get(name))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{name}: {told}"[:300]) from None
    return made


def _flat(protocol: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, value in given.items():
        if name in _PARTS and isinstance(value, Mapping) and name not in TABLES[protocol]:
            yield from ((name, part, inner) for part, inner in value.items() if inner is not None)
        elif value is not None:
            yield name, "", value


def _place(made: Sorted, top: str, part: str, value: Any, rule: Rule | None) -> None:
    name = f"{top}.{part}" if part else top
    asked = value is not False and value not in ([], {}, "")
    match rule:
        case Fate.READ | Fate.HERE:
            return
        case Fate.ONE:
            if value != 1:
                raise ValueError(f"{value!r} answers at once are not given; ask once for each")
        case Fate.MOST:
            most = whole(value)
            if name != "max_tokens" or Fate.MOST not in made.plain:
                made.plain[Fate.MOST] = most
        case Fate.TEMPERATURE:
            if type(value) not in (int, float) or not 0 <= value <= 5:
                raise ValueError(f"{value!r} is not a number from 0 to 5")
            made.plain[Fate.TEMPERATURE] = value
        case Fate.SEED:
            if isinstance(value, bool) or value != int(value):
                raise ValueError(f"{value!r} is not a whole number")
            made.plain[Fate.SEED] = int(value)
        case Fate.STOP:
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError("a text or a list of texts is needed")
            if texts := [text for text in texts if text]:
                made.plain[Fate.STOP] = texts
        case Fate.WITHHELD:
            made.withheld += [name] * asked
        case Fate.OWN | None:
            if rule is None and _address(value):
                made.withheld.append(name)
                return
            made.only_own += [name] * asked
            _keep(made, top, part, value)
        case _:
            fields = {rule: value} if isinstance(rule, str) else rule(value)
            made.chat |= fields
            made.names |= dict.fromkeys(fields, name)
            _keep(made, top, part, value)


def _keep(made: Sorted, top: str, part: str, value: Any) -> None:
    if part:
        made.own.setdefault(top, {})[part] = value
    else:
        made.own[top] = value


def whole(value: Any) -> int:
    """A count of tokens; 4096.0 is 4096. Raises ValueError for what is none."""
    if type(value) not in (int, float) or value < 1 or value != value // 1:
        raise ValueError(f"{value!r} is not a positive whole number")
    return int(value)


def _address(value: Any) -> bool:
    """Whether a value holds an address anywhere."""
    if isinstance(value, str):
        return "://" in value
    if isinstance(value, Mapping):
        return any(_address(inner) for pair in value.items() for inner in pair)
    return isinstance(value, list) and any(map(_address, value))


def plain(schema: Any) -> Any:
    """JSON Schema of Google's: its types are written in capitals."""
    if isinstance(schema, Mapping):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else plain(value)
            for key, value in schema.items()
        }
    return [plain(item) for item in schema] if isinstance(schema, list) else schema
