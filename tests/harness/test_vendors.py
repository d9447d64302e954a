"""Vendors' own programs in boxes without a network; their model is a server outside, behind the gateway."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from plateau_bench.agents.base import Ending
from plateau_bench.harness.cli.app import app
from plateau_bench.harness.evals.agent_spec import read_agent
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import in_order
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import Outcome, Task
from plateau_bench.tasks.suites import repo_katas
from tests.harness.model_server import Answer, ModelServer, Script, calls, text_of

PRICE = {"read": 2.0, "written": 10.0}


def wanted(vendor: str) -> None:
    """Skips what PLATEAU_VENDORS (names, or 'all') does not ask for: a download of up to a gigabyte each."""
    asked = os.environ.get("PLATEAU_VENDORS", "").split(",")
    if not {vendor, "all"} & set(asked):
        pytest.skip(f"PLATEAU_VENDORS does not name {vendor}")


def evaluated(folder: Path, agent: str, tasks: int) -> list[Attempt]:
    """`plateau eval` as a user types it."""
    out = folder / "out"
    command = ["eval", "--agent", agent, "--suite", "repo-katas", "--tasks", str(tasks), "--samples", "1"]
    done = CliRunner().invoke(app, [*command, "--sandbox", "docker", "--at-once", "4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return in_order(EvalStore(out).attempts(read_agent(agent).name))


def described(folder: Path, server: ModelServer, vendor: str, **more: Any) -> str:
    """An agent's file for a vendor whose model is that server."""
    path = folder / f"{Path(vendor).stem}-agent.yaml"
    spec = {
        "kind": "cli",
        "vendor": vendor,
        "model": "openai:scripted",
        "base_url": server.url,
        "price": PRICE,
    }
    path.write_text(
        yaml.safe_dump(spec | {"limits": {"completion_tokens": 4096, "steps": 20, "seconds": 1800.0}} | more)
    )
    return str(path)


def solving(tasks: tuple[Task, ...], act: Any, *, leave: int = 4) -> Script:
    """Writes the solution of the task that is talked about; of every `leave`-th task it writes none."""
    bodies = {task.instruction: (n, diff_from_text(task.solution).written) for n, task in enumerate(tasks)}

    def script(request: dict[str, Any]) -> Answer:
        messages = request["messages"]
        asked = "\n".join(text_of(m) for m in messages if m["role"] == "user")
        number, files = next(known for issue, known in bodies.items() if issue in asked)
        solved = {path: data.decode() for path, data in files.items()} if (number + 1) % leave else {}
        return act(request, sum(m["role"] == "assistant" for m in messages), solved)

    return script


def write_files(files: dict[str, str]) -> str:
    return " && ".join(f"printf %s {shlex.quote(text)} > {path}" for path, text in files.items()) or "true"


def mini(request: dict[str, Any], turn: int, files: dict[str, str]) -> Answer:
    commands = ["cat *.py", write_files(files), "python3 test.py"]
    last = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
    return calls("bash", turn, f"step {turn}", command=commands[turn] if turn < len(commands) else last)


def shell(request: dict[str, Any], turn: int, files: dict[str, str]) -> Answer:
    """One command in whatever shell the vendor offers, then the end."""
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in request.get("tools") or []}
    name = next((n for n in ("Bash", "exec_command") if n in tools), "")
    if turn == 0 and name:
        fields = tools[name]["properties"]
        key, text = "cmd" if "cmd" in fields else "command", write_files(files)
        more = {k: fields[k].get("enum", ["x"])[0] for k in tools[name].get("required", ()) if k != key}
        return calls(
            name, turn, **more, **{key: ["sh", "-c", text] if fields[key]["type"] == "array" else text}
        )
    return {"content": "done"}


def whole(request: dict[str, Any], turn: int, files: dict[str, str]) -> Answer:
    """Whole files in the text, as aider asks for them."""
    return {"content": "\n".join(f"{path}\n```\n{text}\n```" for path, text in files.items())}


def plain(message: dict[str, Any]) -> tuple[Any, ...]:
    asked = [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"]))
        for c in message.get("tool_calls") or ()
    ]
    return message.get("role", "assistant"), text_of(message), asked


@pytest.mark.docker
@pytest.mark.slow
def test_mini_swe_agent_works_on_twenty_tasks(tmp_path: Path) -> None:
    wanted("mini-swe-agent")
    tasks = repo_katas.held_out_tasks(derive(0, "eval tasks"), 20)
    assert len({task.instruction for task in tasks}) == 20
    with ModelServer(solving(tasks, mini), fail_every=23) as server:
        made = evaluated(tmp_path, described(tmp_path, server, "mini-swe-agent"), 20)
    book = server.book
    assert [a.trajectory.error for a in made] == [""] * 20
    assert {a.trajectory.ending for a in made} == {Ending.SUBMITTED}
    by_id = {task.id: number for number, task in enumerate(tasks)}
    for attempt in made:
        assert (attempt.verdict.outcome is Outcome.PASSED) == ((by_id[attempt.task_id] + 1) % 4 != 0)
    # The server's own books are the judge of ours.
    assert len(book.calls) == 80
    assert book.failures == 3
    read, written = (
        sum(getattr(a.trajectory, f"{kind}_tokens") for a in made) for kind in ("prompt", "completion")
    )
    assert (read, written) == (book.prompt_tokens, book.completion_tokens)
    cost = sum(a.trajectory.cost_usd or 0.0 for a in made)
    assert cost == pytest.approx((book.prompt_tokens * 2.0 + book.completion_tokens * 10.0) / 1e6)
    saw = [[plain(m) for m in [*body["messages"], answer]] for body, answer in book.calls]
    for attempt in made:
        ours = [
            (m.role, m.text, [(c.id, c.name, dict(c.arguments)) for c in m.tool_calls])
            for m in attempt.trajectory.messages
        ]
        assert len(ours) == 10 - 1
        assert ours in saw


