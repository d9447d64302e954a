"""Exported trajectories: an own strict check always, the other projects' readers where they are installed.

PLATEAU_HARBOR_PYTHON, PLATEAU_INSPECT_PYTHON and PLATEAU_MINI_PYTHON name interpreters that have them.
"""

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench import plugins
from plateau_bench.agents.base import Ending, Message, ToolCall, Trajectory
from plateau_bench.results.exports.atif import to_atif
from plateau_bench.results.exports.formats import FORMATS, find_format
from plateau_bench.results.exports.source import Source, file_name
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome
from tests.results.atif_check import check
from tests.results.attempts import attempt

TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}
NASTY = "half \ud800 a \x00 character"


def said(role: str, text: str = "", *calls: ToolCall, **more: Any) -> Message:
    return Message(role=role, text=text, tool_calls=calls, **more)


def bash(id: str, command: str, **more: Any) -> ToolCall:
    return ToolCall(id=id, name="bash", arguments={"command": command, **more})


def with_tools(task: str = "t", sample: int = 0, outcome: Outcome = Outcome.PASSED) -> Attempt:
    """Two calls of the model whose tool calls have the same id, as local models give them; 9 tokens."""
    messages = (
        said("system", "be brief"),
        said("user", f"solve {task}"),
        said(
            "assistant",
            "look",
            bash("call-0", "ls", depth=float("nan")),
            prompt_tokens=3,
            completion_tokens=2,
        ),
        said("tool", NASTY, tool_call_id="call-0"),
        said("assistant", "", malformed=("<call>bash",), prompt_tokens=6, completion_tokens=1, cost_usd=0.5),
        said("user", "could not be read"),
        said(
            "assistant",
            "",
            bash("call-0", "cat"),
            bash("call-1", "pwd"),
            prompt_tokens=7,
            completion_tokens=2,
        ),
        said("tool", "there", tool_call_id="call-1"),
        said("tool", "whose?", tool_call_id="unknown"),
    )
    trajectory = Trajectory(
        agent="tool", model="m", seed=3, answer='{"written":{}}', ending=Ending.STEP_LIMIT, boxed=True,
        token_ids=(1, 2, 3, 10, 11, 4, 20, 30, 31), loss_spans=((3, 5), (6, 7), (7, 9)),
        logprobs=(-0.1, -0.2, -0.3, -0.4, -0.5), prompt_tokens=16, completion_tokens=5,
        messages=messages, tools=(TOOL,), cost_usd=0.5,
    )  # fmt: skip
    return dataclasses.replace(attempt(task, sample, outcome), trajectory=trajectory)


def exported(format: str, *attempts: Attempt) -> dict[str, Any]:
    source = Source(
        name="run",
        created="2026-01-02T03:04:05+00:00",
        attempts=attempts,
        instruction=lambda a: f"write {a.task_id}",
    )
    return {path: data for path, data in FORMATS[format](source)}


def test_atif_has_the_prompt_the_tools_the_exact_tokens_and_the_results_where_they_belong() -> None:
    made = to_atif(with_tools(), "")
    check(made)
    steps = made["steps"]
    assert [s["source"] for s in steps] == ["system", "user", "agent", "agent", "user", "agent", "system"]
    assert steps[0]["message"] == "be brief"
    assert made["agent"]["tool_definitions"] == [TOOL]
    tokens = [
        (s["metrics"]["prompt_token_ids"], s["metrics"]["completion_token_ids"], s["metrics"]["logprobs"])
        for s in steps
        if s["source"] == "agent"
    ]
    assert tokens == [
        ([1, 2, 3], [10, 11], [-0.1, -0.2]),
        ([1, 2, 3, 10, 11, 4], [20], [-0.3]),
        ([1, 2, 3, 10, 11, 4, 20], [30, 31], [-0.4, -0.5]),
    ]
    assert steps[2]["observation"]["results"] == [{"source_call_id": "call-0", "content": NASTY}]
    assert steps[5]["observation"]["results"] == [{"source_call_id": "call-1", "content": "there"}]
    assert steps[6]["observation"]["results"] == [{"content": "whose?"}]
    assert steps[3]["extra"] == {"malformed_calls": ["<call>bash"]}
    assert made["extra"]["ending"] == "step_limit"


def test_the_own_check_finds_what_is_wrong() -> None:
    for path, wrong in (
        (("steps", 2, "step_id"), 7),
        (("steps", 1, "metrics"), {}),
        (("steps", 2, "observation", "results", 0, "source_call_id"), "x"),
        (("agent", "mine"), 1),
        (("session_id",), None),
    ):
        made: Any = to_atif(with_tools(), "")
        place = made
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        with pytest.raises(AssertionError):
            check(made)


def test_a_single_completion_gets_the_instruction_and_the_answer() -> None:
    made = to_atif(attempt("t", 0), "write f")
    check(made)
    assert [s["message"] for s in made["steps"]] == ["write f", "def f(a): return a"]
    assert "notes" in made


texts = st.text(st.characters(), max_size=5)
messages = st.builds(
    said,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    texts,
    tool_call_id=st.sampled_from(["", "a", "b"]),
) | st.builds(
    lambda ids: said("assistant", "", *(bash(i, "x") for i in ids)), st.lists(st.sampled_from("ab"))
)


