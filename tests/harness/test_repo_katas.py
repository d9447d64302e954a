"""Repository katas in real boxes: what people did there is what the agent's tools would answer."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from plateau_bench.agents.base import Ending, Limits, Trajectory
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.tool import ToolAgent
from plateau_bench.harness.attempts.boxed import solve_in_boxes
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import Outcome, Split, Task
from plateau_bench.tasks.suites import repo_katas
from plateau_bench.tasks.suites.katas.grammar import Pipeline
from plateau_bench.tasks.suites.repo_katas.project import Project, draw_pipeline, draw_project
from plateau_bench.tasks.suites.repo_katas.transcript import Edit, Workspace, work

pytestmark = pytest.mark.bwrap


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("bubblewrap")


@pytest.fixture(scope="module")
def grader(backend: Backend) -> Iterator[Grader]:
    grader = Grader(backend, None)
    yield grader
    grader.close()


def reciting(chat: Sequence[Mapping[str, Any]]) -> ToolAgent:
    calls = [one["function"] for message in chat for one in message.get("tool_calls", ())]
    script = [call(one["name"], **one["arguments"]) for one in calls]
    return ToolAgent(ScriptedChat.of(script), limits=Limits(completion_tokens=90, steps=30))


def answers(chat: Sequence[Mapping[str, Any]]) -> list[str]:
    return [message["content"] for message in chat if message["role"] == "tool"]


def drawn(rng: random.Random) -> tuple[Pipeline, Project]:
    while True:
        pipeline = draw_pipeline(rng, held_out=False)
        if project := draw_project(rng, pipeline):
            return pipeline, project


def as_task(pipeline: Pipeline, project: Project) -> Task:
    return repo_katas.as_task("x", Split.TRAIN, pipeline, project)


def replay(backend: Backend, task: Task, space: Workspace) -> Trajectory:
    return solve_in_boxes(reciting(space.chat), backend, [(task, [1])], at_once=1)[0][0]


def test_people_are_answered_as_the_agents_tools_answer(backend: Backend, grader: Grader) -> None:
    rng, pairs, right, commands = random.Random(11), [], [], set()
    for _ in range(12):
        pipeline, project = drawn(rng)
        space, task = work(project, rng), as_task(pipeline, project)
        found = replay(backend, task, space)
        assert found.ending is Ending.SUBMITTED
        told = [message.text for message in found.messages if message.role == "tool"]
        assert told[:-1] == answers(space.chat)
        left = diff_from_text(found.answer).written
        assert {p: d.decode() for p, d in left.items()} == {
            path: text for path, text in space.files.items() if text != project.files[path]
        }
        commands |= {
            str(one.arguments.get("command", one.name)).split()[0]
            for message in found.messages
            for one in message.tool_calls
        }
        pairs.append((task, found))
        right.append(project.passes(space.files, (*project.tests.visible, *project.tests.hidden)))
    assert [verdict.outcome is Outcome.PASSED for verdict in grader(pairs)] == right
    assert {"cat", "grep", "python3", "edit", "submit"} <= commands


def test_every_answer_of_the_workspace_is_that_of_the_commands(backend: Backend) -> None:
    """Also the rare ones: all files listed, a name that is not there, lines beyond the end."""
    pipeline, project = drawn(random.Random(3))
    space = Workspace(project)
    space.list_files()
    space.show("none.py")
    space.find("nothing")
    space.edit(project.file, Edit(99, 99, "def ("))
    space.edit(project.file, Edit(1, 1, "def ("))
    space.test()
    space.list_files()
    space.submit()
    found = replay(backend, as_task(pipeline, project), space)
    told = [message.text for message in found.messages if message.role == "tool"]
    assert told[:-1] == answers(space.chat)
    assert "cannot be imported: " in told[5]


def test_solutions_pass_in_the_grading_box_and_the_untouched_start_fails(
    backend: Backend, grader: Grader
) -> None:
    tasks = repo_katas.held_out_tasks(2, 12)
    blank = Trajectory(agent="x", model="x", seed=0, answer="", ending=Ending.SUBMITTED, boxed=True)
    nothing = '{"deleted":[],"refused":[],"written":{}}'
    done = grader([(task, replace(blank, answer=task.solution)) for task in tasks])
    untouched = grader([(task, replace(blank, answer=nothing)) for task in tasks])
    assert {verdict.outcome for verdict in done} == {Outcome.PASSED}
    assert {verdict.outcome for verdict in untouched} == {Outcome.FAILED}
    assert not any(verdict.verified for verdict in untouched)