def test_a_vendor_of_ones_own_is_named_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("command: mine {instruction}\n")
    spec = read_agent(f"{path}:openai:gpt-5")
    assert (spec.kind, spec.vendor, spec.model) == ("cli", str(path), "openai:gpt-5")
    path.write_text("command: mine --harder {instruction}\n")
    assert read_agent(f"{path}:openai:gpt-5").vendor_digest != spec.vendor_digest
    assert read_agent("aider:openai:gpt-5").vendor == "aider"
    assert read_agent("tool:openai:gpt-5").kind == "tool"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: cli\nmodel: openai:x\n", "agent.yaml: vendor: an agent of kind cli needs one"),
        ("kind: cli\nmodel: openai:x\nvendor: nobody\n", "agent.yaml: vendor: no agent description 'nobody'"),
    ],
)
def test_a_wrong_vendor_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_agent(str(path))
    assert message in str(error.value)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize(("vendor", "act"), [("aider", whole), ("claude-code", shell), ("codex", shell)])
def test_a_vendor_solves_a_task(tmp_path: Path, vendor: str, act: Any) -> None:
    wanted(vendor)
    tasks = repo_katas.held_out_tasks(derive(0, "eval tasks"), 1)
    with ModelServer(solving(tasks, act)) as server:
        (made,) = evaluated(tmp_path, described(tmp_path, server, vendor), 1)
    assert (made.trajectory.ending, made.trajectory.error) == (Ending.SUBMITTED, "")
    assert made.verdict.outcome is Outcome.PASSED
    read, written = server.book.prompt_tokens, server.book.completion_tokens
    assert (made.trajectory.prompt_tokens, made.trajectory.completion_tokens) == (read, written)
    assert made.trajectory.cost_usd == pytest.approx(
        (read * PRICE["read"] + written * PRICE["written"]) / 1e6
    )
    answers = [
        m for m in made.trajectory.messages if m.completion_tokens is not None
    ]  # aider shows some, too
    assert len(answers) == len(server.book.calls)
    assert tasks[0].instruction in "".join(m.text for m in made.trajectory.messages)


PROBE = """
import http.client, json, socket
reached, answers = [], []
for where in [("127.0.0.1", PORT), ("172.17.0.1", PORT), ("127.0.0.1", 22), ("1.1.1.1", 443)]:
    try:
        socket.create_connection(where, 2)
        reached.append(where)
    except OSError:
        pass
try:
    reached.append(socket.getaddrinfo("example.org", 443))
except OSError:
    pass
try:
    udp = socket.socket(type=socket.SOCK_DGRAM)
    udp.settimeout(2)
    udp.sendto(bytes.fromhex("123401000001000000000000076578616d706c65036f72670000010001"), ("8.8.8.8", 53))
    reached.append(udp.recv(99).hex())
except OSError:
    pass
ask = [{"role": "user", "content": "search the web"}]
chat, search = "/v1/chat/completions", {"type": "web_search"}
claude, mcp = {"type": "web_search_20250305", "name": "web_search"}, {"type": "mcp", "server_url": "x"}
far = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://1.1.1.1/x.png"}}]}]
for method, path, body in [
    ("POST", chat, {"messages": ask, "tools": [search], "web_search_options": {"x": 1}}),
    ("POST", "/v1/messages", {"messages": ask, "tools": [claude]}),
    ("POST", "/v1/messages", {"messages": ask, "mcp_servers": [{"type": "url", "url": "http://1.1.1.1"}]}),
    ("POST", "/v1/responses", {"input": "search", "tools": [search, mcp]}),
    ("POST", chat, {"messages": far}),
    ("POST", "/v1/files", {}),
    ("GET", "http://example.org/", None),
    ("CONNECT", "example.org:443", None),
]:
    gateway = http.client.HTTPConnection("127.0.0.1", 8099, timeout=60)
    gateway.request(method, path, json.dumps(body), {"content-type": "application/json"})
    answers.append(gateway.getresponse().status)
json.dump([reached, answers], open("found.json", "w"))
"""


@pytest.mark.docker
def test_a_box_reaches_its_model_and_nothing_else(tmp_path: Path) -> None:
    with ModelServer(lambda request: {"content": "no"}) as server:
        vendor = tmp_path / "probe.yaml"
        probe = PROBE.replace("PORT", str(server.port))
        vendor.write_text(
            yaml.safe_dump({"command": f"cat {{instruction}} && python3 -c {shlex.quote(probe)}"})
        )
        (made,) = evaluated(tmp_path, described(tmp_path, server, str(vendor)), 1)
    assert (made.trajectory.ending, made.trajectory.error) == (Ending.SUBMITTED, "")
    reached, answers = json.loads(diff_from_text(made.trajectory.answer).written["found.json"])
    assert reached == []
    assert answers == [200, 200, 200, 200, 400, 404, 404, 501]
    # What the model's provider would have done for the box was taken out of what it was asked.
    assert len(server.book.calls) == 4
    for body, _ in server.book.calls:
        assert not {"tools", "web_search_options", "mcp_servers"} & body.keys()