@given(st.lists(messages, min_size=1))
def test_any_conversation_gives_valid_files(conversation: list[Message]) -> None:
    made = with_tools()
    made = dataclasses.replace(
        made, trajectory=dataclasses.replace(made.trajectory, messages=tuple(conversation))
    )
    (data,) = exported("atif", made).values()
    check(json.loads(data))
    for format in ("mini", "inspect", "sft"):
        assert exported(format, made)


def test_inspect_groups_by_checkpoint_and_leaves_infra_unscored() -> None:
    attempts = [with_tools("t", i, o) for i, o in enumerate((Outcome.PASSED, Outcome.FAILED, Outcome.INFRA))]
    later = dataclasses.replace(attempts[0], round=1)
    logs = {path: json.loads(data) for path, data in exported("inspect", *attempts, later).items()}
    assert len(logs) == 2
    log = next(iter(logs.values()))
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.5
    assert ["error" in sample for sample in log["samples"]] == [False, False, True]
    assert log["eval"]["dataset"]["samples"] == 1


def test_sft_labels_are_what_the_model_wrote() -> None:
    row = json.loads(exported("sft", with_tools())["sft.jsonl"])
    assert row["labels"] == [-100, -100, -100, 10, 11, -100, 20, 30, 31]
    assert row["messages"][3] == {
        "role": "tool",
        "content": NASTY.replace("\ud800", "\ufffd"),
        "tool_call_id": "call-0",
    }


def test_a_format_is_known_by_name_or_by_its_path() -> None:
    assert plugins.names("exports", FORMATS)[: len(FORMATS)] == list(FORMATS)
    assert find_format("plateau_bench.results.exports.sft.export") is find_format("sft")
    with pytest.raises(ValueError, match=r"exports: no 'atiff'; did you mean atif\?"):
        find_format("atiff")


def test_files_of_different_attempts_have_different_names() -> None:
    names = [file_name(text) for text in ("a/b", "a-b", "a b", "a\x00b", "../b")]
    assert len(set(names)) == 5
    assert not any("/" in name or name.startswith(".") for name in names[:4])


HARBOR = """
import pathlib, sys
from harbor.models.trajectories import Trajectory
for path in pathlib.Path(sys.argv[1]).iterdir():
    Trajectory.model_validate_json(path.read_bytes())
"""
INSPECT = """
import json, pathlib, sys
from inspect_ai.log import read_eval_log
logs = [read_eval_log(str(path)) for path in pathlib.Path(sys.argv[1]).iterdir()]
assert [len(log.samples) for log in logs] == [2], logs
scored = [(s.id, s.epoch, s.scores["hidden_tests"].value, len(s.messages)) for s in logs[0].samples]
assert scored == [("t", 1, "C", 9), ("t", 2, "I", 2)], scored
"""
MINI = """
import json, pathlib, sys
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.test_models import DeterministicToolcallModel, make_toolcall_output
from minisweagent.models.utils.content_string import get_content_string
from minisweagent.run.utilities.inspector import _messages_to_steps

def call(command):
    function = {"name": "bash", "arguments": json.dumps({"command": command})}
    return make_toolcall_output("", [{"id": "c", "type": "function", "function": function}],
                                [{"command": command, "tool_call_id": "c"}])

outputs = [call("true"), call("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")]
agent = DefaultAgent(DeterministicToolcallModel(outputs=outputs), LocalEnvironment(), system_template="s",
                     instance_template="i")
agent.run("t")
theirs = agent.serialize()
by_role = {message["role"]: message for message in theirs["messages"]}
unknown = {"timestamp", "response", "model_stats"}
for path in pathlib.Path(sys.argv[1]).rglob("*.traj.json"):
    ours = json.loads(path.read_bytes())
    assert ours["trajectory_format"] == theirs["trajectory_format"]
    assert set(theirs) <= set(ours)
    assert set(theirs["info"]) <= set(ours["info"]), set(theirs["info"]) - set(ours["info"])
    for part in ("model_stats", "config"):
        assert set(theirs["info"][part]) <= set(ours["info"][part]), part
    for message in ours["messages"]:
        like = by_role[message["role"]]
        assert set(like) - {"extra", "tool_calls"} <= set(message), (message, like)
        assert set(like.get("extra", ())) - unknown <= set(message.get("extra", ())), (message, like)
        assert isinstance(get_content_string(message), str)
    assert _messages_to_steps(ours["messages"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "variable", "program"),
    [
        ("atif", "PLATEAU_HARBOR_PYTHON", HARBOR),
        ("inspect", "PLATEAU_INSPECT_PYTHON", INSPECT),
        ("mini", "PLATEAU_MINI_PYTHON", MINI),
    ],
)
def test_the_other_projects_read_it(format: str, variable: str, program: str, tmp_path: Path) -> None:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter")
    for path, data in exported(format, with_tools(), attempt("t", 1, Outcome.FAILED)).items():
        place = tmp_path / "out" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    done = subprocess.run(
        [python, "-c", program, str(tmp_path / "out")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
