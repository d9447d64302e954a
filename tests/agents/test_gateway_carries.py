"""What goes into the gateway comes out of it: fields, conversations in order, reasoning, bodies."""

import gzip
import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plateau_bench.agents.base import Limits
from plateau_bench.agents.gateway.fields import TABLES, Fate
from plateau_bench.agents.gateway.server import MAX_BODY, Gateway
from plateau_bench.agents.models.endpoint import EndpointChat, open_endpoint
from plateau_bench.agents.scripted import ScriptedChat
from tests.agents.test_gateway import gateway, post
from tests.agents.upstream import call, said, upstream

PATHS = {
    "completions": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "generateContent": "/v1beta/models/m:generateContent",
}
ASK: dict[str, dict[str, Any]] = {
    "completions": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
TOOLS: dict[str, Any] = {
    "completions": {"type": "function", "function": {"name": "bash", "parameters": SCHEMA}},
    "responses": {"type": "function", "name": "bash", "parameters": SCHEMA},
    "messages": {"name": "bash", "input_schema": SCHEMA},
    "generateContent": {"functionDeclarations": [{"name": "bash", "parameters": SCHEMA}]},
}
VALUES: dict[str, Any] = {
    "completions.tool_choice": "required",
    "completions.parallel_tool_calls": False,
    "responses.parallel_tool_calls": False,
    "responses.tool_choice": {"type": "function", "name": "bash"},
    "responses.text.format": {"type": "json_object"},
    "messages.tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "messages.output_config.format": {"type": "json_schema", "schema": {"type": "object"}},
    "generateContent.toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    "generateContent.generationConfig.responseMimeType": "application/json",
    "generateContent.generationConfig.responseSchema": {"type": "OBJECT"},
}
"""Values for fields that do not take any."""
FIELDS = [(protocol, name) for protocol, table in TABLES.items() for name in table]
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


class Server:
    """A model behind a scripted server."""

    def __init__(self, url: str, seen: list[dict[str, Any]]) -> None:
        self.seen = seen
        self.chat: EndpointChat = open_endpoint("openai:m", base_url=url)
        self.answers: list[dict[str, Any]] = []

    def gateway(self, **options: Any) -> Gateway:
        return Gateway(self.chat, **{"limits": Limits(completion_tokens=100), "seed": 7} | options)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made: list[Server] = []
    with upstream(lambda body: made[0].answers.pop(0) if made[0].answers else said()) as (url, seen):
        made.append(Server(url, seen))
        yield made[0]


def body_of(protocol: str, name: str, value: Any) -> dict[str, Any]:
    top, _, part = name.partition(".")
    return {**ASK[protocol], "tools": [TOOLS[protocol]], top: {part: value} if part else value}


@pytest.mark.parametrize(("protocol", "name"), FIELDS)
def test_every_known_field_has_the_fate_of_its_table(server: Server, protocol: str, name: str) -> None:
    rule = TABLES[protocol][name]
    if rule in (Fate.READ, Fate.HERE, Fate.ONE):
        return
    value = VALUES.get(f"{protocol}.{name}", {"a": "b"} if isinstance(rule, Fate) else 1)
    value = {Fate.MOST: 50.0, Fate.TEMPERATURE: 0.3, Fate.SEED: 5, Fate.STOP: ["END"]}.get(rule, value)  # type: ignore[call-overload]
    g = server.gateway()
    status, reply = post(g, body_of(protocol, name, value), PATHS[protocol])
    assert status == 200, reply
    sent = server.seen[-1]
    if rule is Fate.WITHHELD or (rule is Fate.OWN and protocol != "completions"):
        assert g.withheld == [name]
        assert name.rpartition(".")[2] not in sent
        return
    assert g.withheld == []
    if rule is Fate.OWN or isinstance(rule, str) and not isinstance(rule, Fate):
        assert sent[name if rule is Fate.OWN else rule] == value
    elif isinstance(rule, Fate):
        told = (sent["max_completion_tokens"], sent.get("temperature"), sent["seed"], sent.get("stop"))
        wanted = {Fate.MOST: (50, None, 7, None), Fate.TEMPERATURE: (None, 0.3, 7, None)}
        wanted |= {
            Fate.SEED: (None, None, 7, None),
            Fate.STOP: (None, None, 7, ["END"]),
        }  # the seed is plateau's
        assert told[1:] == wanted[rule][1:]
        assert told[0] == (wanted[rule][0] or ASK[protocol].get("max_tokens", 100))
    else:
        assert {key: sent[key] for key in rule(value)} == rule(value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@QUIET
@given(st.sampled_from(sorted(PATHS)), st.dictionaries(st.text(min_size=1, max_size=6), plain, max_size=4))
def test_a_field_of_no_table_arrives_or_is_named(server: Server, protocol: str, more: dict[str, Any]) -> None:
    more = {f"x-{name}": value for name, value in more.items()}
    g = server.gateway()
    status, reply = post(g, {**ASK[protocol], **more}, PATHS[protocol])
    assert status == 200, reply
    sent = server.seen[-1]
    for name, value in more.items():
        if value not in (None, False, "", [], {}) or value == 0 and value is not False:
            assert sent.get(name, "absent") == value if protocol == "completions" else name in g.withheld


def test_an_unknown_field_with_an_address_is_withheld(server: Server) -> None:
    g = server.gateway()
    more = {"webhook": {"to": ["https://evil/x"]}, "hint": "plain"}
    assert post(g, {**ASK["completions"], **more})[0] == 200
    assert g.withheld == ["webhook"]
    assert (server.seen[-1].get("hint"), "webhook" in server.seen[-1]) == ("plain", False)


def test_what_cannot_be_done_is_refused_by_name(server: Server) -> None:
    for protocol, name in (("completions", "n"), ("generateContent", "generationConfig.candidateCount")):
        status, reply = post(server.gateway(), body_of(protocol, name, 2), PATHS[protocol])
        assert status == 400
        assert reply["error"]["message"] == f"{name}: 2 answers at once are not given; ask once for each"
        assert post(server.gateway(), body_of(protocol, name, 1), PATHS[protocol])[0] == 200
    assert post(server.gateway(), body_of("completions", "max_tokens", 0.5))[0] == 400


words = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=8)
arguments = st.dictionaries(words, plain, max_size=2)
turns = st.lists(
    st.tuples(
        words, words, st.lists(st.tuples(st.sampled_from(["bash", "edit"]), arguments, words), max_size=3)
    ),
    min_size=1,
    max_size=3,
)


def chat(said_so_far: Sequence[Any]) -> list[dict[str, Any]]:
    """A conversation as chat completions have it: user, assistant with calls, results, and so on."""
    made: list[dict[str, Any]] = []
    for i, (asked, told, calls) in enumerate(said_so_far):
        made.append({"role": "user", "content": asked})
        message: dict[str, Any] = {"role": "assistant", "content": told}
        if calls:
            message["tool_calls"] = [
                {
                    "type": "function",
                    "id": f"c{i}-{j}",
                    "function": {"name": name, "arguments": json.dumps(args)},
                }
                for j, (name, args, _) in enumerate(calls)
            ]
        made.append(message)
        made += [{"role": "tool", "tool_call_id": f"c{i}-{j}", "content": c[2]} for j, c in enumerate(calls)]
    return [*made, {"role": "user", "content": "go on"}]


def as_messages(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The same of Anthropic's: results lie in the user's next message, here the last call's first."""
    made: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for one in told:
        text = {"type": "text", "text": one["content"]}
        if one["role"] == "tool":
            results.insert(
                0, {"type": "tool_result", "tool_use_id": one["tool_call_id"], "content": one["content"]}
            )
        elif one["role"] == "user":
            made.append({"role": "user", "content": [*results, text]})
            results = []
        else:
            used = [
                {
                    "type": "tool_use",
                    "id": c["id"],
                    "name": c["function"]["name"],
                    "input": json.loads(c["function"]["arguments"]),
                }
                for c in one.get("tool_calls", ())
            ]
            thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
            made.append(
                {
                    "role": "assistant",
                    "content": [thought, {"type": "redacted_thinking", "data": "x"}, text, *used],
                }
            )
    return {"max_tokens": 9, "messages": made}


def as_responses(told: list[dict[str, Any]]) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for one in told:
        if one["role"] == "tool":
            made.append(
                {"type": "function_call_output", "call_id": one["tool_call_id"], "output": one["content"]}
            )
            continue
        kind = "input_text" if one["role"] == "user" else "output_text"
        made.append(
            {"type": "message", "role": one["role"], "content": [{"type": kind, "text": one["content"]}]}
        )
        for c in one.get("tool_calls", ()):
            made.append({"type": "reasoning", "summary": []})
            made.append({"type": "function_call", "call_id": c["id"], **c["function"]})
    return {"input": made}


def as_contents(told: list[dict[str, Any]]) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    names = {c["id"]: c["function"]["name"] for one in told for c in one.get("tool_calls", ())}
    for one in told:
        if one["role"] == "tool":
            result = {
                "id": one["tool_call_id"],
                "name": names[one["tool_call_id"]],
                "response": {"output": one["content"]},
            }
            part: dict[str, Any] = {"functionResponse": result}
            if made[-1]["role"] == "user":
                made[-1]["parts"].append(part)
            else:
                made.append({"role": "user", "parts": [part]})
            continue
        parts: list[dict[str, Any]] = [{"text": one["content"]}]
        for c in one.get("tool_calls", ()):
            made_call = {
                "id": c["id"],
                "name": c["function"]["name"],
                "args": json.loads(c["function"]["arguments"]),
            }
            parts.append({"functionCall": made_call})
        made.append({"role": {"assistant": "model"}.get(one["role"], "user"), "parts": parts})
    return {"contents": made}


FORMS = {"messages": as_messages, "responses": as_responses, "generateContent": as_contents}


@QUIET
@given(st.sampled_from(sorted(FORMS)), turns)
def test_any_conversation_arrives_whole_and_in_order(server: Server, protocol: str, told: Any) -> None:
    wanted = chat(told)
    g = server.gateway()
    status, reply = post(g, FORMS[protocol](wanted), PATHS[protocol])
    assert status == 200, reply
    assert server.seen[-1]["messages"] == wanted
    assert g.withheld == []
    recorded = [
        (m.role, m.text, [(c.name, dict(c.arguments)) for c in m.tool_calls]) for m in g.messages()[:-1]
    ]
    assert recorded == [
        (
            m["role"],
            m["content"],
            [
                (c["function"]["name"], json.loads(c["function"]["arguments"]))
                for c in m.get("tool_calls", ())
            ],
        )
        for m in wanted
    ]


message = st.fixed_dictionaries({"role": st.sampled_from(["user", "developer", "assistant", "system"])})


@QUIET
@given(
    st.lists(
        st.tuples(message, words, st.dictionaries(words.map("x-".__add__), plain, max_size=2)), min_size=1
    )
)
def test_chat_completions_pass_untouched(server: Server, given: Any) -> None:
    told = [{**more, **role, "content": text} for role, text, more in given]
    assert post(server.gateway(), {"messages": told})[0] == 200
    assert server.seen[-1]["messages"] == told


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("protocol", sorted(PATHS))
def test_reasoning_goes_back_as_it_came(server: Server, protocol: str, field: str) -> None:
    server.answers = [said("", "tool_calls", tool_calls=[call()], **{field: "I look first"})]
    g = server.gateway()
    ask = {**ASK[protocol], "tools": [TOOLS[protocol]]}
    _, reply = post(g, ask, PATHS[protocol])
    result = "a.py"
    if protocol == "completions":
        told = reply["choices"][0]["message"]
        assert told[field] == "I look first"
        ask["messages"] = [
            *ask["messages"],
            told,
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]
    elif protocol == "messages":
        answer = {"type": "tool_result", "tool_use_id": "call_1", "content": result}
        more = [{"role": "assistant", "content": reply["content"]}, {"role": "user", "content": [answer]}]
        ask["messages"] = [*ask["messages"], *more]
    elif protocol == "responses":
        output = {"type": "function_call_output", "call_id": "call_1", "output": result}
        ask["input"] = [{"role": "user", "content": "hi"}, *reply["output"], output]
    else:
        response = {"id": "call_1", "name": "bash", "response": {"output": result}}
        content = {"role": "user", "parts": [{"functionResponse": response}]}
        ask["contents"] = [*ask["contents"], reply["candidates"][0]["content"], content]
    assert post(g, ask, PATHS[protocol])[0] == 200
    assert server.seen[-1]["messages"][1][field] == "I look first"
    assert server.seen[-1]["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": result}


@pytest.mark.parametrize("protocol", sorted(PATHS))
def test_an_answer_is_cut_at_a_stop_sequence_whatever_the_model_does(protocol: str) -> None:
    name = (
        next(name for name, rule in TABLES[protocol].items() if rule is Fate.STOP)
        if protocol != "responses"
        else ""
    )
    if not name:
        return
    g = gateway(["Thought\nObservation: made up"])
    status, reply = post(g, body_of(protocol, name, ["Observation:"]), PATHS[protocol])
    assert status == 200
    assert "made up" not in json.dumps(reply)
    assert g.messages()[-1].text == "Thought\n"
    assert reply.get("stop_sequence") == ("Observation:" if protocol == "messages" else None)


def document(**source: Any) -> dict[str, Any]:
    content = [{"type": "document", "source": source}, {"type": "text", "text": "read"}]
    return {"max_tokens": 9, "messages": [{"role": "user", "content": content}]}


def test_text_documents_are_text_and_others_are_refused(server: Server) -> None:
    for source in (
        {"type": "text", "media_type": "text/plain", "data": "x"},
        {"type": "content", "content": "x"},
    ):
        assert post(server.gateway(), document(**source), "/v1/messages")[0] == 200
        assert server.seen[-1]["messages"] == [{"role": "user", "content": "x\nread"}]
    status, reply = post(
        server.gateway(), document(type="base64", media_type="application/pdf", data=""), "/v1/messages"
    )
    assert status == 400
    assert reply["error"]["message"].startswith("messages[0].content[0]: a document of 'application/pdf'")


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://evil/x.png"}}


@pytest.mark.parametrize(
    ("protocol", "more"),
    [
        (
            "messages",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}],
                    }
                ]
            },
        ),
        ("messages", document(type="url", url="https://evil/x.pdf")),
        (
            "completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f-1"}}]}]},
        ),
        (
            "completions",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "x", "a": [{"b": {"video_url": "https://evil"}}]}]}
                ]
            },
        ),
        (
            "completions",
            {
                "messages": [
                    {
                        "role": "tool",
                        "tool_call_id": "t",
                        "content": [{"type": "image_url", "image_url": "https://evil"}],
                    }
                ]
            },
        ),
        (
            "responses",
            {
                "input": [
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_image", "file_id": "f"}],
                    }
                ]
            },
        ),
    ],
)
def test_nothing_is_fetched_however_deep_it_lies(server: Server, protocol: str, more: dict[str, Any]) -> None:
    before = len(server.seen)
    assert post(server.gateway(), {**ASK[protocol], **more}, PATHS[protocol])[0] == 400
    assert len(server.seen) == before


