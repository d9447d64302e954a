"""The tool agent: what it does in its box, what ends it, and that its record is what the model saw."""

from collections.abc import Iterator, Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, InvalidToolCall, ToolMessage
from langchain_core.messages import ToolCall as Call

from plateau_bench.agents.base import Ending, Limits, NotReached, Trajectory
from plateau_bench.agents.models.chat import linear_history
from plateau_bench.agents.models.checkpoint import make_model, make_tokenizer
from plateau_bench.agents.models.local import LocalChatModel, as_chat
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.models.toolcalls import read_reply
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.tool import SYSTEM_PROMPT, ToolAgent, box_tools, clip, fitting
from plateau_bench.sandbox.base import SandboxError, SandboxSpec
from tests.agents.tiny import TEXTS
from tests.tasks.local_backend import LocalSandbox

NO_LIMITS = Limits(completion_tokens=20)


@pytest.fixture
def box() -> Iterator[LocalSandbox]:
    box = LocalSandbox(SandboxSpec())
    box.write("ops.py", b"def f(a):\n    return a\n")
    yield box
    box.close()


def solve(
    box: LocalSandbox, answers: Sequence[AIMessage | str], price: Price | None = None, **options: object
) -> Trajectory:
    chat = ScriptedChat.of(answers, price=price)
    agent = ToolAgent(chat, **{"limits": NO_LIMITS} | options)  # type: ignore[arg-type]
    return agent.solve("repair f", [1], [box])[0]


