"""Agents on a suite, without training: which is better on my tasks, and is the difference real?

Every attempt is on the disk as soon as it is graded; a stopped evaluation goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, as_they_come, roll_out
from plateau_bench.harness.evals.agent_spec import AgentSpec, open_agent
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import in_order
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.results.store import EVAL_FORMAT, EvalStore, hold, write_json
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.loading import load_suite
from plateau_bench.validate import validated

if TYPE_CHECKING:
    from plateau_bench.agents.models.endpoint import Budget

Counted = Callable[[str, int, Sequence[Attempt]], None]
"""Called with (agent, attempts in all, attempts that are now recorded and were not before)."""

MADE = 100
"""Tasks of a suite that makes as many as it is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What is evaluated; the folder's `eval.json`. Everything that is sampled follows from it.

    Raises ValueError if two agents have the same name.
    """

    suite: str
    split: str
    tasks: int | None
    """None: all of a suite that has its tasks, `MADE` of one that makes them."""
    samples: int
    seed: int
    agents: tuple[AgentSpec, ...]
    network: tuple[str, ...] | None = None
    """Hosts for tasks that ask for all of the internet; None refuses such tasks."""

    def __post_init__(self) -> None:
        names = [agent.name for agent in self.agents]
        if len(set(names)) < len(names):
            raise ValueError(f"two agents have the same name: {', '.join(names)}")

    def chosen(self) -> Sequence[Task]:
        """The tasks. Raises ValueError if the suite cannot be read, or holds too few."""
        source = load_suite(self.suite, self.network)
        draw = source.held_out_tasks if self.split == "held_out" else source.train_tasks
        count = self.tasks
        if count is None:
            there = source.tasks
            count = MADE if there is None else sum(task.split == self.split for task in there)
        return draw(derive(self.seed, "eval tasks"), count)

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

    def save(self, folder: Path) -> None:
        """Write `eval.json`. More agents may be added to those of an evaluation.

        Raises ValueError if the folder holds another evaluation, or one of another format.
        """
        plain = {"format": EVAL_FORMAT, **json.loads(json.dumps(asdict(self)))}
        store = EvalStore(folder)
        if store.manifest.exists():
            before = store.read_manifest()
            for key, wanted in plain.items():
                if key != "agents" and before[key] != wanted:
                    raise ValueError(
                        f"{folder} holds an evaluation with {key} {before[key]!r}, not {wanted!r}; "
                        "choose another folder with --out"
                    )
            names = [agent["name"] for agent in plain["agents"]]
            for old in before["agents"]:
                if old["name"] in names and old != plain["agents"][names.index(old["name"])]:
                    raise ValueError(f"{folder}: agent {old['name']} was described differently; rename it")
            plain["agents"] += [old for old in before["agents"] if old["name"] not in names]
        write_json(store.manifest, plain)


def read_evaluation(folder: Path) -> Evaluation:
    """What a folder holds, without its agents. Raises ValueError if it holds no evaluation."""
    store = EvalStore(folder)
    row = store.read_manifest()
    del row["format"]
    return validated(Evaluation, row | {"agents": []}, str(store.manifest))


def evaluate_agent(
    folder: Path,
    what: Evaluation,
    spec: AgentSpec,
    tasks: Sequence[Task],
    backend: Backend,
    *,
    at_once: int,
    budget: "Budget | None",
    progress: Counted,
) -> list[Attempt]:
    """All attempts of one agent, in the order of tasks and samples; those on the disk are not made again.

    Raises ModelUnavailable when its endpoint is gone, BudgetSpent, or Unfinished when some attempts were not
    answered: nothing is lost, and the same command goes on.
    """
    store = EvalStore(folder)
    plan, log = what.plan(spec, tasks), store.attempts(spec.name)
    agent = open_agent(spec, plan, budget)
    recorded = partial(progress, spec.name, len(plan.tasks) * plan.samples)
    # Weights in this process want batches.
    make: Callable[..., None] = roll_out if spec.is_local else as_they_come
    with closing(Grader(backend, store.verdicts)) as grade, hold(store.lock(spec.name), str(log.parent)):
        make(plan, agent, grade, log, backend=backend, at_once=at_once, recorded=recorded)
    return in_order(log)
