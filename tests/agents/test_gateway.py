"""The gateway and the command-line agent: a vendor in a box sees its model and nothing else."""

import http.client
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from plateau_bench.agents.base import Ending, Limits, ModelUnavailable
from plateau_bench.agents.gateway.server import PORT, Gateway
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.vendors.agent import CliAgent, Vendor, read_vendor
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, SandboxSpec

LIMITS = Limits(completion_tokens=100, steps=5)
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}


def gateway(answers: Sequence[AIMessage | str] = ("hello",), **options: Any) -> Gateway:
    return Gateway(
        ScriptedChat.of(answers, price=Price(read=1.0, written=1.0)), **{"limits": LIMITS} | options
    )


def post(
    to: Gateway, body: Any, path: str = "/v1/chat/completions", raw: bytes | None = None
) -> tuple[int, Any]:
    """One request over a connection of its own, as a box makes it."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: (to(theirs), theirs.close()))
    thread.start()
    client = http.client.HTTPConnection("box")
    client.sock = ours
    data = json.dumps(body).encode() if raw is None else raw
    client.request("POST", path, data, {"content-type": "application/json", "connection": "close"})
    answer = client.getresponse()
    text = answer.read().decode()
    client.close()
    thread.join(10)
    kind = answer.headers["content-type"]
    return answer.status, json.loads(text) if kind == "application/json" else text


def user(text: str = "hi") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def test_chat_completions_with_tool_calls_and_usage() -> None:
    g = gateway([call("bash", command="ls"), "done"])
    status, first = post(g, user() | {"tools": [TOOL]})
    assert status == 200
    message = first["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "bash", "arguments": '{"command": "ls"}'}
    assert first["choices"][0]["finish_reason"] == "tool_calls"
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "a.py"}
    _, second = post(g, {"messages": [*user()["messages"], message, result], "tools": [TOOL]})
    assert second["choices"][0]["message"]["content"] == "done"
    assert [m.role for m in g.messages()] == ["user", "assistant", "tool", "assistant"]
    assert g.spent.calls == 2
    tokens = g.spent.prompt_tokens + g.spent.completion_tokens
    assert tokens == sum(r["usage"]["total_tokens"] for r in (first, second))
    assert g.spent.cost == pytest.approx(tokens / 1e6)


def test_anthropic_messages() -> None:
    g = gateway([call("bash", command="ls"), "done"])
    tools = [{"name": "bash", "input_schema": {"type": "object", "properties": {}}}]
    body = {
        "model": "m",
        "max_tokens": 50,
        "system": "be brief",
        "messages": user()["messages"],
        "tools": tools,
    }
    status, first = post(g, body, "/v1/messages")
    assert status == 200
    assert first["stop_reason"] == "tool_use"
    used = first["content"][0]
    assert used["input"] == {"command": "ls"}
    answer = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": used["id"], "content": "a.py"}],
    }
    follow = [*body["messages"], {"role": "assistant", "content": first["content"]}, answer]  # type: ignore[misc]
    _, second = post(g, body | {"messages": follow}, "/v1/messages")
    assert second["content"] == [{"type": "text", "text": "done"}]
    assert [m.role for m in g.messages()] == ["system", "user", "assistant", "tool", "assistant"]


def test_streams_carry_the_same_answer() -> None:
    _, text = post(gateway(), user() | {"stream": True})
    chunk = json.loads(text.split("\n\n")[0].removeprefix("data: "))
    assert chunk["choices"][0]["delta"]["content"] == "hello"
    assert text.endswith("data: [DONE]\n\n")
    _, text = post(gateway(), user() | {"stream": True}, "/v1/messages")
    assert text.index("message_start") < text.index("text_delta") < text.index("message_stop")


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "web_search_preview"}]},
        {"tools": [{"type": "mcp", "server_url": "http://evil"}]},
        {"web_search_options": {}} | {"web_search_options": {"x": 1}},
        {"mcp_servers": [{"url": "http://evil"}]},
    ],
)
def test_hosted_tools_are_withheld_and_noted(extra: dict[str, Any]) -> None:
    seen: list[Any] = []

    class Watching(ScriptedChat):
        def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
            seen.extend(tools)
            return super().bind_tools(tools, **kwargs)

    g = Gateway(Watching.of(["ok"]), limits=LIMITS)
    status, _ = post(g, user() | extra)
    assert status == 200
    assert len(g.withheld) == 1
    assert not seen


def test_urls_to_fetch_are_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://evil/x.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    status, reply = post(gateway(), body)
    assert status == 400
    assert "withheld" in reply["error"]["type"]


@pytest.mark.parametrize(
    ("limits", "ending", "allowed"),
    [
        (Limits(completion_tokens=9, steps=2), Ending.STEP_LIMIT, 2),
        (Limits(completion_tokens=9, tokens=1), Ending.TOKEN_LIMIT, 1),
        (Limits(completion_tokens=9, cost_usd=1e-9), Ending.COST_LIMIT, 1),
        (Limits(completion_tokens=9, seconds=0.0), Ending.TIME_LIMIT, 0),
    ],
)
def test_limits_hold_to_within_one_call(limits: Limits, ending: Ending, allowed: int) -> None:
    g = gateway(limits=limits)
    statuses = [post(g, user())[0] for _ in range(4)]
    assert statuses == [200] * allowed + [403] * (4 - allowed)
    assert g.ending is ending


@pytest.mark.parametrize(
    ("raw", "path", "status"),
    [
        (b"not json", "/v1/chat/completions", 400),
        (b"[" * 100_000, "/v1/chat/completions", 400),
        (b'{"messages": 3}', "/v1/chat/completions", 400),
        (b'{"messages": [{"role": "nobody"}]}', "/v1/chat/completions", 400),
        (b'{"messages": [], "max_tokens": "many"}', "/v1/chat/completions", 400),
        (b'{"messages": [], "tools": 3}', "/v1/chat/completions", 400),
        (b'{"messages": [], "tools": 3}', "/v1/messages", 400),
        (b'{"messages": 3}', "/v1/messages", 400),
        (b"[]", "/v1/messages", 400),
        (b'{"messages": []}', "/v1/files", 404),
    ],
)
def test_what_is_no_request_gets_an_answer(raw: bytes, path: str, status: int) -> None:
    assert post(gateway(), None, path, raw)[0] == status


def test_an_endpoint_that_is_gone_stops_the_attempt() -> None:
    def gone(messages: Sequence[BaseMessage]) -> AIMessage:
        raise ModelUnavailable("down")

    g = Gateway(ScriptedChat(script=gone), limits=LIMITS)
    assert post(g, user())[0] == 503
    assert isinstance(g.down, ModelUnavailable)


AGENT = """
import json, sys, urllib.request
url = sys.argv[1] + "/v1/chat/completions"
messages = [{"role": "user", "content": open(sys.argv[2]).read()}]
for _ in range(9):
    data = json.dumps({"model": "m", "messages": messages}).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    message = json.load(urllib.request.urlopen(request))["choices"][0]["message"]
    messages.append(message)
    if message["content"] == "done":
        open("answer.txt", "w").write("written by a vendor")
        sys.exit(0)
    messages.append({"role": "user", "content": "go on"})
