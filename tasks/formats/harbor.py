"""Reads Harbor task folders.

    <task>/instruction.md  task.toml  environment/  tests/test.sh  solution/solve.sh
    <task>/steps/<step>/instruction.md  workdir/  tests/  solution/       of a task with [[steps]]

Format: harborframework.com, `task.toml` schema 1.0 to 1.4, old spellings (`version`, `memory`, `storage`,
`allow_internet`) included. What differs on purpose: docs/tasks.md.

Free keys under `[metadata]` that mean something here: `split` ("train" or "held_out"), `stratum`,
`cluster` (or `repo`), `image`, `workdir`, `answer_file`, which names the file that the answer of a one-shot
agent becomes, and `grading = "values"`, which says that `tests/cases.json` is all there is to check.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from plateau_bench.tasks.base import FolderTests, Task
from plateau_bench.tasks.files import files_below, text_of, tree_digest
from plateau_bench.tasks.formats.harbor_boxes import PUBLISHED, Folder, read_box
from plateau_bench.tasks.formats.task_toml import StepTable, read_task_toml
from plateau_bench.tasks.grading import expected_file, values
from plateau_bench.tasks.grading.boxes import folder_tests, stages, tests_of
from plateau_bench.tasks.suite import FixedSuite, split_of


def read_folder(folder: Path, *, name: str = "", network: Sequence[str] | None = None) -> Task:
    """The task in a Harbor task folder; `tags["unknown_keys"]` lists keys of task.toml without effect here.

    `network`: the hosts that a task may reach which asks for all of the internet; None refuses such a task.
    An image that must be built is named after its content; `tags["dockerfile"]` is the folder to build.
    Raises ValueError naming the file and the key.
    """
    file = folder / "task.toml"
    toml, unknown = read_task_toml(file)
    metadata, common = toml.metadata, read_box(folder, toml, network)
    identity = toml.task.name or name or folder.resolve().name
    cluster = metadata.cluster or metadata.repo or metadata.repository or identity
    tags = {
        "suite": "harbor",
        "answer_file": metadata.answer_file or "solution.py",
        "grading": metadata.grading,
        "dockerfile": str(folder / "environment") if common.built else "",
    }
    task = Task(
        id=identity,
        instruction="",
        split=metadata.split or split_of(cluster),
        digest="",
        tests=FolderTests(tests_dir=folder / "tests"),
        stratum=metadata.stratum,
        cluster=cluster,
        box=common.box,
        tags={key: value for key, value in tags.items() if value},
    )
    task = _reachable(_with_steps(task, common) if toml.steps else _stage(task, common, None))
    digest = _digest(task, file, common.files, folder / "steps" if toml.steps else None)
    told = {"unknown_keys": ", ".join(unknown)} if unknown else {}
    return replace(task, digest=digest, tags={**task.tags, **told})


def _reachable(task: Task) -> Task:
    """The task, with a folder in its box for what a separate verifier is given, if it has such a verifier."""
    apart = any(folder_tests(stage).verifier for stage in stages(task))
    return replace(task, box=replace(task.box, mounts=(PUBLISHED,))) if apart else task


def _with_steps(task: Task, common: Folder) -> Task:
    staged: dict[str, bytes] = {}
    steps: list[Task] = []
    for row in common.toml.steps:
        place = common.place(row)
        if not place.is_dir() or place.is_symlink() or place.parent.is_symlink():
            raise ValueError(f"{place}: is no folder, and {common.file} has a step of that name")
        own = files_below(place / "workdir")
        staged |= own
        step = _stage(replace(task, id=f"{task.id}/{row.name}"), common, row)
        files = {**common.start, **staged}
        tests = replace(folder_tests(step), files=files, staged=own, gate=row.min_reward)
        steps.append(replace(step, tests=tests, digest=step.id))
    whole = "\n\n".join(f"# {step.id.rpartition('/')[2]}\n\n{step.instruction}" for step in steps)
    together = FolderTests(
        tests_dir=common.path / "tests",
        files=common.start,
        healthcheck=common.toml.environment.healthcheck,
        steps=tuple(steps),
        last_decides=common.toml.multi_step_reward_strategy == "final",
    )
    return replace(task, instruction=whole, tests=together)


def _stage(task: Task, common: Folder, step: StepTable | None) -> Task:
    """The task with the instruction, tests and solution of one folder: its own, or that of a step."""
    place = common.place(step)
    if (place / "trajectory.json").exists():
        raise ValueError(f"{place / 'trajectory.json'}: attempts always begin with an empty context")
    instruction = text_of(place / "instruction.md").strip()
    if not instruction:
        raise ValueError(f"{place / 'instruction.md'}: is empty")
    toml = common.toml
    levels = [level for level, _ in common.levels(step)]
    named = f"{common.file}: verifier"
    networks = [level.hosts(common.public, named) for level in levels if level.network_mode]
    tests = FolderTests(
        tests_dir=place / "tests",
        shared_dir=common.path / "tests" if step else None,
        timeout_s=next((level.timeout_sec for level in levels if level.timeout_sec), 600.0),
        solution_dir=place / "solution" if "solve.sh" in files_below(place / "solution") else None,
        files=common.start,
        env={key: value for level in reversed(levels) for key, value in level.env.items()},
        solution_env=toml.solution.env,
        network=next(iter(networks), ()),
        verifier=common.verifier(step, next(iter(networks), None)),
        healthcheck=step.healthcheck if step else toml.environment.healthcheck,
    )
    files = tests_of(tests)
    bundled = tests.verifier is not None and tests.verifier.bundled
    if not (bundled or {"test.sh", expected_file.NAME} & files.keys()):
        raise ValueError(f"{place / 'tests' / 'test.sh'}: is missing")
    expected_file.read_expected(files, place / "tests")
    if toml.metadata.grading:
        values.read_cases(files, place / "tests")
    return replace(
        task, instruction=instruction, tests=tests, tags={**task.tags, "tests_sha256": tree_digest(files)}
    )


def _digest(task: Task, file: Path, environment: Mapping[str, bytes], steps: Path | None) -> str:
    tests = tree_digest(tests_of(folder_tests(task)))
    parts = [task.instruction, text_of(file), task.box.image, tests, tree_digest(environment)]
    if steps is not None:
        parts.append(tree_digest(files_below(steps)))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FolderSuite(FixedSuite):
    """The task folders in a folder (or one task folder)."""

    def __init__(self, path: Path, network: Sequence[str] | None = None) -> None:
        single = (path / "task.toml").exists()
        folders = [path] if single else sorted(p.parent for p in path.glob("*/task.toml"))
        if not folders:
            raise ValueError(f"{path}: holds no task folder, that is, no */task.toml")
        super().__init__(path.resolve().name, [read_folder(f, network=network) for f in folders], str(path))
