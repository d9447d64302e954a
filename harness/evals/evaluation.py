"""What an evaluation is: agents on the tasks of a suite, without training.

Everything that is sampled follows from an `Evaluation`, which is kept in the folder's `eval.json` with
what it rests on (see `ledger.py`).
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from plateau_bench.harness.attempts.rollout import Plan
from plateau_bench.harness.evals import ledger
from plateau_bench.harness.evals.agent_spec import AgentSpec
from plateau_bench.harness.seeds import derive
from plateau_bench.results.records import Purpose
from plateau_bench.results.store import EvalStore
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.loading import load_suite, located
from plateau_bench.tasks.quality.quarantine import (
    WithoutQuarantined,
    is_quarantined,
    quarantine_path,
    read_quarantine,
)
from plateau_bench.tasks.suite import Suite
from plateau_bench.validate import validated

MADE = 100
"""Tasks of a suite that makes as many as it is asked for."""
ALL = "all"
"""The `split` that is both sides of a suite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What is evaluated; the folder's `eval.json`. Everything that is sampled follows from it.

    Raises ValueError if two agents have the same name.
    """

    suite: str
    """A name, or an absolute path."""
    split: str
    """train, held_out, or all."""
    tasks: int | None
    """None: all of a suite that has its tasks, `MADE` of one that makes them."""
    samples: int
    seed: int
    agents: tuple[AgentSpec, ...]
    network: tuple[str, ...] | None = None
    """Hosts for tasks that ask for all of the internet; None refuses such tasks."""
    quarantine: str | None = None
    """List of tasks to leave out; None: the one beside the suite, if there is one; "none": no list."""

    def __post_init__(self) -> None:
        names = [agent.name for agent in self.agents]
        if len(set(names)) < len(names):
            raise ValueError(f"two agents have the same name: {', '.join(names)}; give one another 'name'")

    def chosen(self) -> Sequence[Task]:
        """The tasks. Raises ValueError if the suite cannot be read, or holds too few."""
        return self.choice()[0]

    def choice(self, before: Sequence[str] = ()) -> tuple[Sequence[Task], list[str]]:
        """(the tasks, the ids that the quarantine list leaves out).

        `before`: ids that were chosen earlier. Of a number of tasks from a suite that has its tasks, those
        are taken again as far as they are there, whatever else the suite holds by now.
        """
        source, out = self._source()
        there = source.tasks
        if there is None:
            return self._made(source), out
        side = [task for task in there if self.split in (ALL, task.split)]
        if not side:
            why = f"; {len(out)} are in quarantine (--quarantine none takes them)" if out else ""
            raise ValueError(f"--suite {self.suite}: no task on the side {self.split!r}{why}")
        if self.tasks is None:
            return side, out
        if before:
            return [task for task in side if task.id in before], out
        if self.tasks > len(side):
            raise ValueError(
                f"--tasks: {self.tasks} asked for, {self.suite} has {len(side)} on the side {self.split!r}"
                + (f" ({len(out)} more are in quarantine)" if out else "")
            )
        seed = derive(self.seed, "eval tasks")
        if self.split == ALL:
            return random.Random(f"eval/all/{seed}").sample(side, self.tasks), out
        draw = source.held_out_tasks if self.split == "held_out" else source.train_tasks
        return draw(seed, self.tasks), out

    def _made(self, source: Suite) -> Sequence[Task]:
        if self.split == ALL:
            raise ValueError(f"--split all: {self.suite} makes tasks without end; name held_out or train")
        draw = source.held_out_tasks if self.split == "held_out" else source.train_tasks
        return draw(derive(self.seed, "eval tasks"), MADE if self.tasks is None else self.tasks)

    def _source(self) -> tuple[Suite, list[str]]:
        """The suite without the tasks in quarantine, and their ids."""
        suite = load_suite(self.suite, self.network)
        if self.quarantine == "none":
            return suite, []
        place = Path(self.quarantine) if self.quarantine else quarantine_path(self.suite)
        if self.quarantine is None and not place.exists():
            return suite, []
        listed = read_quarantine(place)
        if suite.tasks is None:
            return WithoutQuarantined(suite, listed), []
        out = [
            task.id
            for task in suite.tasks
            if is_quarantined(task, listed) and self.split in (ALL, task.split)
        ]
        return WithoutQuarantined(suite, listed), out

    def plan(self, agent: AgentSpec, tasks: Sequence[Task]) -> Plan:
        """The attempts of one agent."""
        return Plan(
            arm=agent.name,
            seed=self.seed,
            round=0,
            purpose=Purpose.EVAL,
            tasks=tuple(tasks),
            samples=self.samples,
            temperature=agent.heat,
        )

    def save(self, folder: Path, retry: frozenset[str] = frozenset()) -> list[str]:
        """Write `eval.json`; what there is to say about changes. Agents and samples may be added.

        Raises ValueError if the folder holds another evaluation, or one of another format.
        """
        plain = json.loads(json.dumps(asdict(self)))
        return ledger.begin(EvalStore(folder), plain | {"suite": located(self.suite)}, "all" in retry)


def read_evaluation(folder: Path, *, agents: bool = False) -> Evaluation:
    """What a folder holds; its agents only if asked for. Raises ValueError if it holds no evaluation."""
    store = EvalStore(folder)
    row = ledger.description(store.read_manifest())
    return validated(Evaluation, row if agents else row | {"agents": []}, str(store.manifest))


def tasks_of(folder: Path) -> tuple[Sequence[Task], list[str]]:
    """(the tasks of a folder's evaluation as they are now, the ids left out). Raises ValueError."""
    before = ledger.content(EvalStore(folder).read_manifest()).get("chosen") or ()
    return read_evaluation(folder).choice(before)


def default_split(suite: str, agents: Sequence[AgentSpec]) -> str:
    """All tasks of a suite, but held-out ones of a suite that makes them, or that an agent was trained on.

    A checkpoint inside a run's folder was trained here, perhaps on this suite's train side.
    """
    trained = any(
        (folder / "run.json").exists()
        for agent in agents
        if agent.model and Path(agent.model).is_dir()
        for folder in Path(agent.model).parents
    )
    return "held_out" if trained or load_suite(suite, ("*",)).tasks is None else ALL
