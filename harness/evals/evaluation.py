"""Agents on a suite, without training: which is better on my tasks, and is the difference real?

Every attempt is on the disk as soon as it is graded; a stopped evaluation goes on where it was. Agents with
local weights go in waves (their model wants batches), all others as places become free.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plateau_bench.agents.base import Agent, Ending, Trajectory
from plateau_bench.harness.attempts.boxed import Work, attempt_in_box
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, roll_out
from plateau_bench.harness.evals.agent_spec import AgentSpec, open_agent
from plateau_bench.harness.seeds import derive
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import attempt_from_json, attempt_to_json, hold, read_lines, write_json
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.loading import load_suite

Progress = Callable[[str, Sequence[Attempt], int], None]
"""(agent, attempts so far, attempts in all)."""


MADE = 100
"""Tasks of a suite that makes as many as it is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What is evaluated; the folder's `eval.json`. Everything that is sampled follows from it."""

    suite: str
    split: str
    tasks: int | None
    """None: all of a suite that has its tasks, `MADE` of one that makes them."""
    samples: int
    seed: int
    agents: tuple[AgentSpec, ...]
    network: tuple[str, ...] | None = None
    """Hosts for tasks that ask for all of the internet; None refuses such tasks."""

    def chosen(self) -> Sequence[Task]:
        """The tasks. Raises ValueError if the suite cannot be read, or holds too few."""
        source = load_suite(self.suite, self.network)
        draw = source.held_out_tasks if self.split == "held_out" else source.train_tasks
        count = self.tasks
        if count is None:
            there = source.tasks
            count = MADE if there is None else sum(task.split == self.split for task in there)
        return draw(derive(self.seed, "eval tasks"), count)

    def save(self, folder: Path) -> None:
        """Raises ValueError if the folder holds another evaluation. More agents may be added to one."""
        plain = json.loads(json.dumps(asdict(self)))
        path = folder / "eval.json"
        if path.exists():
            before = json.loads(path.read_text())
            for key in ("suite", "split", "tasks", "samples", "seed", "network"):
                if before.get(key) != plain[key]:
                    raise ValueError(
                        f"{folder} holds an evaluation with {key} {before.get(key)!r}, not {plain[key]!r}; "
                        f"choose another folder with --out"
                    )
            names = [agent["name"] for agent in plain["agents"]]
            for old in before["agents"]:
                if old["name"] in names and old != plain["agents"][names.index(old["name"])]:
                    raise ValueError(f"{folder}: agent {old['name']} was described differently; rename it")
            plain["agents"] += [old for old in before["agents"] if old["name"] not in names]
        write_json(path, plain)


