"""Servers on checkpoints: they answer, they end with who started them, and what they said becomes tokens."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.base import Ending, Limits, Message, ToolCall
from plateau_bench.agents.models.checkpoint import make_tokenizer, save
from plateau_bench.agents.models.endpoint import open_endpoint
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.agents.served.agent import Served, tokens_of
from plateau_bench.agents.served.server import NAME, Server
from tests.agents.tiny import TEXTS, tiny_checkpoint

SMALL = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_POST(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked < 3 else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

helper = subprocess.Popen(["sleep", "600"])
open(sys.argv[1], "w").write(f"{os.getpid()} {helper.pid}")
HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def small(folder: Path) -> str:
    """A command for a server that needs a moment, has a helper, and says who they are."""
    script = folder / "small.py"
    script.write_text(SMALL)
    return f"{sys.executable} {script} {{model}} {{port}}"


def gone(*pids: int) -> bool:
    """Within a few seconds; zombies are gone."""
    for _ in range(100):
        states = [path.read_text().split()[2] for p in pids if (path := Path(f"/proc/{p}/stat")).exists()]
        if all(state == "Z" for state in states):
            return True
        time.sleep(0.1)
    return False


def test_a_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with Server(small(tmp_path), str(pids)) as server:
        members = [int(pid) for pid in pids.read_text().split()]
        with urllib.request.urlopen(urllib.request.Request(server.url, b"{}")) as answer:
            assert answer.status == 200
        assert not gone_now(members)
    assert gone(*members)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url)
    server.close()


def gone_now(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_server_ends_with_who_started_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import time; from plateau_bench.agents.served.server import Server\n"
        f"s = Server({small(tmp_path)!r}, {str(pids)!r})\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == b"up\n"
        members = [int(pid) for pid in pids.read_text().split()]
        os.kill(harness.pid, signal.SIGKILL)
    assert gone(*members)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("vllmm", "none of transformers, vllm, sglang"),
        ("no-such-program {model} {port}", "no-such-program: No such file"),
        ("sh -c 'echo out of memory; exit 3' {model} {port}", "exit code 3; it said: out of memory"),
    ],
)
def test_a_server_that_does_not_come_is_named(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Server(kind, "m")


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(ValueError, match="refused"):
        Server("sh -c 'echo $$ > $0; exec sleep 600' {model} {port}", str(pid), patience_s=2.0)
    assert gone(int(pid.read_text()))


@pytest.mark.slow
def test_an_attempt_goes_through_a_served_checkpoint(tmp_path: Path) -> None:
    from plateau_bench.agents.models.local import LocalChatModel

    model, tokenizer = tiny_checkpoint()
    save(model, tokenizer, tmp_path / "checkpoint")
    limits, instruction = Limits(completion_tokens=12), "keep the even numbers of a, then add 3"
    direct = LocalChatModel(model, tokenizer).invoke(instruction, seeds=[7], temperature=0.5, max_tokens=12)
    with Server("transformers", str(tmp_path / "checkpoint")) as server:
        chat = open_endpoint(f"openai:{NAME}", base_url=server.url)
        agent = Served(OneShot(chat, limits=limits, temperature=0.5), tokenizer)
        (made,) = agent.solve(instruction, [7])
        with pytest.raises(Exception, match="positions"):  # refused at once, not tried again and again
            chat.invoke("a" * 4000)
    assert made.ending in (Ending.SUBMITTED, Ending.TOKEN_LIMIT), made.error
    assert made.answer == direct.text
    assert made.prompt_tokens == direct.usage_metadata["input_tokens"]  # type: ignore[index]
    ((start, end),) = made.loss_spans
    assert list(made.token_ids[:start]) == list(direct.response_metadata["prompt_token_ids"])
    assert tokenizer.decode(made.token_ids[start : end - 1]) == direct.text
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url)


CALL = ToolCall(id="c", name="bash", arguments={"command": "ls"})
SAID = (
    Message(role="system", text="be brief"),
    Message(role="user", text="add 3"),
    Message(role="assistant", text="look", tool_calls=(CALL,)),
    Message(role="tool", text="a.py", tool_call_id="c"),
    Message(role="assistant", text="done"),
    Message(role="user", text="never answered"),
)


def test_a_conversation_becomes_tokens_with_the_answers_under_the_loss() -> None:
    tokenizer = make_tokenizer(TEXTS, 160, tools=True)
    ids, spans = tokens_of(tokenizer, SAID)
    assert tokenizer.decode(ids) == (
        "<|system|>be brief<|end|><|user|>add 3<|end|><|assistant|>look<|call|>bash<|arg|>command=ls<|end|>"
        "<|tool|>a.py<|end|><|assistant|>done<|end|>"
    )
    assert [tokenizer.decode(ids[start:end]) for start, end in spans] == [
        "look<|call|>bash<|arg|>command=ls<|end|>",
        "done<|end|>",
    ]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages[-2:] %}{{ m.content + '<|end|>' }}{% endfor %}",  # forgets
        "{{ raise_exception('no system') }}",
    ],
)
def test_what_the_template_rewrites_or_refuses_is_no_sequence(template: str) -> None:
    tokenizer: Any = make_tokenizer(TEXTS, 160, tools=True)
    tokenizer.chat_template = template
    assert tokens_of(tokenizer, SAID) == ((), ())


def test_unreadable_calls_are_not_made_up() -> None:
    broken = Message(role="assistant", text="", malformed=("<call>",))
    assert tokens_of(make_tokenizer(TEXTS, 160, tools=True), (*SAID, broken)) == ((), ())
