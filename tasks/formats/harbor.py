"""The Harbor task folder: how it is read, and how a kata is written as one.

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
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from plateau_bench.sandbox.base import BASE_IMAGE
from plateau_bench.tasks.base import FolderTests, FunctionTests, Split, Task
from plateau_bench.tasks.files import files_below, text_of, tree_digest, write_tree
from plateau_bench.tasks.formats.harbor_boxes import PUBLISHED, Folder, box_of, healthcheck_of, verifier_of
from plateau_bench.tasks.formats.task_toml import Table, task_toml
from plateau_bench.tasks.grading import expected_file, values
from plateau_bench.tasks.grading.boxes import folder_tests, stages, tests_of
from plateau_bench.tasks.grading.published_programs import PublishedTests
from plateau_bench.tasks.suite import FixedSuite, split_of


def read_folder(folder: Path, *, name: str = "", network: Sequence[str] | None = None) -> Task:
    """The task in a Harbor task folder; `tags["unknown_keys"]` lists keys of task.toml without effect here.

    `network`: the hosts that a task may reach which asks for all of the internet; None refuses such a task.
    An image that must be built is named after its content; `tags["dockerfile"]` is the folder to build.
    Raises ValueError naming the file and the key.
    """
    file = folder / "task.toml"
    root = Table.of(file)
    metadata, environment = root.table("metadata"), files_below(folder / "environment")
    grading = metadata.text("grading")
    if grading not in ("", "values"):
        raise metadata.wrong("grading", "'values', with the calls in tests/cases.json")
    spec, built = box_of(root, metadata, folder / "environment", environment, network)
    common = Folder(
        path=folder, root=root, box=spec, built=built, files=environment, public=network, values=bool(grading)
    )
    split = metadata.choice("split", *(side.value for side in Split))
    identity = root.table("task").text("name") or name or folder.resolve().name
    cluster = metadata.text("cluster", "repo", "repository") or identity
    tags = {"suite": "harbor", "answer_file": metadata.text("answer_file") or "solution.py"}
    tags |= {"grading": grading, "dockerfile": str(folder / "environment") if built else ""}
    task = Task(
        id=identity,
        instruction="",
        split=Split(split) if split else split_of(cluster),
        digest="",
        tests=FolderTests(tests_dir=folder / "tests"),
        stratum=metadata.text("stratum"),
        cluster=cluster,
        box=spec,
        tags={key: value for key, value in tags.items() if value},
    )
    rows = root.tables("steps")
    task = _with_steps(task, common, rows) if rows else _stage(task, common, folder, root)
    task = _reachable(task)
    unknown = {"unknown_keys": ", ".join(root.unread())}
    return replace(
        task,
        digest=_digest(task, file, environment, folder / "steps" if rows else None),
        tags={**task.tags, **{key: value for key, value in unknown.items() if value}},
    )


def _reachable(task: Task) -> Task:
    """With the folder in its box that is read for a separate verifier, if there is one."""
    apart = any(folder_tests(stage).verifier for stage in stages(task))
    return replace(task, box=replace(task.box, mounts=(PUBLISHED,))) if apart else task


def _with_steps(task: Task, common: Folder, rows: Sequence[Table]) -> Task:
    strategy = common.root.choice("multi_step_reward_strategy", "mean", "final")
    staged: dict[str, bytes] = {}
    steps: list[Task] = []
    for row in rows:
        name = row.text("name")
        portable = re.fullmatch(r'[^<>:"/\\|?*\x00-\x1f\x7f]{1,200}', name) and not name.endswith((".", " "))
        if not portable or name.lower() in {step.id.rpartition("/")[2].lower() for step in steps}:
            raise row.wrong("name", "the name of a folder in steps/, each of another")
        place = common.path / "steps" / name
        if not place.is_dir() or place.is_symlink() or place.parent.is_symlink():
            raise ValueError(f"{place}: is no folder, and {row.file} has a step of that name")
        row.table("agent").refuse(
            "network_mode", "a box keeps its network; say it in [agent] or [environment]"
        )
        own = files_below(place / "workdir")
        staged |= own
        step = _stage(replace(task, id=f"{task.id}/{name}"), common, place, row)
        files = {**common.start, **staged}
        tests = replace(folder_tests(step), files=files, staged=own, gate=_gate(row))
        steps.append(replace(step, tests=tests, digest=f"{task.id}/{name}"))
    whole = "\n\n".join(f"# {step.id.rpartition('/')[2]}\n\n{step.instruction}" for step in steps)
    together = FolderTests(
        tests_dir=common.path / "tests",
        files=common.start,
        healthcheck=healthcheck_of(common.root.table("environment")),
        steps=tuple(steps),
        last_decides=strategy == "final",
    )
    return replace(task, instruction=whole, tests=together)


def _gate(row: Table) -> bool:
    """Whether the step has a `min_reward`: a number, or one for each key of its rewards."""
    value = row.get("min_reward")[1]
    least = list(value.values()) if isinstance(value, dict) else [] if value is None else [value]
    if not all(type(one) in (int, float) for one in least):
        raise row.wrong("min_reward", "a number, or a table of numbers")
    return any(one > 0 for one in least)


def _stage(task: Task, common: Folder, place: Path, table: Table) -> Task:
    """The task with the instruction, tests and solution of one folder: its own, or that of a step."""
    if (place / "trajectory.json").exists():
        raise ValueError(f"{place / 'trajectory.json'}: attempts always begin with an empty context")
    instruction = text_of(place / "instruction.md").strip()
    if not instruction:
        raise ValueError(f"{place / 'instruction.md'}: is empty")
    step = place != common.path
    whole = common.root.table("verifier")
    levels = [table.table("verifier"), whole] if step else [whole]
    limits = [level.number("timeout_sec", 600.0) for level in levels if level.has("timeout_sec")]
    networks = [level.network(common.public) for level in levels if level.has("network_mode")]
    tests = FolderTests(
        tests_dir=place / "tests",
        shared_dir=common.path / "tests" if step else None,
        timeout_s=next(iter(limits), 600.0),
        solution_dir=place / "solution" if "solve.sh" in files_below(place / "solution") else None,
        files=common.start,
        env={key: value for level in reversed(levels) for key, value in level.variables("env").items()},
        solution_env=common.root.table("solution").variables("env"),
        network=next(iter(networks), ()),
        verifier=verifier_of(common, table, levels, place, next(iter(networks), None)),
        healthcheck=healthcheck_of(table if step else table.table("environment")),
    )
    files = tests_of(tests)
    bundled = tests.verifier is not None and tests.verifier.bundled
    if not (bundled or {"test.sh", expected_file.NAME} & files.keys()):
        raise ValueError(f"{place / 'tests' / 'test.sh'}: is missing")
    expected_file.read_expected(files, place / "tests")
    if common.values:
        values.read_cases(files, place / "tests")
    digest = {"tests_sha256": tree_digest(files)}
    return replace(task, instruction=instruction, tests=tests, tags={**task.tags, **digest})


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


_CHECK = '''"""Runs solution.py in a child process and compares its answers here, on exact types."""

import json, os, subprocess, sys

CHILD = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
space = {}
exec(compile(open("solution.py").read(), "solution.py", "exec"), space)
answers.write(json.dumps([space[sys.argv[1]](*args) for args in json.load(sys.stdin)]))
answers.close()
"""