def test_custom_tools_take_and_give_plain_text(server: Server) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    tool = {"type": "custom", "name": "apply_patch", "description": "edits", "format": grammar}
    server.answers = [
        said("", "tool_calls", tool_calls=[call(name="apply_patch", arguments='{"input": "*** Begin"}')])
    ]
    g = server.gateway()
    _, reply = post(g, {"input": "hi", "tools": [tool]}, "/v1/responses")
    (item,) = reply["output"]
    assert (item["type"], item["input"], item["call_id"]) == ("custom_tool_call", "*** Begin", "call_1")
    assert "start: /x/" in server.seen[-1]["tools"][0]["function"]["description"]
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"}
    given = [{"role": "user", "content": "hi"}, item, output]
    assert post(g, {"input": given, "tools": [tool]}, "/v1/responses")[0] == 200
    function = server.seen[-1]["messages"][1]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("apply_patch", {"input": "*** Begin"})


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/v1/messages/count_tokens", ASK["messages"], "input_tokens"),
        ("/v1/responses/input_tokens", ASK["responses"], "input_tokens"),
        ("/v1beta/models/m:countTokens", ASK["generateContent"], "totalTokens"),
        ("/v1beta/models/m:countTokens", {"generateContentRequest": ASK["generateContent"]}, "totalTokens"),
    ],
)
def test_tokens_are_estimated_without_a_call(path: str, body: dict[str, Any], key: str) -> None:
    g = gateway()
    status, reply = post(g, body, path)
    assert status == 200
    assert 0 < reply[key] < 100
    assert g.spent.calls == 0


