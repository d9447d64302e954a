"""Descriptions of command lines: what a user may write, and what is said when it is wrong."""

from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from plateau_bench.agents.base import Ending, Limits
from plateau_bench.agents.gateway.server import PORT
from plateau_bench.agents.scripted import ScriptedChat
from plateau_bench.agents.vendors.agent import PIDS, CliAgent, Vendor, read_vendor
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import SandboxSpec, SandboxUnavailable

MODEL = ScriptedChat.of([AIMessage("done")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command: x\ncomand: y\n", "mine.yaml: unknown key comand; did you mean command?"),
        ("install: x\n", "mine.yaml: missing key command"),
        ("command: [x]\n", "mine.yaml: command: expected a text, got list ['x']"),
        ("command: x\nenv: y\n", "mine.yaml: env: expected"),
        ("command: x\nenv: {A: 1}\n", "mine.yaml: env.A: expected a text, got int 1"),
        ("command: x\nmemory_mb: much\n", "mine.yaml: memory_mb: expected a whole number, got str 'much'"),
        ("command: x\nmemory_mb: 0\n", "mine.yaml: memory_mb: at least 1"),
        ("command: x\nmemory_mb: true\n", "mine.yaml: memory_mb"),
        ("- command\n", "mine.yaml: the file: expected"),
        ("command: [\n", "mine.yaml: not valid YAML"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_vendor(str(path))
    assert message in str(error.value)


def test_the_digest_is_that_of_everything_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    seen = set()
    for text in ("command: x\n", "command: y\n", "command: x\ninstall: z\n", "command: x\nmemory_mb: 9\n"):
        path.write_text(text)
        seen.add(read_vendor(str(path)).digest)
    assert len(seen) == 4
    path.write_text("{command: x}\n")
    assert read_vendor(str(path)).digest in seen


def test_a_box_is_fitted_to_the_vendor_and_never_made_smaller() -> None:
    agent = CliAgent(MODEL, vendor=Vendor(name="v", command="true", memory_mb=700), limits=Limits())
    backend = open_backend("bubblewrap")
    small = agent.fit(SandboxSpec(memory_mb=256, services={4000: print}), backend)
    assert (small.image, small.memory_mb, small.pids) == (SandboxSpec().image, 700, PIDS)
    assert set(small.services) == {4000, PORT}
    assert agent.fit(SandboxSpec(memory_mb=900, pids=600), backend).memory_mb == 900


def test_what_must_be_installed_needs_an_engine() -> None:
    agent = CliAgent(MODEL, vendor=Vendor(name="v", command="true", install="true"))
    with pytest.raises(SandboxUnavailable, match="v: install goes into an image"):
        agent.fit(SandboxSpec(), open_backend("bubblewrap"))


@pytest.mark.bwrap
def test_a_failure_tells_the_end_of_the_log() -> None:
    vendor = Vendor(name="v", command="echo told > {log}; exit 3", log="/tmp/my log")
    agent, backend = CliAgent(MODEL, vendor=vendor), open_backend("bubblewrap")
    box = backend.open(agent.fit(SandboxSpec(), backend))
    try:
        found = agent.solve("x", [1], [box])[0]
    finally:
        box.close()
    assert (found.ending, found.error) == (Ending.CRASHED, "exit code 3: told")