"""
VENDOR = Vendor(
    name="tiny", command="python3 /tmp/vendor.py $URL {instruction}", env={"URL": "{gateway}"}
)  # fmt: skip


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("bubblewrap")


def attempt(backend: Backend, answers: Sequence[str], vendor: Vendor = VENDOR, **limits: Any) -> Any:
    agent = CliAgent(ScriptedChat.of(answers), vendor=vendor, limits=Limits(completion_tokens=50, **limits))
    box = backend.open(agent.fit(SandboxSpec(), backend))
    try:
        box.write("/tmp/vendor.py", AGENT.encode())
        before = box.snapshot()
        found = agent.solve("solve it", [3], [box])[0]
        return found, box.diff(before)
    finally:
        box.close()


def test_a_vendor_in_a_box_works_through_the_gateway(backend: Backend) -> None:
    found, diff = attempt(backend, ["think", "done"])
    assert (found.ending, found.error) == (Ending.SUBMITTED, "")
    assert diff.written["answer.txt"] == b"written by a vendor"
    assert [m.text for m in found.messages] == ["solve it", "think", "go on", "done"]


def test_every_attempt_has_a_gateway_of_its_own_even_in_the_same_box(backend: Backend) -> None:
    agent = CliAgent(ScriptedChat.of(["done"]), vendor=VENDOR, limits=Limits(completion_tokens=50, steps=1))
    box = backend.open(agent.fit(SandboxSpec(), backend))
    try:
        box.write("/tmp/vendor.py", AGENT.encode())
        first, second = (agent.solve(said, [3], [box])[0] for said in ("solve it", "and this"))
    finally:
        box.close()
    assert [m.text for m in first.messages] == ["solve it", "done"]
    assert [m.text for m in second.messages] == ["and this", "done"]
    assert (first.ending, second.ending) == (Ending.SUBMITTED, Ending.SUBMITTED)  # each may take one step


def test_a_box_that_was_not_fitted_is_refused(backend: Backend) -> None:
    box = backend.open(SandboxSpec(services={4000: print}))
    try:
        with pytest.raises(ValueError, match=f"port {PORT} is none of this box's services"):
            CliAgent(ScriptedChat.of(["x"]), vendor=VENDOR).solve("x", [1], [box])
    finally:
        box.close()


def test_a_vendor_over_its_limit_ends_by_name(backend: Backend) -> None:
    found, _ = attempt(backend, ["think"], steps=3)
    assert found.ending is Ending.STEP_LIMIT
    assert sum(m.role == "assistant" for m in found.messages) == 3


def test_a_vendor_that_hangs_or_crashes_ends_by_name(backend: Backend) -> None:
    sleeps = Vendor(name="s", command="sleep 60")
    assert attempt(backend, ["x"], sleeps, seconds=1.0)[0].ending is Ending.TIME_LIMIT
    crashes = Vendor(name="c", command="echo why >&2; exit 3")
    found, _ = attempt(backend, ["x"], crashes)
    assert (found.ending, found.error) == (Ending.CRASHED, "exit code 3: why")


PROBE = f"""
import socket
for where in (("1.1.1.1", 443), ("127.0.0.1", 80), ("127.0.0.1", 22)):
    try:
        socket.create_connection(where, 1)
        print("reached", where)
    except OSError:
        pass
socket.create_connection(("127.0.0.1", {PORT}), 1)
"""


def test_nothing_but_the_gateway_is_in_reach(backend: Backend) -> None:
    write = f"cat > /tmp/probe.py <<'END'\n{PROBE}\nEND\n"
    vendor = Vendor(name="p", command=f"{write}python3 /tmp/probe.py > out.txt && test ! -s out.txt")
    found, _ = attempt(backend, ["x"], vendor)
    assert (found.ending, found.error) == (Ending.CRASHED, "it never asked its model: ")


def test_shipped_descriptions_are_whole(tmp_path: Path) -> None:
    for name in ("mini-swe-agent", "claude-code", "codex", "openhands", "aider"):
        vendor = read_vendor(name)
        assert "{instruction}" in vendor.command
        assert vendor.install
    with pytest.raises(ValueError, match="shipped are aider"):
        read_vendor("nobody")
    wrong = tmp_path / "x.yaml"
    wrong.write_text("command: x\ncomand: y\n")
    with pytest.raises(ValueError, match="unknown key comand; did you mean command"):
        read_vendor(str(wrong))
