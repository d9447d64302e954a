"""Parts as others would write them: an improver of notes, whose actors have no weights, and an executor."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from plateau_bench.agents.base import Agent
from plateau_bench.agents.scripted import ScriptedAgent
from plateau_bench.harness.attempts.settings import AgentConfig
from plateau_bench.harness.config import load_config
from plateau_bench.harness.rounds.executors import Needs, Tell
from plateau_bench.harness.rounds.improve import Seen, Setting
from plateau_bench.harness.rounds.jobs import run_job
from plateau_bench.harness.rounds.suites import selection_tasks, suite_of, task_sets

FILE = "notes.txt"


@dataclass(frozen=True, slots=True)
class Reader:
    """An agent that is given notes: with each line it can solve one more of the ten kinds of tasks."""

    name: str
    notes: str
    solutions: dict[str, str]
    has_weights: bool = False

    def agent(self, config: AgentConfig, temperature: float) -> Agent:
        known = 3 + len(self.notes.splitlines())

        def script(instruction: str) -> list[str]:
            return [self.solutions[instruction] if len(instruction) % 10 < known else "pass"]

        return ScriptedAgent(script)


class Notes:
    """Improver that appends lines to a file of notes, one for each round that had a success."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Params:
        lines: Annotated[int, Field(ge=1)] = 1
        """Lines for each round."""

    def __init__(self, params: Params, setting: Setting) -> None:
        self.params, self.setting = params, setting
        config = load_config(setting.root.parent / "config.yaml")
        suite, seed = suite_of(config, {}), config.seeds[0]
        train, held_out = task_sets(config, suite, seed)
        tasks = (*train, *held_out, *selection_tasks(config, suite, seed, held_out))
        self.solutions = {task.instruction: task.solution for task in tasks}

    def open(self, name: str) -> Reader:
        path = self.setting.root / name / FILE
        return Reader(name, path.read_text() if path.exists() else "", self.solutions)

    def improve(
        self, start: str, seen: Seen, folder: Path, *, seed: int, progress: Callable[[int, int], None]
    ) -> None:
        assert not any(example.token_ids for example in seen.examples.examples)
        assert {example.correct for example in seen.examples.examples} == {None}
        best = next(one for one in seen.attempts if one.accepted and one.chosen)
        assert self.solutions[best.instruction] == best.answer
        scratch = folder.with_name("scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        (scratch / FILE).write_text(self.open(start).notes + f"seen: {best.task_id}\n" * self.params.lines)
        scratch.rename(folder)
        progress("notes", 1, 1)


class InProcess:
    """Executor that does each job at once, in this process."""

    def __init__(self, needs: Needs, tell: Tell) -> None:
        self.tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        pass

    def submit(self, root: Path, seed: int, arm: str) -> "Future[None]":
        done: Future[None] = Future()
        try:
            run_job(root, seed, arm, lambda *event: self.tell((seed, arm), *event))
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        return done
