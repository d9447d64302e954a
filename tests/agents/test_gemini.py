"""Google's protocol at the gateway: the same counting, limits and refusals as the others."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from plateau_bench.agents.base import Ending, Limits
from plateau_bench.agents.gateway import generate_content as gemini
from plateau_bench.agents.gateway.conversation import answered
from plateau_bench.agents.gateway.server import Gateway
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.vendors.agent import read_vendor
from tests.agents.test_gateway import gateway, post

PATH = "/v1beta/models/plateau:generateContent"
DECLARED = {
    "name": "bash",
    "description": "run",
    "parameters": {"type": "OBJECT", "properties": {"type": {"type": "STRING"}}},
}


def said(*texts: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text} for text in texts]}


def body(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": list(contents) or [said("hi")], **more}


def test_a_conversation_with_calls_and_results() -> None:
    g = gateway([call("bash", command="ls"), "done"])
    settings = {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [DECLARED]}],
    }
    status, first = post(g, body(**settings), PATH)
    assert status == 200
    content = first["candidates"][0]["content"]
    used = content["parts"][0]["functionCall"]
    assert (used["name"], used["args"]) == ("bash", {"command": "ls"})
    result = {"functionResponse": {"id": used["id"], "name": "bash", "response": {"output": "a.py"}}}
    _, second = post(g, body(said("hi"), content, {"role": "user", "parts": [result]}, **settings), PATH)
    assert second["candidates"][0] == {
        "content": {"role": "model", "parts": [{"text": "done"}]},
        "finishReason": "STOP",
        "index": 0,
    }
    assert [(m.role, m.text) for m in g.messages()][::2] == [
        ("system", "be brief"),
        ("assistant", ""),
        ("assistant", "done"),
    ]
    schema = g.tools[0]["function"]["parameters"]
    assert schema == {"type": "object", "properties": {"type": {"type": "string"}}}
    counted = [reply["usageMetadata"]["totalTokenCount"] for reply in (first, second)]
    assert sum(counted) == g.spent.prompt_tokens + g.spent.completion_tokens
    assert g.spent.cost == pytest.approx(sum(counted) / 1e6)


def test_streams_are_events_or_a_list() -> None:
    stream = PATH.replace("generateContent", "streamGenerateContent")
    _, events = post(gateway(), body(), f"{stream}?alt=sse")
    assert json.loads(events.removeprefix("data: "))["candidates"][0]["content"]["parts"] == [
        {"text": "hello"}
    ]
    _, listed = post(gateway(), body(), stream)
    assert len(listed) == 1


def test_results_without_ids_answer_the_calls_of_their_names_in_order() -> None:
    calls = [{"functionCall": {"name": name, "args": {"n": i}}} for i, name in enumerate("aba")]
    results = [{"functionResponse": {"name": name, "response": {"r": i}}} for i, name in enumerate("aab")]
    read = gemini.read(body({"role": "model", "parts": calls}, {"role": "user", "parts": results}))
    made = [c["id"] for c in read.messages[0]["tool_calls"]]
    told = [(m["tool_call_id"], json.loads(m["content"])["r"]) for m in read.messages[1:]]
    assert told == [(made[0], 0), (made[1], 2), (made[2], 1)]  # in the order of the calls


@pytest.mark.parametrize(
    "name", ["googleSearch", "google_search", "urlContext", "codeExecution", "anythingNew"]
)
def test_hosted_tools_are_withheld(name: str) -> None:
    g = gateway()
    assert post(g, body(tools=[{name: {}}]), PATH)[0] == 200
    assert (g.withheld, g.tools) == ([name], ())


@pytest.mark.parametrize(
    "wrong",
    [
        body({"role": "user", "parts": [{"fileData": {"fileUri": "https://evil/x.pdf"}}]}),
        body({"role": "user", "parts": [{"fileData": {"fileUri": 3}}]}),
        body({"role": "user", "parts": [{"functionResponse": {"name": "never called"}}]}),
        body({"role": "user", "parts": [{"executableCode": {}}]}),
        body(cachedContent="cachedContents/1"),
        body(generationConfig={"maxOutputTokens": "many"}),
        body(tools=3),
        {"contents": "hi"},
        {},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    g = gateway()
    assert post(g, wrong, PATH)[0] == 400
    assert g.spent.calls == 0


def test_limits_hold_and_a_cut_answer_says_so() -> None:
    cut = AIMessage("hel", response_metadata={"finish_reason": "length"})
    g = gateway([cut], limits=Limits(completion_tokens=9, steps=1))
    _, reply = post(g, body(), PATH)
    assert reply["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert post(g, body(), PATH)[0] == 403
    assert g.ending is Ending.STEP_LIMIT


texts = st.text(min_size=1)
plain = st.recursive(
    st.none() | st.integers() | texts, lambda inner: st.dictionaries(texts, inner), max_leaves=4
)


@given(st.lists(st.tuples(texts, st.dictionaries(texts, plain)), min_size=1, max_size=4), st.text())
def test_what_is_answered_can_be_sent_back(calls: list[tuple[str, dict[str, Any]]], text: str) -> None:
    made = [{"id": f"c{i}", "name": name, "args": args} for i, (name, args) in enumerate(calls)]
    reply = gemini.from_answer(answered(AIMessage(text, tool_calls=made), None, 1, ""), {"model": "m"})
    (message,) = gemini.read({"contents": [reply["candidates"][0]["content"]]}).messages
    assert (message["content"] or "") == text
    functions = [(c["id"], c["function"]) for c in message["tool_calls"]]
    assert [(i, f["name"], json.loads(f["arguments"])) for i, f in functions] == [
        (m["id"], m["name"], m["args"]) for m in made
    ]


def test_the_shipped_description_is_whole() -> None:
    vendor = read_vendor("gemini-cli")
    assert "{instruction}" in vendor.command
    assert vendor.env["GOOGLE_GEMINI_BASE_URL"] == "{gateway}"


def test_what_a_client_wishes_counts_where_the_harness_has_no_will_of_its_own() -> None:
    seen: list[tuple[Any, Any]] = []

    class Watching(ScriptedChat):
        takes_seed: bool = True

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
            seen.append((options.get("temperature"), options.get("seed")))
            return super()._generate(messages, stop, run_manager, **options)

    wish = body(generationConfig={"temperature": 0.25, "seed": 9})
    free = Gateway(Watching.of(["ok"]), limits=Limits(completion_tokens=9))
    post(free, wish, PATH)
    seeded = Gateway(Watching.of(["ok"]), limits=Limits(completion_tokens=9), seed=100)
    post(seeded, wish, PATH)
    post(seeded, wish, PATH)
    set_by_harness = Gateway(Watching.of(["ok"]), limits=Limits(completion_tokens=9), temperature=0.7)
    post(set_by_harness, wish, PATH)
    assert seen == [(0.25, 9), (0.25, 100), (0.25, 101), (0.7, 9)]
    assert post(free, body(generationConfig={"seed": -1}), PATH)[0] == 200  # "any", as many write it
    assert seen[-1] == (None, 0)
    for wrong in ({"temperature": "hot"}, {"temperature": -1}, {"seed": "many"}, {"seed": True}):
        assert post(free, body(generationConfig=wrong), PATH)[0] == 400
