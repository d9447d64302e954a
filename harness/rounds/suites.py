"""The suite of a run: looked at once before it starts, the same in every worker and after every resume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from plateau_bench.harness.config import RunConfig, TasksConfig
from plateau_bench.harness.content import differing, grading, listed, plateau_version, weights
from plateau_bench.harness.seeds import derive
from plateau_bench.harness.strategies.base import nobody
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.grading.boxes import stages
from plateau_bench.tasks.grading.functions import FunctionGrader
from plateau_bench.tasks.loading import load_suite
from plateau_bench.tasks.quality.contamination import clashes, of_sample, of_task
from plateau_bench.tasks.quality.quarantine import (
    Entry,
    Quarantine,
    WithoutQuarantined,
    quarantine_path,
    read_quarantine,
)
from plateau_bench.tasks.quality.variants import unsound, variants_of
from plateau_bench.tasks.suite import Suite

SAMPLES = 1000
"""Human samples of a generated corpus that are compared with the held-out tasks."""


def suite_of(config: RunConfig, manifest: Mapping[str, Any]) -> Suite:
    """The suite as the run's manifest has it: without the tasks that were in quarantine when it began."""
    out = {name: Entry(**entry) for name, entry in manifest.get("quarantine", {}).items()}
    suite = load_suite(config.tasks.suite, config.tasks.network)
    if config.tasks.visible is not None:
        suite = suite.with_visible(config.tasks.visible)
    return WithoutQuarantined(suite, out) if out else suite


def variants(
    config: RunConfig, manifest: Mapping[str, Any], seed: int, held_out: Sequence[Task]
) -> tuple[Task, ...]:
    """The sound variants of a seed's held-out tasks, of the kinds that the config names."""
    made = variants_of(held_out, config.tasks.variants, derive(seed, "variants"))
    out = manifest.get("unsound_variants", {})
    return tuple(task for task in made if out.get(task.id) != task.digest)