def read_evaluation(folder: Path) -> Evaluation:
    """What a folder holds, without its agents. Raises ValueError if it holds no evaluation."""
    row = _manifest(folder)
    network = row.get("network")
    return Evaluation(
        **{key: row[key] for key in ("suite", "split", "tasks", "samples", "seed")},
        agents=(),
        network=None if network is None else tuple(network),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = folder / "eval.json"
    if not manifest.exists():
        raise ValueError(f"{folder}: no eval.json there; make one with 'plateau eval --out {folder} ...'")
    row: dict[str, Any] = json.loads(manifest.read_text())
    return row


def attempts_path(folder: Path, agent: str) -> Path:
    return folder / agent / "attempts.jsonl"


def read_attempts(path: Path) -> list[Attempt]:
    """The attempts of one agent in the order of tasks and samples; a torn last line is left out."""
    rows = read_lines(path) if path.exists() else []
    return sorted(map(attempt_from_json, rows), key=lambda a: (a.task_id, a.sample))


def evaluate_agent(
    folder: Path,
    what: Evaluation,
    spec: AgentSpec,
    tasks: Sequence[Task],
    backend: Backend,
    *,
    at_once: int,
    budget: Any,
    progress: Progress,
) -> list[Attempt]:
    """All attempts of one agent; those on the disk are not made again.

    Raises ModelUnavailable when its endpoint is gone: nothing is lost, and the same command goes on.
    """
    path = attempts_path(folder, spec.name)
    replayed = spec.attempts if spec.kind == "replay" else None
    earlier = [a.trajectory for a in read_attempts(Path(replayed))] if replayed else []
    agent = open_agent(spec, tasks, earlier, budget)
    grader = Grader(backend, folder / "verdicts.sqlite")
    try:
        with hold(folder / spec.name / "lock", str(folder / spec.name)):
            if spec.is_local:
                return _in_waves(path, what, spec, agent, tasks, grader, backend, at_once, progress)
            return _as_they_come(path, what, spec, agent, tasks, grader, backend, at_once, progress, budget)
    finally:
        grader.close()


def _in_waves(
    path: Path,
    what: Evaluation,
    spec: AgentSpec,
    agent: Agent,
    tasks: Sequence[Task],
    grader: Grader,
    backend: Backend,
    at_once: int,
    progress: Progress,
) -> list[Attempt]:
    plan = Plan(
        arm=spec.name,
        seed=what.seed,
        round=0,
        purpose="eval",
        tasks=tuple(tasks),
        samples=what.samples,
        temperature=spec.temperature,
    )
    total = len(tasks) * what.samples

    def told(done: int, of: int) -> None:
        progress(spec.name, read_attempts(path), total)

    return roll_out(plan, agent, grader, path, told, backend=backend, boxes=at_once)


def _as_they_come(
    path: Path,
    what: Evaluation,
    spec: AgentSpec,
    agent: Agent,
    tasks: Sequence[Task],
    grader: Grader,
    backend: Backend,
    at_once: int,
    progress: Progress,
    budget: Any,
) -> list[Attempt]:
    made = read_attempts(path)
    known = {(attempt.task_id, attempt.sample) for attempt in made}
    todo = [(t, s) for s in range(what.samples) for t in tasks if (t.id, s) not in known]
    total = len(tasks) * what.samples
    progress(spec.name, made, total)

    def attempt(task: Task, sample: int) -> Attempt:
        seed = derive(what.seed, task.id, sample)
        trajectory = _solve(agent, backend, task, seed)
        verdict = grader([(task, trajectory)])[0]
        return Attempt(
            arm=spec.name,
            seed=what.seed,
            round=0,
            split=task.split,
            task_id=task.id,
            task_digest=task.digest,
            stratum=task.stratum,
            cluster=task.cluster or task.id,
            sample=sample,
            temperature=spec.temperature,
            trajectory=trajectory,
            verdict=verdict,
        )

    with _appending(path) as append, ThreadPoolExecutor(at_once, f"eval-{spec.name}") as pool:
        running: set[Future[Attempt]] = set()
        waiting = iter(todo)
        try:
            while True:
                while len(running) < at_once and not _spent(made, budget):
                    following = next(waiting, None)
                    if following is None:
                        break
                    running.add(pool.submit(attempt, *following))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    made.append(future.result())
                    append(made[-1])
                progress(spec.name, made, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(made, key=lambda a: (a.task_id, a.sample))


def _spent(made: Sequence[Attempt], budget: Any) -> bool:
    """Whether the run's budget ended an attempt; then no other is begun."""
    limited = budget is not None and (budget.usd is not None or budget.tokens is not None)
    return limited and any(
        a.trajectory.ending is Ending.COST_LIMIT and "budget" in a.trajectory.error for a in made
    )


def _solve(agent: Agent, backend: Backend, task: Task, seed: int) -> Trajectory:
    if not agent.needs_box:
        return agent.solve(task.instruction, [seed])[0]
    return attempt_in_box(agent, backend, Work(task=task, seed=seed))


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[Attempt], None]]:
    """Appends attempts, each on the disk before the next; cuts off a torn last line first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path.read_bytes() if path.exists() else b""
    if raw and not raw.endswith(b"\n"):
        os.truncate(path, raw.rfind(b"\n") + 1)
    lock = threading.Lock()
    with path.open("ab") as file:

        def append(attempt: Attempt) -> None:
            line = json.dumps(attempt_to_json(attempt), separators=(",", ":")).encode() + b"\n"
            with lock:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

        yield append


def scores_of(folder: Path) -> Mapping[str, list[Attempt]]:
    """Agent -> its attempts. Raises ValueError if the folder holds no evaluation."""
    names = [agent["name"] for agent in _manifest(folder)["agents"]]
    found = {name: read_attempts(attempts_path(folder, name)) for name in names}
    return {name: attempts for name, attempts in found.items() if attempts}