def exact(values):
    """As text in which True is not 1, and 1 not 1.0."""
    return json.dumps(values, sort_keys=True)


tests = json.load(open(os.path.join(os.path.dirname(__file__), "cases.json")))
calls = json.dumps([args for args, _ in tests["cases"]])
command = [sys.executable, "-I", "-c", CHILD, tests["entry_point"]]
child = subprocess.run(command, input=calls, stdout=subprocess.PIPE, text=True, timeout=30)
answers = json.loads(child.stdout)
sys.exit(0 if exact(answers) == exact([expected for _, expected in tests["cases"]]) else 1)
'''

_TEST_SH = """#!/bin/sh
mkdir -p /logs/verifier
if python3 -I "$(dirname "$0")/check.py"; then reward=1; else reward=0; fi
echo $reward > /logs/verifier/reward.txt
"""


def write_folder(task: Task, folder: Path) -> None:
    """Write a function-level task as a Harbor task folder, for other tools; its hidden cases are the tests.

    Raises ValueError for a task that already is a folder.
    """
    if not isinstance(task.tests, FunctionTests):
        raise ValueError(f"task {task.id} is a folder task already")
    if isinstance(task.tests, PublishedTests):
        raise ValueError(f"task {task.id}: only tasks made of exact cases can be written as a folder")
    settings = task_toml(
        {
            "task": {"name": "plateau/" + re.sub(r"[^\w.-]", "-", task.id)},
            "metadata": {
                "split": task.split.value,
                "stratum": task.stratum,
                "cluster": task.cluster or task.id,
                "image": BASE_IMAGE,
                "workdir": "/work",
                "answer_file": "solution.py",
                "grading": "values",
            },
            "verifier": {"timeout_sec": 60.0},
            "environment": {"cpus": 1, "memory_mb": 512, "storage_mb": 256, "allow_internet": False},
        }
    )
    cases = [[list(case.args), case.expected] for case in task.tests.hidden]
    marker = "END_" + task.digest[:8]
    files = {
        "instruction.md": f"{task.instruction}\n\nPut the function in `solution.py` in the working folder.\n",
        "task.toml": settings,
        "environment/Dockerfile": "FROM python:3.11-slim\nWORKDIR /work\n",
        "tests/test.sh": _TEST_SH,
        "tests/check.py": _CHECK,
        "tests/cases.json": json.dumps({"entry_point": task.tests.entry_point, "cases": cases}) + "\n",
        "solution/solve.sh": f"#!/bin/sh\ncat > solution.py <<'{marker}'\n{task.solution}{marker}\n",
    }
    write_tree(folder, {name: content.encode() for name, content in files.items()})
