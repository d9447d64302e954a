"""Tool calls in a local model's text: each family's own form, told by its marks.

A checkpoint may say with `tokenizer.response_template` how its chat template writes calls (see transformers'
response parsing); then that is how they are read. Otherwise the first of `FORMS` whose mark is in the answer
reads it. Calls in reasoning are drafts and are not made. A call that cannot be read is malformed, and so is
its whole turn: calls that were meant to follow it would do something else.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import InvalidToolCall, ToolCall

from plateau_bench.agents.answers import split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Schemas = Mapping[str, Mapping[str, Any]]
"""The parameters of each tool, by its name: JSON schema's `properties`."""
Call = tuple[str, dict[str, Any]]


class Reply(NamedTuple):
    """What a model's text says: words, calls, and calls that could not be read."""

    text: str
    calls: list[ToolCall] = []  # noqa: RUF012 (never changed)
    malformed: list[InvalidToolCall] = []  # noqa: RUF012


class Form(NamedTuple):
    """How a family writes calls."""

    mark: re.Pattern[str]
    """Where the calls begin; what stands before are words."""
    read: Callable[[str, Schemas], list[Call]]
    """Reads the answer from its mark on. Raises ValueError, KeyError, TypeError or SyntaxError."""


def read_reply(
    tokenizer: "PreTrainedTokenizerBase",
    prompt_ids: Sequence[int],
    text: str,
    tools: list[Any],
    first: int = 0,
) -> Reply:
    """Read what the model wrote. Never raises for that: a call that cannot be read is in `malformed`.

    `first` is the first call's number in its conversation; numbers make the ids, nine letters and digits.
    """
    try:
        if template := getattr(tokenizer, "response_template", None):
            words, found = _by_template(tokenizer, template, prompt_ids, text, tools)
        else:
            words, found = _by_form(text, _schemas(tools))
        calls = [
            ToolCall(name=name, args=arguments, id=f"call{first + i:05d}", type="tool_call")
            for i, (name, arguments) in enumerate(found)
        ]
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        return Reply(
            text, [], [InvalidToolCall(type="invalid_tool_call", id=None, name=None, args=text, error=reason)]
        )
    # What was written must stay visible even if it is neither a call nor an answer.
    return Reply(words if calls or words else text, calls)


def _by_template(
    tokenizer: Any, template: Any, prompt_ids: Sequence[int], text: str, tools: list[Any]
) -> tuple[str, list[Call]]:
    anchors = template.get("start_anchor")
    prompt = str(tokenizer.decode(list(prompt_ids), skip_special_tokens=False))
    known = any(one in prompt for one in ([anchors] if isinstance(anchors, str) else anchors or []))
    parsed = tokenizer.parse_response(text, template, prefix=prompt if known else "", tools=tools)
    return parsed.get("content") or "", [_call(one) for one in parsed.get("tool_calls") or []]


def _by_form(text: str, schemas: Schemas) -> tuple[str, list[Call]]:
    said = split(text)
    # gpt-oss calls from its channels, none of which is an answer.
    answer = text if _HARMONY.search(text) else said.answer
    for form in FORMS:
        if mark := form.mark.search(answer):
            words = answer[: mark.start()] if answer is text else said.reasoning + answer[: mark.start()]
            return words, form.read(answer[mark.start() :], schemas)
    if calls := _bare(answer, schemas):
        return said.reasoning, calls
    return text, []


