"""Google's own program in a box, through the gateway's generateContent; its model is a server outside."""

from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.base import Ending
from plateau_bench.harness.seeds import derive
from plateau_bench.tasks.base import Outcome
from plateau_bench.tasks.suites import repo_katas
from tests.harness.model_server import Answer, ModelServer, calls
from tests.harness.test_vendors import described, evaluated, solving, wanted, write_files


def act(request: dict[str, Any], turn: int, files: dict[str, str]) -> Answer:
    if turn:
        return {"content": "done"}
    return calls("run_shell_command", turn, command=write_files(files), description="solve it")


@pytest.mark.docker
@pytest.mark.slow
def test_gemini_cli_solves_a_task(tmp_path: Path) -> None:
    wanted("gemini-cli")
    tasks = repo_katas.held_out_tasks(derive(0, "eval tasks"), 1)
    limits = {"completion_tokens": 4096, "steps": 20, "seconds": 1800.0}
    with ModelServer(solving(tasks, act)) as server:
        (made,) = evaluated(tmp_path, described(tmp_path, server, "gemini-cli", limits=limits), 1)
    assert (made.trajectory.ending, made.trajectory.error) == (Ending.SUBMITTED, "")
    assert made.verdict.outcome is Outcome.PASSED
    assert made.trajectory.prompt_tokens == server.book.prompt_tokens
    assert made.trajectory.completion_tokens == server.book.completion_tokens
    (asked,) = [call for message in made.trajectory.messages for call in message.tool_calls]
    assert asked.name == "run_shell_command"