def test_it_works_in_its_box_and_keeps_the_whole_conversation(box: LocalSandbox) -> None:
    edit = call("edit", path="ops.py", start=2, end=2, text="    return sum(a)")
    found = solve(box, [call("bash", command="cat ops.py"), edit, call("submit")])
    assert found.ending is Ending.SUBMITTED
    assert box.read("ops.py") == b"def f(a):\n    return sum(a)\n"
    roles = [message.role for message in found.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant", "tool"]
    assert found.messages[3].text == "def f(a):\n    return a"
    assert found.messages[5].text == "[ok]"
    assert found.messages[3].tool_call_id == found.messages[2].tool_calls[0].id
    assert {tool["function"]["name"] for tool in found.tools} == {"bash", "edit", "submit"}
    assert found.messages[1].text == "repair f"


def test_an_answer_without_calls_ends_the_attempt(box: LocalSandbox) -> None:
    found = solve(box, ["I am done."])
    assert (found.ending, found.messages[-1].text) == (Ending.SUBMITTED, "I am done.")


def test_failures_of_a_command_are_told_not_raised(box: LocalSandbox) -> None:
    answers = [
        call("bash", command="echo no >&2; exit 3"),
        call("edit", path="ops.py", start=9, end=9, text="x"),
        call("nonsense"),
        call("edit", path="ops.py", start="first", end=1, text="x"),
        "done",
    ]
    found = solve(box, answers)
    told = [message.text for message in found.messages if message.role == "tool"]
    assert told[0] == "no\n[exit code 3]"
    assert told[1] == "[ops.py has 2 lines; lines 9 to 9 are not in it]"
    assert "nonsense is not a valid tool" in told[2]
    assert "start" in told[3]
    assert found.ending is Ending.SUBMITTED


def test_several_calls_in_one_answer_run_in_their_order(box: LocalSandbox) -> None:
    calls = [
        Call(name="bash", args={"command": f"echo {i} >> log; cat log"}, id=str(i), type="tool_call")
        for i in range(5)
    ]
    found = solve(box, [AIMessage("", tool_calls=calls), "done"])
    assert box.read("log") == b"0\n1\n2\n3\n4\n"
    assert [m.text for m in found.messages if m.role == "tool"][2] == "0\n1\n2"


LOOP = [call("bash", command="true")]


@pytest.mark.parametrize(
    ("limits", "ending", "answers"),
    [
        (Limits(steps=4), Ending.STEP_LIMIT, 4),
        (Limits(tool_calls=3), Ending.STEP_LIMIT, 4),
        (Limits(tokens=1), Ending.TOKEN_LIMIT, 1),
        (Limits(seconds=0.0), Ending.TIME_LIMIT, 0),
        (Limits(cost_usd=1e-9), Ending.COST_LIMIT, 1),
    ],
)
def test_every_limit_ends_an_endless_attempt(
    box: LocalSandbox, limits: Limits, ending: Ending, answers: int
) -> None:
    found = solve(box, LOOP, limits=limits, price=Price(read=1.0, written=1.0))
    assert found.ending is ending
    assert sum(message.role == "assistant" for message in found.messages) == answers


def test_calls_that_cannot_be_read_are_told_and_end_the_attempt_after_a_while(box: LocalSandbox) -> None:
    why = InvalidToolCall(type="invalid_tool_call", id=None, name=None, args="<call", error="no")
    broken = AIMessage("", invalid_tool_calls=[why])
    found = solve(box, [broken, call("bash", command="true"), broken])
    assert found.ending is Ending.MALFORMED
    roles = "".join(message.role[0] for message in found.messages)
    assert roles == "su" + "au" + "at" + "au" + "au" + "a"
    assert found.messages[2].malformed == ("<call",)


def test_a_price_makes_a_cost_and_no_price_makes_none(box: LocalSandbox) -> None:
    found = solve(box, ["two words"], price=Price(read=0.0, written=1e6))
    assert found.cost_usd == 2.0
    assert solve(box, ["two words"]).cost_usd is None
    with pytest.raises(ValueError, match="price"):
        ToolAgent(ScriptedChat.of(["x"]), limits=Limits(cost_usd=1.0))


def test_a_model_that_is_gone_and_a_box_that_breaks_are_no_endings(box: LocalSandbox) -> None:
    def fail(messages: Sequence[BaseMessage]) -> AIMessage:
        raise ConnectionError("endpoint down")

    with pytest.raises(NotReached, match="endpoint down"):
        ToolAgent(ScriptedChat(script=fail), limits=NO_LIMITS).solve("x", [1], [box])

    class Dead(LocalSandbox):
        def run(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            raise SandboxError("gone")

    dead = Dead(SandboxSpec())
    with pytest.raises(SandboxError, match="gone"):
        ToolAgent(ScriptedChat.of(LOOP), limits=NO_LIMITS).solve("x", [1], [dead])
    dead.close()


@pytest.mark.parametrize(
    ("start", "end", "text", "left"),
    [
        (1, 1, "A", "A\nb\nc"),
        (2, 2, "", "a\nc"),
        (4, 3, "d", "a\nb\nc\nd\n"),
        (1, 0, "z\n", "z\na\nb\nc"),
        (1, 3, "q", "q\n"),
    ],
)
def test_edit_replaces_deletes_and_inserts_lines(
    box: LocalSandbox, start: int, end: int, text: str, left: str
) -> None:
    box.write("t", b"a\nb\nc")
    edit = next(tool for tool in box_tools(box, 5) if tool.name == "edit")
    assert edit.invoke({"path": "t", "start": start, "end": end, "text": text}) == "[ok]"
    assert box.read("t").decode() == left


def test_long_output_keeps_both_ends() -> None:
    text = clip("a" * 50 + "b" * 50, limit=20)
    assert text.startswith("a" * 10 + "\n[... 80 characters")
    assert text.endswith("b" * 10)


@pytest.fixture(scope="module")
def local() -> LocalChatModel:
    tokenizer = make_tokenizer(TEXTS, 160, tools=True)
    return LocalChatModel(
        make_model(tokenizer, hidden=32, layers=1, heads=2, ffn=32, context=2048), tokenizer
    )


def test_the_chat_template_and_the_response_template_agree(local: LocalChatModel) -> None:
    arguments = {"path": "a.py", "start": 2, "text": "x\n=1\n"}
    made = AIMessage("look", tool_calls=[Call(name="edit", args=arguments, id="1", type="tool_call")])
    box = LocalSandbox(SandboxSpec())
    tools = local.bind_tools(box_tools(box, 1)).kwargs["tools"]  # type: ignore[attr-defined]
    box.close()
    tokenizer = local.tokenizer
    prompt = "<|user|>go<|end|><|assistant|>"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "go"}, as_chat(made)], tokenize=False, tools=tools
    )
    assert text == f"{prompt}look<|call|>edit<|arg|>path=a.py<|arg|>start=2<|arg|>text=x\n=1\n<|end|>"
    written = str(text)[len(prompt) : -len("<|end|>")]
    reply = read_reply(tokenizer, tokenizer(prompt)["input_ids"], written, tools)
    assert reply.text == "look"
    assert reply.calls[0]["args"] == arguments