def _schemas(tools: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    functions = [tool.get("function", tool) for tool in tools or []]
    return {
        one["name"]: one.get("parameters", {}).get("properties", {}) for one in functions if "name" in one
    }


# From what stands between marks to calls.


def _call(said: Any) -> Call:
    """One call as JSON has it: {"name": ..., "arguments": {...}} under any of its usual names."""
    if not isinstance(said, dict):
        raise TypeError("a call needs a name and a table of arguments")
    said = said["function"] if isinstance(said.get("function"), dict) else said
    name: Any = next((said[key] for key in ("name", "tool_name", "function") if key in said), None)
    found: Any = next((said[key] for key in ("arguments", "parameters", "args", "input") if key in said), {})
    arguments = json.loads(found or "{}", strict=False) if isinstance(found, str) else found
    arguments = {} if arguments is None else arguments
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise TypeError("a call needs a name and a table of arguments")
    return name.removeprefix("functions."), arguments


def _json_calls(text: str) -> list[Call]:
    """The calls of JSON values that stand one after another, each a call or a list of calls."""
    decoder, position, calls = json.JSONDecoder(strict=False), 0, []
    while (position := _skip(text, position)) < len(text):
        value, position = decoder.raw_decode(text, position)
        calls += [_call(one) for one in (value if isinstance(value, list) else [value])]
    return calls


def _skip(text: str, position: int) -> int:
    while position < len(text) and (text[position].isspace() or text[position] in ";,"):
        position += 1
    return position


def _typed(name: str, values: Mapping[str, str], schemas: Schemas) -> Call:
    """A call whose arguments were written as text: those that the tool wants otherwise are read as JSON."""
    made: dict[str, Any] = {}
    for key, value in values.items():
        kind = schemas.get(name, {}).get(key, {}).get("type", "string")
        made[key] = value if kind == "string" else json.loads(value.lower() if kind == "boolean" else value)
    return name, made


def _python_calls(text: str) -> list[Call]:
    """Calls as Python has them, one after another or in a list: `[bash(command="ls"), submit()]`."""
    calls = []
    for statement in ast.parse(text.strip()).body:
        if not isinstance(statement, ast.Expr):
            raise ValueError("something else than a call stands among the calls")
        value = statement.value
        for one in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
            if (
                not isinstance(one, ast.Call)
                or one.args
                or not isinstance(one.func, ast.Name | ast.Attribute)
            ):
                raise ValueError("a call needs a name and arguments by name: bash(command='ls')")
            name = one.func.id if isinstance(one.func, ast.Name) else one.func.attr
            calls.append((name, {str(key.arg): ast.literal_eval(key.value) for key in one.keywords}))
    return calls


# The forms.

_XML_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_XML_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_GLM = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_INVOKE = re.compile(r'<(?:｜DSML｜)?invoke name="([^"]+)">(.*?)</(?:｜DSML｜)?invoke>', re.DOTALL)
_INVOKE_PARAMETER = re.compile(
    r'<(?:｜DSML｜)?parameter name="([^"]+)"[^>]*>(.*?)</(?:｜DSML｜)?parameter>', re.DOTALL
)
_HARMONY = re.compile(r"(?:^|<\|start\|>assistant|<\|channel\|>\w+)\s*to=")
_HARMONY_CALL = re.compile(
    r"\bto=(?:functions\.)?([\w.-]+)[^{\[]*?<\|message\|>(.*?)(?=<\|call\|>|<\|end\|>|<\|start\|>|\Z)",
    re.DOTALL,
)
_DEEPSEEK = re.compile(r"<｜tool▁call▁begin｜>(.*?)<｜tool▁sep｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", re.DOTALL)
_KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(.*?)\s*<\|tool_call_argument_begin\|>(.*?)(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)
_GEMMA = re.compile(
    r"<(?:start_function_call|\|tool_call)>\s*call:([\w.]+)\s*\{(.*?)\}"
    r"\s*(?:<(?:end_function_call|tool_call\|)>|\Z)",
    re.DOTALL,
)
_GEMMA_ARGUMENT = re.compile(
    r'(\w+):(?:<escape>(.*?)<escape>|<\|"\|>(.*?)<\|"\|>|([^,]*))(?:,|\Z)', re.DOTALL
)


def _hermes(text: str, schemas: Schemas) -> list[Call]:
    calls: list[Call] = []
    for body in re.findall(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", text, re.DOTALL):
        if "<function=" in body:
            calls += _functions(body, schemas)
        elif pairs := _GLM.findall(body):
            name = body.partition("<arg_key>")[0].strip()
            calls.append(_typed(name, {key.strip(): value for key, value in pairs}, schemas))
        elif body.strip().isidentifier():
            calls.append((body.strip(), {}))
        else:
            calls += _json_calls(body) or [_call(None)]
    return calls


def _functions(text: str, schemas: Schemas) -> list[Call]:
    calls = []
    for name, body in _XML_FUNCTION.findall(text):
        if body.strip().startswith("{"):
            calls.append(_call({"name": name, "arguments": body.strip()}))
        else:
            calls.append(_typed(name, dict(_XML_PARAMETER.findall(body)), schemas))
    return calls or [_call(None)]


def _mistral(text: str, schemas: Schemas) -> list[Call]:
    calls: list[Call] = []
    for body in filter(str.strip, text.split("[TOOL_CALLS]")):
        named = re.match(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\])?\s*(\{.*)\Z", body, re.DOTALL)
        calls += [_call({"name": named[1], "arguments": named[2].strip()})] if named else _json_calls(body)
    return calls or [_call(None)]


def _deepseek(text: str, schemas: Schemas) -> list[Call]:
    calls = []
    for head, body in _DEEPSEEK.findall(text):
        fenced = re.match(r"\s*(\S+)\s*```(?:json)?\s*(.*?)\s*```\s*\Z", body, re.DOTALL)
        name, arguments = fenced.groups() if fenced else (head.strip(), body.strip())
        calls.append(_call({"name": name, "arguments": arguments}))
    return calls or [_call(None)]


def _harmony(text: str, schemas: Schemas) -> list[Call]:
    found = _HARMONY_CALL.findall(text)
    return [_call({"name": name, "arguments": body.strip()}) for name, body in found] or [_call(None)]


def _kimi(text: str, schemas: Schemas) -> list[Call]:
    found = [(name.rpartition(":")[0] or name, body.strip()) for name, body in _KIMI.findall(text)]
    return [_call({"name": name, "arguments": body}) for name, body in found] or [_call(None)]


def _gemma(text: str, schemas: Schemas) -> list[Call]:
    calls = []
    for name, body in _GEMMA.findall(text):
        texts: dict[str, str] = {}
        others: dict[str, str] = {}
        for key, escaped, quoted, bare in _GEMMA_ARGUMENT.findall(body):
            (others if bare else texts)[key] = bare.strip() or escaped or quoted
        calls.append((name, {**texts, **_typed(name, others, schemas)[1]}))
    return calls or [_call(None)]


def _invokes(text: str, schemas: Schemas) -> list[Call]:
    found = [(name, dict(_INVOKE_PARAMETER.findall(body))) for name, body in _INVOKE.findall(text)]
    return [_typed(name, values, schemas) for name, values in found] or [_call(None)]


def _between(begin: str, end: str) -> Callable[[str, Schemas], list[Call]]:
    """JSON between marks."""

    def read(text: str, schemas: Schemas) -> list[Call]:
        body = re.split(end, re.sub(begin, "", text, count=1), maxsplit=1)[0]
        return _json_calls(re.sub(begin, "", body)) or [_call(None)]

    return read


def _tool_code(text: str, schemas: Schemas) -> list[Call]:
    body = text.partition("\n")[2].partition("```")[0].strip()
    printed = re.fullmatch(r"print\((.*)\)", body, re.DOTALL)
    return _python_calls(printed[1] if printed else body)


def _bare(answer: str, schemas: Schemas) -> list[Call]:
    """Calls without a mark, if the answer is nothing else and names a tool: Llama's JSON, lists of calls."""
    text = answer.strip().removeprefix("<|python_tag|>").strip()
    fenced = re.fullmatch(r"```(?:json)?\n(.*?)\n?```", text, re.DOTALL)
    text = fenced[1].strip() if fenced else text
    marked = answer.lstrip().startswith("<|python_tag|>")
    as_json = re.match(r'(?:\[\s*)?\{\s*"(?:type|name|function|tool_name|parameters|arguments)"\s*:', text)
    as_python = re.match(r"\[?\s*(\w+)\(", text)
    if as_json and (marked or any(re.search(rf'"{re.escape(name)}"', text) for name in schemas)):
        return _json_calls(text)
    if as_python and as_python[1] in schemas and text.endswith(("]", ")")):
        return _python_calls(text)
    if marked:
        raise ValueError("no call stands behind <|python_tag|>")
    return []


FORMS = (
    Form(re.compile(r"<tool_calls?>"), _hermes),  # Qwen, Hermes, Qwen3-Coder, GLM, Granite
    Form(re.compile(r"<function="), _functions),  # Llama 3.1's custom form, Qwen3-Coder without its mark
    Form(re.compile(r"\[TOOL_CALLS\]"), _mistral),
    Form(re.compile(r"<｜tool▁calls?▁begin｜>"), _deepseek),
    Form(re.compile(r"<(?:｜DSML｜|minimax:)?(?:function_calls|tool_call)>|<(?:｜DSML｜)?invoke "), _invokes),
    Form(_HARMONY, _harmony),  # gpt-oss
    Form(re.compile(r"<\|tool_calls?_(?:section_)?begin\|>"), _kimi),
    Form(re.compile(r"<start_function_call>|<\|tool_call>"), _gemma),
    Form(re.compile(r"<\|tool_call\|>"), _between(r"<\|tool_call\|>", r"<\|/tool_call\|>")),  # Phi-4-mini
    Form(re.compile(r"<\|START_ACTION\|>"), _between(r"<\|START_ACTION\|>", r"<\|END_ACTION\|>")),  # Command
    Form(re.compile(r"^```tool_code\n", re.MULTILINE), _tool_code),  # Gemma 3
)
"""In the order in which they are tried; the last, calls without a mark, is `_bare`."""
