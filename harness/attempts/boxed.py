"""Attempts of agents that work in boxes: each has a box of its own.

`solve_in_boxes` is to agents with boxes what `solve_many` is to the others: the attempts of a wave form one
cohort, so a local model sees the same batches whatever the boxes' timing is.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from plateau_bench.agents.base import Agent, Ending, Trajectory
from plateau_bench.agents.models.cohort import together
from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError, SandboxUnavailable
from plateau_bench.sandbox.diffs import steps_to_text
from plateau_bench.tasks.base import FolderTests, PackageTests, Task
from plateau_bench.tasks.grading.boxes import open_for, work_through

TRIES = 3
OPENING = threading.Semaphore(4)
"""Boxes that are started at the same moment: more only queue up in the engine."""
_CACHES = {"__pycache__", ".pytest_cache"}


def solve_in_boxes(
    agent: Agent, backend: Backend, jobs: Sequence[tuple[Task, Sequence[int]]], *, at_once: int
) -> list[list[Trajectory]]:
    """One list of trajectories per (task, seeds), in order; at most `at_once` boxes are open.

    Raises what `attempt_in_box` raises, after its wave.
    """
    work = [(task, seed) for task, seeds in jobs for seed in seeds]
    solved = iter(
        [
            trajectory
            for start in range(0, len(work), at_once)
            for trajectory in together(
                [partial(attempt_in_box, agent, backend, *one) for one in work[start : start + at_once]]
            )
        ]
    )
    return [[next(solved) for _ in seeds] for _, seeds in jobs]


def attempt_in_box(agent: Agent, backend: Backend, task: Task, seed: int) -> Trajectory:
    """One attempt in a box of its own.

    A box that breaks is replaced and the attempt begun again; after TRIES it ends INFRA. Raises ValueError
    for a task that is not done in a box, SandboxUnavailable if this machine cannot make the box, and what
    the agent raises.
    """
    if not isinstance(task.tests, FolderTests | PackageTests):
        raise ValueError(f"task {task.id} has no workspace; agents with a box need a suite of folders")
    broken = ""
    for _ in range(TRIES):
        try:
            with OPENING:
                box = open_for(task, backend, agent.fit(task.box, backend))
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            broken = str(error)
            continue
        try:
            return _attempt(agent, task, seed, box)
        except SandboxError as error:
            broken = str(error)
        finally:
            box.close()
    return Trajectory(
        agent=agent.name,
        model="",
        seed=seed,
        answer="",
        ending=Ending.INFRA,
        error=f"the box broke {TRIES} times: {broken}"[:500],
        boxed=True,
    )


def _attempt(agent: Agent, task: Task, seed: int, box: Sandbox) -> Trajectory:
    def act(stage: Task) -> Trajectory:
        return agent.solve(stage.instruction, [seed], [box])[0]

    return replace(_joined(work_through(task, box, act)), visits=tuple(box.visits()))


def _joined(steps: Sequence[tuple[Trajectory, Diff]]) -> Trajectory:
    """The steps of one attempt as one. Each was a conversation of its own, so there is no linear history."""
    made = [trajectory for trajectory, _ in steps]
    answer = steps_to_text([_tidy(diff) for _, diff in steps])
    if len(made) == 1:
        return replace(made[0], answer=answer, boxed=True)
    costs = [one.cost_usd for one in made if one.cost_usd is not None]
    stopped = next((one for one in made if one.ending is not Ending.SUBMITTED), made[-1])
    return replace(
        stopped,
        answer=answer,
        boxed=True,
        token_ids=(),
        loss_spans=(),
        logprobs=(),
        messages=tuple(message for one in made for message in one.messages),
        withheld=tuple(dict.fromkeys(name for one in made for name in one.withheld)),
        prompt_tokens=sum(one.prompt_tokens for one in made),
        completion_tokens=sum(one.completion_tokens for one in made),
        duration_s=sum(one.duration_s for one in made),
        cost_usd=sum(costs) if len(costs) == len(made) else None,
    )


def _tidy(diff: Diff) -> Diff:
    """Without what running Python leaves behind; it would not reach the tests anyway."""
    written = {path: data for path, data in diff.written.items() if not _CACHES & {*path.split("/")}}
    return replace(diff, written=written)
