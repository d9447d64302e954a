"""Checkpoints of published structure: what they are shown, what is read of them, and what carries loss."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from plateau_bench.agents.base import Ending, Limits, ModelUnavailable
from plateau_bench.agents.models.local import LocalChatModel
from plateau_bench.agents.models.template import template_of
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.agents.tool import ToolAgent, linear_history, tool_schemas
from plateau_bench.harness.learning.dataset import render, render_chat
from plateau_bench.sandbox.base import SandboxSpec
from tests.agents.families import FAMILIES, WITH_TOOLS, says, tokenizer_of
from tests.tasks.local_backend import LocalSandbox

ALL = sorted(FAMILIES)
CODE = "def f(a):\n    return len(a)"
COMMAND = "echo hello >> out.txt"


@pytest.fixture
def box() -> Iterator[LocalSandbox]:
    box = LocalSandbox(SandboxSpec())
    yield box
    box.close()


def call_of(name: str) -> str:
    return FAMILIES[name].call.replace("COMMAND", COMMAND)


def decode(tokenizer: Any, ids: Any) -> str:
    return template_of(tokenizer).text(list(ids), after=template_of(tokenizer).stop_ids[0])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_turn_ends_where_the_template_ends_it(name: str, system: str) -> None:
    answer = f"{CODE}\n"
    if FAMILIES[name].opens:
        answer = f"hm</think>\n\n{answer}"
    if name == "gpt-oss":
        answer = f"<|channel|>final<|message|>{answer}"
    agent = OneShot(
        LocalChatModel(*says(name, [answer])), limits=Limits(completion_tokens=50), system_prompt=system
    )
    [found] = agent.solve("Count.", [1])
    assert found.ending is Ending.SUBMITTED
    assert found.answer.strip() == CODE
    assert found.completion_tokens == 2
    prompt = decode(agent.model.tokenizer, found.token_ids[:-2])
    assert prompt.count("Count.") == 1
    assert prompt.count("Be brief.") == bool(system)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_calls_in_the_familys_own_form_are_made_and_the_history_is_linear(
    name: str, box: LocalSandbox
) -> None:
    model = LocalChatModel(*says(name, [call_of(name)]))
    [found] = ToolAgent(model, limits=Limits(completion_tokens=50, steps=3)).solve("Say hello.", [1], [box])
    assert found.error == ""
    assert found.ending is Ending.STEP_LIMIT
    assert box.read("out.txt") == b"hello\n" * 3
    calls = [one for message in found.messages for one in message.tool_calls]
    assert [one.arguments for one in calls] == [{"command": COMMAND}] * 3
    assert len({one.id for one in calls}) == 3
    assert all(len(one.id) == 9 and one.id.isalnum() for one in calls)
    end = FAMILIES[name].call_end or FAMILIES[name].end
    for start, stop in found.loss_spans:
        assert decode(model.tokenizer, found.token_ids[start:stop]).strip() == call_of(name) + end
    whole = decode(model.tokenizer, found.token_ids)
    assert whole.count("Say hello.") == 1
    assert whole.count(call_of(name)) == 3
    assert whole.count("[no output]") == 2


@pytest.mark.parametrize("name", sorted(set(ALL) - set(WITH_TOOLS)))
def test_a_template_without_tools_is_refused_before_anything_is_asked(name: str) -> None:
    model = LocalChatModel(*says(name, ["x"]))
    with pytest.raises(ModelUnavailable, match="the chat template takes no tools"):
        ToolAgent(model)
    with pytest.raises(ModelUnavailable, match="takes no tools"):
        render_chat(model.tokenizer, CONVERSATION)


@pytest.mark.parametrize("name", WITH_TOOLS)
@pytest.mark.parametrize("between", ["\n", ""])
def test_two_calls_in_a_turn(name: str, between: str, box: LocalSandbox) -> None:
    """Also where the template takes one: both are made, and the conversation goes on."""
    one, two = call_of(name), call_of(name).replace("hello", "again")
    if name == "mistral":
        both = f"{one[:-1]}, {two.removeprefix('[TOOL_CALLS] [')}"
    elif name == "llama3":
        both = f"{one};{between}{two}"
    elif name == "gpt-oss":
        both = f"{one}<|end|><|start|>assistant" + two.rpartition("<|start|>assistant")[2]
    elif name == "deepseek":
        begin, end = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
        both = one.replace(end, f"{end}{between}{begin}{two.partition(begin)[2].partition(end)[0]}{end}")
    elif name == "phi4-mini":
        both = one.replace("}]", "}, " + two.partition("[")[2].rpartition("]")[0] + "]")
    else:
        both = f"{one}{between}{two.rpartition('</think>')[2].lstrip()}"
    model = LocalChatModel(*says(name, [both]))
    [found] = ToolAgent(model, limits=Limits(completion_tokens=50, steps=2)).solve("Go.", [1], [box])
    assert found.error == ""
    assert box.read("out.txt") == b"hello\nagain\n" * 2
    assert len(found.loss_spans) == 2


@pytest.mark.parametrize("name", WITH_TOOLS)
@pytest.mark.parametrize("drop", [1, 9])
def test_a_call_that_cannot_be_read_is_told_and_the_history_stays_linear(
    name: str, drop: int, box: LocalSandbox
) -> None:
    broken = call_of(name).replace('"command": "', '"command": ' if drop == 1 else "").replace(
        "<parameter=command>", "<parameter=command" if drop == 1 else ""
    ).replace("<function=bash>", "<function=bash" if drop == 9 else "<function>")  # fmt: skip
    model = LocalChatModel(*says(name, [broken]))
    [found] = ToolAgent(model, limits=Limits(completion_tokens=50)).solve("Go.", [1], [box])
    assert found.ending is Ending.MALFORMED, found
    assert found.messages[-1].malformed
    assert len(found.loss_spans) == 3
    assert decode(model.tokenizer, found.token_ids).count(broken) == 3


CONVERSATION = [
    {"role": "user", "content": "Say hello."},
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "bash", "arguments": {"command": COMMAND}}}]},
    {"role": "tool", "content": "[no output]"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "edit", "arguments": {
            "path": "a", "start": 1, "end": 2, "text": "b"}}}]},
    {"role": "tool", "content": "[ok]"},
    {"role": "assistant", "content": "Done."},
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_loss_is_on_the_assistants_tokens_and_only_those(name: str) -> None:
    tokenizer = tokenizer_of(name)
    ids, spans = render_chat(tokenizer, CONVERSATION)
    written = [decode(tokenizer, ids[start:stop]) for start, stop in spans]
    outside = [one for i, one in enumerate(ids) if not any(start <= i < stop for start, stop in spans)]
    assert len(written) == 3
    assert COMMAND in written[0]
    assert "edit" in written[1]
    assert "Done." in written[2]
    family = FAMILIES[name]
    ends = [family.call_end or family.end] * 2 + [family.end]
    assert all(one.endswith(end) for one, end in zip(written, ends, strict=True))
    context = decode(tokenizer, outside)
    assert context.count("Say hello.") == context.count("[no output]") == context.count("[ok]") == 1
    assert COMMAND not in context
    assert "Done." not in context
    assert "Say hello" not in "".join(written)
    if family.opens:
        assert all(one.startswith("</think>") for one in written)


LETTERS = st.text("ab \n<|>_1{}[]'\"▁"[:-1], min_size=1, max_size=30)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12, deadline=None)
@given(body=LETTERS)
def test_a_humans_program_is_what_the_model_would_have_to_write(name: str, body: str) -> None:
    program = f"def f(a):\n    return a  # {body}|\n"
    tokenizer = tokenizer_cache(name)
    prompt, completion = render(tokenizer, "Count.", program)
    text = template_of(tokenizer).text(completion, after=prompt[-1])
    assert program.strip() in text
    assert text.endswith(FAMILIES[name].end)
    assert (
        decode(tokenizer, prompt)
        .rstrip()
        .endswith(
            template_of(tokenizer).render([{"role": "user", "content": "Count."}], prompt=True).rstrip()[-6:]
        )
    )


_TOKENIZERS: dict[str, Any] = {}


def tokenizer_cache(name: str) -> Any:
    return _TOKENIZERS.setdefault(name, tokenizer_of(name))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12, deadline=None)
@given(text=st.text("ab :\n\t(){}=", min_size=1, max_size=40))
def test_decoding_gives_back_what_was_tokenised(name: str, text: str) -> None:
    tokenizer = tokenizer_cache(name)
    template = template_of(tokenizer)
    for after in (template.stop_ids[0], template.ids("\n")[-1]):
        assert template.text(template.ids(text, after=after), after=after) == text or (
            FAMILIES[name].metaspace and after not in template.stop_ids
        )


@pytest.mark.parametrize("name", WITH_TOOLS)
@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(["user", "tool"]), min_size=1, max_size=4), st.booleans(), LETTERS)
def test_what_is_added_behind_a_turn_is_what_came_after_it(
    name: str, roles: list[str], system: bool, said: str
) -> None:
    tokenizer = tokenizer_cache(name)
    template = template_of(tokenizer)
    call = CONVERSATION[1]["tool_calls"][0] | {"id": "call00000"}  # type: ignore[index, operator]
    chat: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}] * system
    chat += [{"role": "user", "content": "Go."}]
    for i, role in enumerate(roles):
        turn = len(chat)
        calls = {"tool_calls": [call]} if role == "tool" else {}
        chat += [{"role": "assistant", "content": f"word{i}" if not calls else "", **calls}]
        reply = {"tool_call_id": "call00000"} if role == "tool" else {}
        chat += [{"role": role, "content": f"reply{i} {said}.", **reply}]
        added = template.added(chat, turn, tool_schemas())
        assert f"reply{i}" in added
        assert f"word{i}" not in added
        assert COMMAND not in added
        prompt = template.render(chat, tool_schemas(), prompt=True)
        assert prompt.endswith(added[-20:])


@pytest.mark.parametrize("name", ALL)
def test_messages_of_langchain_reach_every_template(name: str) -> None:
    model = LocalChatModel(*says(name, ["x = 1"]))
    first = model.invoke([SystemMessage("Be brief."), HumanMessage("Go.")], max_tokens=9)
    second = model.invoke(
        [SystemMessage("Be brief."), HumanMessage("Go."), first, HumanMessage("More.")], max_tokens=9
    )
    ids, spans, _ = linear_history([first, second])
    text = decode(model.tokenizer, ids)
    assert text.count("Be brief.") in (1, 2)  # mistral's moves to the last question
    assert text.index("Go.") < text.index("More.")
    assert len(spans) == 2


def test_an_unknown_tool_result_needs_no_id_of_ours() -> None:
    model = LocalChatModel(*says("mistral", [call_of("mistral")]))
    call = {"name": "bash", "args": {"command": "ls"}, "id": "toolu_01A", "type": "tool_call"}
    asked = [
        HumanMessage("Go."),
        AIMessage("", tool_calls=[call]),
        ToolMessage("a", tool_call_id="toolu_01A"),
    ]
    reply = model.bind_tools(list(tool_schemas())).invoke(asked, max_tokens=9)
    assert reply.tool_calls[0]["args"] == {"command": COMMAND}


DOCUMENTED = ("qwen2.5", "qwen3-coder", "llama3", "mistral", "deepseek", "gpt-oss")
PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def masks() -> str:
    """The last two turns of CONVERSATION in each documented family; what carries loss is in ⟦ ⟧."""
    parts = []
    for name in DOCUMENTED:
        template = template_of(tokenizer_of(name))
        chat = [{"role": "user", "content": "Say hello."}, *CONVERSATION[1:3], CONVERSATION[-1]]
        ids, spans = template.conversation(chat)
        text, done = "", 0
        for start, stop in spans:
            text += template.text(ids[done:start], after=ids[done - 1] if done else None)
            text += f"⟦{template.text(ids[start:stop], after=ids[start - 1])}⟧"
            done = stop
        parts.append(f"{name}\n\n" + "".join(f"    {line}".rstrip() + "\n" for line in text.split("\n")))
    return "\n".join(parts)


def test_the_masks_in_the_docs_are_what_is_made() -> None:
    assert masks() in PAGE.read_text()