def selection_tasks(config: RunConfig, suite: Suite, seed: int, held_out: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks like the held-out ones but none of them, if an arm picks checkpoints by them; else none.

    Families (clusters) that no held-out task belongs to come first. Raises ValueError if the suite holds
    too few.
    """
    if all(arm.strategy.judge is None for arm in config.arms.values()):
        return ()
    count = config.tasks.selection
    try:
        drawn = suite.held_out_tasks(derive(seed, "selection tasks"), len(held_out) + count)
    except ValueError as error:
        raise ValueError(f"tasks.selection: {count} besides the held-out ones; {error}") from None
    digests, clusters = {task.digest for task in held_out}, {task.cluster for task in held_out}
    others = [task for task in drawn if task.digest not in digests]
    return tuple(sorted(others, key=lambda task: task.cluster in clusters)[:count])


def train_tasks(config: RunConfig, suite: Suite, seed: int, index: int = 0) -> tuple[Task, ...]:
    """The train tasks of a round; those of round 0 throughout, unless `tasks.fresh`.

    Raises ValueError for tasks whose attempts cannot be trained on, since they are several conversations.
    """
    words = ("train tasks", index) if config.tasks.fresh and index else ("train tasks",)
    tasks = suite.train_tasks(derive(seed, *words), config.tasks.train)
    if several := [task.id for task in tasks if len(stages(task)) > 1]:
        raise ValueError(
            f"tasks.train: {several[0]} has several steps, which cannot be trained on; "
            "give it split = 'held_out' in its [metadata], or use 'plateau eval'"
        )
    return tasks


def task_sets(config: RunConfig, suite: Suite, seed: int) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """(train tasks, held-out tasks) of a training seed. Raises ValueError if the suite holds too few."""
    return (
        train_tasks(config, suite, seed),
        suite.held_out_tasks(derive(seed, "held-out tasks"), config.tasks.held_out),
    )


def look_at(config: RunConfig, backend: Backend, say: Callable[[str], None]) -> dict[str, Any]:
    """Check the tasks of all seeds before anything is spent; what the manifest has to keep of it.

    Raises ValueError if the suite holds too few tasks, lacks human data that an arm needs, or if something
    trained on holds a held-out task, naming the pair.
    """
    out = _quarantine(config.tasks)
    kept: dict[str, Any] = {"quarantine": {name: asdict(entry) for name, entry in out.items()}} if out else {}
    suite = suite_of(config, kept)
    if out:
        say(f"{len(out)} tasks are in quarantine and will not be used")
    _human_data(config, suite)
    for seed in config.seeds:
        _contamination(config, suite, seed)
    if config.tasks.variants:
        kept["unsound_variants"] = _unsound(config, suite, backend, say)
    return kept


def content_of(config: RunConfig, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a run rests on, by its content: digests of its tasks and weights, and of the grading code."""
    suite = suite_of(config, manifest)
    tasks = {
        str(seed): {task.id: task.digest[:16] for side in task_sets(config, suite, seed) for task in side}
        for seed in config.seeds
    }
    model = weights(config.model.path) if config.model.path else {}
    return {"tasks": tasks, "weights": model, "plateau": plateau_version(), "grading": grading()}


def same_content(
    root: Path, before: Mapping[str, Any], now: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Say what changed since a run began. Raises ValueError for tasks or weights: it would be another run."""
    tasks = {
        name
        for seed, drawn in before["tasks"].items()
        for name in differing(drawn, now["tasks"].get(seed, {}))
    }
    changed = [f"tasks {listed(tasks)}"] if tasks else []
    if files := differing(before["weights"], now["weights"]):
        changed.append(f"{listed(files)} of model.path")
    if changed:
        raise ValueError(
            f"{root}: {' and '.join(changed)} changed since the run began, so its rounds could not be "
            "compared; put them back, or begin another run with --out"
        )
    if before["grading"] != now["grading"]:
        say(
            f"begun with plateau {before['plateau']}, whose grading code is another; 'plateau regrade {root}'"
        )


def _unsound(config: RunConfig, suite: Suite, backend: Backend, say: Callable[[str], None]) -> dict[str, str]:
    """Variant id -> digest of the variants that their own solutions fail."""
    made: dict[str, Task] = {}
    for seed in config.seeds:
        made |= {t.digest: t for t in variants(config, {}, seed, task_sets(config, suite, seed)[1])}
    grader = FunctionGrader(backend)
    try:
        found = unsound(list(made.values()), grader)
    finally:
        grader.close()
    say(f"variants: {len(made) - len(found)} verified against solutions, {len(found)} left out")
    if len(found) == len(made):
        raise ValueError(f"tasks.variants: the suite {suite.name!r} has none that its solutions pass")
    return {name: task.digest for task in made.values() if (name := task.id) in found}


def _quarantine(tasks: TasksConfig) -> Quarantine:
    if tasks.quarantine is not None:
        return read_quarantine(Path(tasks.quarantine))
    place = quarantine_path(tasks.suite)
    return read_quarantine(place) if place.exists() else {}


def _human_data(config: RunConfig, suite: Suite) -> None:
    if suite.has_human_data:
        return
    needy = [name for name, arm in config.arms.items() if arm.strategy.human is not nobody]
    if needy:
        raise ValueError(
            f"arms.{needy[0]}: its strategy needs human data, and the suite {suite.name!r} holds none; "
            "drop the arm, or use 'katas'"
        )
    if config.model.path is None:
        raise ValueError(
            f"model.path: the suite {suite.name!r} holds no human data to pretrain on; name a checkpoint"
        )


def _contamination(config: RunConfig, suite: Suite, seed: int) -> None:
    _, held_out = task_sets(config, suite, seed)
    rounds = range(config.rounds if config.tasks.fresh else 1)
    train = [task for index in rounds for task in train_tasks(config, suite, seed, index)]
    samples = suite.corpus(derive(seed, "corpus"), SAMPLES) if suite.has_human_data else ()
    material = chain(map(of_task, train), (of_sample(sample, i) for i, sample in enumerate(samples)))
    clash = next(clashes(material, list(map(of_task, held_out)), shares_parts=suite.shares_parts), None)
    if clash:
        raise ValueError(
            f"tasks: {clash}; give both the same cluster, so that they fall on one side, or put one "
            "of them on the quarantine list"
        )