def test_arguments_that_are_no_json_reach_both_sides_as_they_are(server: Server) -> None:
    broken = '{"command": "cat > a.py <<'
    server.answers = [said("", "length", tool_calls=[call(arguments=broken)])]
    g = server.gateway()
    _, reply = post(g, {**ASK["completions"], "tools": [TOOLS["completions"]]})
    choice = reply["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["arguments"]) == (
        "length",
        broken,
    )
    result = {"role": "tool", "tool_call_id": "call_1", "content": "cut off"}
    told = [*ASK["completions"]["messages"], choice["message"], result]
    assert post(g, {"messages": told})[0] == 200
    assert server.seen[-1]["messages"] == told
    assert g.messages()[1].malformed == (broken,)


def test_a_model_of_another_kind_gets_what_it_takes_and_the_rest_is_named() -> None:
    g = Gateway(ScriptedChat.of(["ok"]), limits=Limits(completion_tokens=9))
    more = {"top_p": 0.5, "tool_choice": "required", "stop": "x", "response_format": {"type": "json_object"}}
    assert post(g, {**ASK["completions"], "tools": [TOOLS["completions"]], **more})[0] == 200
    assert sorted(g.withheld) == ["response_format", "tool_choice", "top_p"]


def raw(
    to: Gateway, data: bytes, headers: dict[str, str], path: str = "/v1/chat/completions"
) -> tuple[int, Any]:
    """One request whose body is sent as it is."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: (to(theirs), theirs.close()))
    thread.start()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: box",
        "connection: close",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    with suppress(BrokenPipeError):
        ours.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
    answer = http.client.HTTPResponse(ours)
    answer.begin()
    found = answer.status, json.loads(answer.read())
    ours.close()
    thread.join(10)
    return found


def chunked(data: bytes, size: int) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return (
        b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nx-trailer: 1\r\n\r\n"
    )


@QUIET
@given(words, st.integers(1, 50), st.sampled_from(["identity", "gzip", "deflate"]), st.booleans())
def test_bodies_arrive_in_any_form(text: str, size: int, encoding: str, in_chunks: bool) -> None:
    data = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    data = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(data)
    headers = {"content-encoding": encoding}
    headers |= {"transfer-encoding": "chunked"} if in_chunks else {"content-length": str(len(data))}
    g = gateway()
    status, _ = raw(g, chunked(data, size) if in_chunks else data, headers)
    assert (status, g.messages()[0].text) == (200, text)


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"{}", {"content-encoding": "br", "content-length": "2"}, 415),
        (b"{}", {"content-encoding": "gzip", "content-length": "2"}, 400),
        (gzip.compress(b" " * (MAX_BODY + 1)), {"content-encoding": "gzip"}, 413),
        (b"zz\r\n", {"transfer-encoding": "chunked"}, 413),
        (b"-5\r\n", {"transfer-encoding": "chunked"}, 413),
        (b"%x\r\n" % (MAX_BODY + 1), {"transfer-encoding": "chunked"}, 413),
        (b"", {}, 413),
        (b"", {"content-length": "x"}, 413),
    ],
)
def test_bodies_that_are_none_get_an_answer(data: bytes, headers: dict[str, str], status: int) -> None:
    if status == 413 and headers == {"content-encoding": "gzip"}:
        headers = {**headers, "content-length": str(len(data))}
    assert raw(gateway(), data, headers)[0] == status


def test_reasoning_and_refusals_are_in_the_record(server: Server) -> None:
    server.answers = [said(None, refusal="I will not"), said("", reasoning_content="hm")]
    g = server.gateway()
    _, reply = post(g, ASK["completions"])
    assert reply["choices"][0]["message"]["refusal"] == "I will not"
    post(g, ASK["messages"], "/v1/messages")
    told = [(m.text, m.reasoning, m.refusal) for m in g.messages() if m.role == "assistant"]
    assert told == [("", "", "I will not"), ("", "hm", "")]