@pytest.mark.parametrize(
    ("text", "calls", "malformed"),
    [
        ('<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>', 1, 0),
        ('<tool_call>{"name": "bash", "arguments": {"command": </tool_call>', 0, 1),
        ('<tool_call>["bash"]</tool_call>', 0, 1),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', 0, 1),
        ("just words", 0, 0),
    ],
)
def test_the_usual_form_is_read_without_a_response_template(text: str, calls: int, malformed: int) -> None:
    reply = read_reply(make_tokenizer(TEXTS, 160), [], text, [])
    assert (len(reply.calls), len(reply.malformed)) == (calls, malformed)


def test_what_was_sampled_stays_and_only_news_is_tokenised(local: LocalChatModel) -> None:
    first = local.invoke([HumanMessage("go")], seeds=[3], max_tokens=400)
    if first.response_metadata["finish_reason"] != "stop":
        first.response_metadata["token_ids"] = (
            *first.response_metadata["token_ids"],
            local.tokenizer.eos_token_id,
        )
    facts = first.response_metadata
    second = local.invoke([HumanMessage("go"), first, ToolMessage("[ok]", tool_call_id="1")], max_tokens=4)
    before = [*facts["prompt_token_ids"], *facts["token_ids"]]
    prompt = second.response_metadata["prompt_token_ids"]
    assert list(prompt[: len(before)]) == before
    assert local.tokenizer.decode(prompt[len(before) :]) == "<|tool|>[ok]<|end|><|assistant|>"
    ids, spans, logprobs = linear_history([first, second])
    assert [ids[a:b] for a, b in spans] == [tuple(facts["token_ids"]), second.response_metadata["token_ids"]]
    assert len(ids) == len(prompt) + len(second.response_metadata["token_ids"])
    with pytest.raises(ValueError, match="continue"):
        linear_history([second, first])


def test_a_local_model_drives_the_agent_and_its_record_can_be_trained_on(
    local: LocalChatModel, box: LocalSandbox
) -> None:
    agent = ToolAgent(local, limits=Limits(completion_tokens=30, steps=3), temperature=1.0)
    for found in agent.solve("repair f", [1, 2], [box, box]):
        assert found.loss_spans
        assert len(found.logprobs) == sum(end - start for start, end in found.loss_spans)
        assert found.token_ids[0] == local.tokenizer.convert_tokens_to_ids("<|system|>")
        assert found.loss_spans[-1][1] == len(found.token_ids)


def test_the_prompt_tells_of_the_network_that_there_is() -> None:
    assert fitting(SYSTEM_PROMPT, ()) == SYSTEM_PROMPT
    assert fitting(SYSTEM_PROMPT, ("example.org", "*.example.com")).endswith(
        "when you are done. The network reaches only example.org, *.example.com, by HTTP and HTTPS."
    )
    assert "public hosts" in fitting(SYSTEM_PROMPT, ("*",))
    assert fitting("my own prompt", ("*",)) == "my own prompt"
