"""Vendors' own programs in boxes without a network; their model is a server outside, behind the gateway."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from agents.base import Ending
from harness.agents_file import read_agent
from harness.cli import app
from harness.config import ConfigError
from harness.evaluation import attempts_path, read_attempts
from harness.seeds import derive
from results.records import Attempt
from sandbox.diffs import diff_from_text
from tasks import repo_katas
from tasks.base import Outcome, Task
from tests.harness.model_server import Answer, ModelServer, Script, calls, text_of

PRICE = {"read": 2.0, "written": 10.0}


def evaluated(folder: Path, agent: str, tasks: int) -> list[Attempt]:
    """`plateau eval` as a user types it."""
    out = folder / "out"
    command = ["eval", "--agent", agent, "--suite", "repo-katas", "--tasks", str(tasks), "--samples", "1"]
    done = CliRunner().invoke(app, [*command, "--sandbox", "docker", "--at-once", "2", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return read_attempts(attempts_path(out, read_agent(agent).name))


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
    path.write_text(yaml.safe_dump(spec | {"limits": {"steps": 20, "seconds": 1800.0}} | more))
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


def plain(message: dict[str, Any]) -> tuple[Any, ...]:
    asked = [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"]))
        for c in message.get("tool_calls") or ()
    ]
    return message.get("role", "assistant"), text_of(message), asked


@pytest.mark.docker
@pytest.mark.slow
def test_mini_swe_agent_works_on_twenty_tasks(tmp_path: Path) -> None:
    tasks = repo_katas.held_out_tasks(derive(0, "eval tasks"), 20)
    assert len({task.instruction for task in tasks}) == 20
    with ModelServer(solving(tasks, mini), fail_every=23) as server:
        made = evaluated(tmp_path, described(tmp_path, server, "mini-swe-agent"), 20)
    book = server.book
    assert [a.trajectory.error for a in made] == [""] * 20
    assert {a.trajectory.ending for a in made} == {Ending.SUBMITTED}
    by_id = {task.id: number for number, task in enumerate(tasks)}
    for attempt in made:
        assert (attempt.verdict.outcome is Outcome.PASS) == ((by_id[attempt.task_id] + 1) % 4 != 0)
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
    with pytest.raises(ConfigError) as error:
        read_agent(str(path))
    assert message in str(error.value)
