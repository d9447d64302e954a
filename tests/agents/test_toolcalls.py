# ruff: noqa: E501 (a call is a line)
"""Calls in every form that is read, told from words and drafts, and what is no call."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.agents.models.checkpoint import make_tokenizer
from plateau_bench.agents.models.toolcalls import Reply, read_reply
from plateau_bench.agents.tool import tool_schemas

TOKENIZER = make_tokenizer(["abc"], 220)
EDIT = '{"path": "a.py", "start": 2, "end": 2, "text": "x\\n"}'
WANTED = {"path": "a.py", "start": 2, "end": 2, "text": "x\n"}

FORMS = {
    "hermes": '<tool_call>{"name": "edit", "arguments": @@}</tool_call>',
    "hermes, cut off": '<tool_call>\n{"name": "edit", "arguments": @@}',
    "a list": '<tool_call>[{"name": "edit", "arguments": @@}]</tool_call>',
    "openai's": '<tool_call>{"type": "function", "function": {"name": "edit", "arguments": @@}}</tool_call>',
    "coder": "<tool_call>\n<function=edit>\n<parameter=path>\na.py\n</parameter>\n<parameter=start>\n2\n</parameter>\n"
    "<parameter=end>2</parameter>\n<parameter=text>\nx\n\n</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>edit\n<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n<arg_key>start</arg_key><arg_value>2"
    "</arg_value><arg_key>end</arg_key><arg_value>2</arg_value><arg_key>text</arg_key><arg_value>x\n</arg_value></tool_call>",
    "llama": '{"name": "edit", "parameters": @@}',
    "llama, tagged": '<|python_tag|>{"type": "function", "name": "edit", "parameters": @@}',
    "llama, custom": "<function=edit>@@</function>",
    "pythonic": '[edit(path="a.py", start=2, end=2, text="x\\n")]',
    "in a fence": '```json\n{"name": "edit", "arguments": @@}\n```',
    "mistral": '[TOOL_CALLS][{"name": "edit", "arguments": @@, "id": "abcdefghi"}]',
    "mistral, new": "[TOOL_CALLS]edit[ARGS]@@",
    "mistral, with id": "[TOOL_CALLS]edit[CALL_ID]abcdefghi[ARGS]@@",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>edit\n```json\n@@\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek 3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>edit<｜tool▁sep｜>@@<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek 3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="edit">\n<｜DSML｜parameter name="path" string="true">a.py</｜DSML｜parameter>'
    '<｜DSML｜parameter name="start" string="false">2</｜DSML｜parameter><｜DSML｜parameter name="end" string="false">2</｜DSML｜parameter>'
    '<｜DSML｜parameter name="text" string="true">x\n</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    "minimax": '<minimax:tool_call>\n<invoke name="edit">\n<parameter name="path">a.py</parameter><parameter name="start">2</parameter>'
    '<parameter name="end">2</parameter><parameter name="text">x\n</parameter>\n</invoke>\n</minimax:tool_call>',
    "harmony": "<|channel|>commentary to=functions.edit <|constrain|>json<|message|>@@<|call|>",
    "harmony, other order": " to=functions.edit<|channel|>commentary json<|message|>@@",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.edit:0<|tool_call_argument_begin|>@@<|tool_call_end|><|tool_calls_section_end|>",
    "phi": '<|tool_call|>[{"name": "edit", "arguments": @@}]<|/tool_call|>',
    "command": '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "edit", "parameters": @@}]<|END_ACTION|>',
    "functiongemma": "<start_function_call>call:edit{path:<escape>a.py<escape>,start:2,end:2,text:<escape>x\n<escape>}<end_function_call>",
    "gemma": '```tool_code\nedit(path="a.py", start=2, end=2, text="x\\n")\n```',
}  # fmt: skip
WORDLESS = {"llama", "llama, tagged", "pythonic", "in a fence", "harmony, other order"}


def read(text: str, first: int = 0) -> Reply:
    return read_reply(TOKENIZER, [], text, list(tool_schemas()), first)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "before", ["", "I look.\n", "<think>\nFirst <tool_call>{} or [TOOL_CALLS].\n</think>\n\n"]
)
def test_a_call_is_read(form: str, before: str) -> None:
    if before == "I look.\n" and form in WORDLESS:
        return
    if form.startswith("harmony") and before:
        return
    found = read(before + FORMS[form].replace("@@", EDIT), 7)
    assert not found.malformed
    assert [(one["name"], one["args"]) for one in found.calls] == [("edit", WANTED)]
    assert found.calls[0]["id"] == "call00007"
    assert found.text.rstrip() == before.rstrip()


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "edit", "arguments": {"path": </tool_call>',
        "<tool_call></tool_call>",
        '<tool_call>{"name": "edit", "arguments": 3}</tool_call>',
        "[TOOL_CALLS]",
        '[TOOL_CALLS][{"name": "edit"',
        "<｜tool▁calls▁begin｜>edit",
        "<|tool_call_begin|>edit",
        '[edit("a.py", 2)]',
        "[edit(path=open('a'))]",
        "<function=edit>{</function>",
        '{"name": "edit", "parameters": {"path": ',
        "<|python_tag|>import os",
        "<|START_ACTION|>[]",
        "<tool_call><function=edit><parameter=start>two</parameter></function></tool_call>",
    ],
)
def test_a_call_that_cannot_be_read_is_malformed_and_kept(text: str) -> None:
    found = read(text)
    assert found.calls == []
    assert found.malformed[0]["args"] == text
    assert found.malformed[0]["error"]


@pytest.mark.parametrize(
    "text",
    [
        "Done.",
        "",
        '{"path": "a.py"}',
        '{"name": "somebody"}',
        "print(1)",
        "I called edit(path='a.py').",
        '<think>\n<tool_call>{"name": "submit"}</tool_call>',
        '<think>[TOOL_CALLS][{"name": "submit"}]</think>Not yet.',
    ],
)
def test_words_and_drafts_are_no_calls(text: str) -> None:
    assert read(text) == Reply(text, [], [])


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.sampled_from(sorted(FORMS)), st.integers(0, 200))
def test_nothing_that_a_model_writes_raises(noise: str, form: str, cut: int) -> None:
    text = FORMS[form].replace("@@", EDIT)
    for said in (text[:cut], text[cut:], text[:cut] + noise + text[cut:]):
        found = read(said)
        assert not (found.calls and found.malformed)


JSON: st.SearchStrategy[Any] = st.dictionaries(st.sampled_from(["command", "text"]), st.text(max_size=20))


@settings(max_examples=100, deadline=None)
@given(JSON, st.sampled_from(["hermes", "llama", "mistral", "phi", "deepseek 3.1", "mistral, new"]))
def test_any_text_comes_through_as_an_argument(arguments: dict[str, str], form: str) -> None:
    for ascii_only in (True, False):
        written = json.dumps(arguments, ensure_ascii=ascii_only)
        if any(mark in written for mark in ("</tool_call>", "TOOL_CALLS", "<｜", "<|")):
            continue
        found = read(FORMS[form].replace("@@", written))
        assert [one["args"] for one in found.calls] == [arguments]
