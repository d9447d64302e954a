"""`plateau regrade RUN`: grade what agents answered again, without running agents or trusting old verdicts.

Records stay as they are; what differs is written to `regrade.json` beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.config import parse_config
from plateau_bench.harness.rounds.suites import suite_of, task_sets, train_tasks
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import RunStore, write_json
from plateau_bench.sandbox import open_backend
from plateau_bench.tasks.base import Outcome, Task

BATCH = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Regrade:
    """What grading a run again found."""

    attempts: int
    changed: tuple[dict[str, Any], ...]
    """One row per attempt whose outcome or visible result differs from the record."""


def regrade(root: Path, progress: Callable[[int], None] = lambda done: None) -> Regrade:
    """Grade every attempt of a run again, with an empty memo. Raises ValueError if there is no run.

    INFRA in this pass is always listed: it says nothing about the attempt, so nothing was confirmed.
    """
    store = RunStore(root)
    manifest, tasks = tasks_of_run(root)
    attempts, done, changed = store.attempts(), 0, []
    with closing(Grader(open_backend(manifest["environment"]["sandbox"]), None)) as grader:
        while batch := list(islice(attempts, BATCH)):
            changed += _differences(batch, tasks, grader)
            done += len(batch)
            progress(done)
    write_json(store.regraded, {"attempts": done, "changed": changed})
    return Regrade(attempts=done, changed=tuple(changed))


def tasks_of_run(root: Path) -> tuple[dict[str, Any], dict[int, dict[str, Task]]]:
    """(run.json, tasks of every training seed by id). Raises ValueError if there is no run."""
    store = RunStore(root)
    manifest = store.read_manifest()
    config = parse_config(manifest["config"], str(store.manifest))
    suite = suite_of(config, manifest)
    tasks = {
        seed: {task.id: task for tasks in task_sets(config, suite, seed) for task in tasks}
        for seed in config.seeds
    }
    if config.tasks.fresh:
        for seed, known in tasks.items():
            for index in range(1, config.rounds):
                known |= {task.id: task for task in train_tasks(config, suite, seed, index)}
    return manifest, tasks


def task_of(attempt: Attempt, tasks: Mapping[int, Mapping[str, Task]]) -> Task:
    """The task of an attempt, among those by seed and id. Raises ValueError if it is another one by now."""
    task = tasks.get(attempt.seed, {}).get(attempt.task_id)
    if task is None or task.digest != attempt.task_digest:
        raise ValueError(f"{attempt.task_id}: the suite has changed since this was made, so the task is gone")
    return task


def _differences(
    batch: Sequence[Attempt], tasks: dict[int, dict[str, Task]], grader: Grader
) -> list[dict[str, Any]]:
    verdicts = grader([(task_of(attempt, tasks), attempt.trajectory) for attempt in batch])
    return [
        {
            "seed": a.seed,
            "arm": a.arm,
            "round": a.round,
            "task": a.task_id,
            "sample": a.sample,
            "was": a.verdict.outcome,
            "is": now.outcome,
            "reason": now.reason,
        }
        for a, now in zip(batch, verdicts, strict=True)
        if (a.verdict.outcome, a.verdict.verified) != (now.outcome, now.verified)
        or now.outcome is Outcome.INFRA
    ]
