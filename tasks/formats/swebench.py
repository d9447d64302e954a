"""SWE-bench as published: rows of the classic table, and the task repositories of version 5.

A row: repo, instance_id, base_commit, patch, test_patch, problem_statement, version, created_at, FAIL_TO_PASS
and PASS_TO_PASS, the last two as lists or as the JSON text of one. A task repository: sweb.yaml beside
tasks/<instance_id>/ with task.yaml, tests.json, problem_statement.md, gold.patch and test.patch.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plateau_bench.tasks.formats.rows import SUFFIXES, Row, read_rows
from plateau_bench.tasks.grading.expected_file import is_id

_FILES = {"problem_statement": "problem_statement.md", "patch": "gold.patch", "test_patch": "test.patch"}
TESTS = ("FAIL_TO_PASS", "PASS_TO_PASS")


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One row, checked. Ids of tests are as published: cut at their first space."""

    id: str
    repo: str
    """'owner/name'."""
    base_commit: str
    problem: str
    gold: str
    test_patch: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    version: str = ""
    created: str = ""
    place: str = ""

    @property
    def image(self) -> str:
        """The published image."""
        return f"swebench/sweb.eval.x86_64.{self.id.lower()}:latest".replace("__", "_1776_")


def read_instances(source: Path) -> Iterator[Callable[[], Instance]]:
    """One function for each row, which gives the instance or raises ValueError naming file, row and key.

    `source`: .jsonl, .json (also gzipped), .parquet, or the folder of a task repository. Raises ValueError
    for a source that cannot be read at all.
    """
    if source.is_dir():
        folders = sorted(file.parent for file in source.glob("tasks/*/task.yaml"))
        if not (source / "sweb.yaml").is_file() or not folders:
            raise ValueError(
                f"{source}: is no task repository, that is, no sweb.yaml beside tasks/*/task.yaml"
            )
        yield from (lambda folder=folder: _instance(_task_row(folder)) for folder in folders)
        return
    if source.suffix == ".parquet":
        rows = _parquet(source)
    elif source.name.endswith(SUFFIXES):
        rows = read_rows(source)
    else:
        raise ValueError(f"{source}: must be a file {', '.join(SUFFIXES)} or .parquet, or a task repository")
    yield from (lambda row=row: _instance(row) for row in rows)


def _parquet(source: Path) -> Iterator[Row]:
    import pandas

    try:
        frame = pandas.read_parquet(source)
    except ImportError:
        raise ValueError(
            f"{source}: reading parquet needs pyarrow: pip install 'plateau-bench[parquet]'"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: cannot be read ({error})") from None
    for number, row in enumerate(json.loads(frame.to_json(orient="records", date_format="iso")), 1):
        yield Row(row, f"{source}:{number}")


def _task_row(folder: Path) -> Row:
    """A task of a repository as a row of the classic table."""
    import yaml

    def text(name: str) -> str:
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{folder / name}: cannot be read ({getattr(error, 'strerror', error)})"
            ) from None

    try:
        facts: Any = yaml.safe_load(text("task.yaml"))
        tests: Any = json.loads(text("tests.json"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder}: {' '.join(str(error).split())}") from None
    if not isinstance(facts, dict) or not isinstance(tests, dict):
        raise ValueError(f"{folder}: task.yaml and tests.json must be tables")
    return Row({**facts, **tests, **{key: text(name) for key, name in _FILES.items()}}, str(folder))


def _instance(row: Row) -> Instance:
    def matching(key: str, pattern: str, what: str) -> str:
        value = row.text(key)
        if not re.fullmatch(pattern, value) or ".." in value:
            raise row.wrong(key, what)
        return value

    name = matching("instance_id", r"\w[\w.-]*", "a name of letters, digits, '_', '-' and '.'")
    if not row.text("problem_statement").strip():
        raise row.wrong("problem_statement", "a text that says what is asked")
    for key in ("patch", "test_patch"):
        if "diff --git" not in row.text(key):
            raise row.wrong(key, "a diff as git writes it")
    tests = {key: tuple(dict.fromkeys(row.texts(key))) for key in TESTS}
    if not tests["FAIL_TO_PASS"]:
        raise row.wrong("FAIL_TO_PASS", "a list that is not empty")
    for key, ids in tests.items():
        if odd := [test for test in ids if not is_id(test) or len(test.partition("::")[0].split()) > 1]:
            raise ValueError(
                f"{row.place}: {key}: {odd[0][:80]!r} is no id of pytest's, such as 'a/test_b.py::test_c'; "
                "tests of other runners cannot be graded here"
            )
    return Instance(
        id=name,
        repo=matching("repo", r"\w[\w.-]*/\w[\w.-]*", "'owner/name'"),
        base_commit=matching("base_commit", r"[0-9a-f]{40}", "a commit's 40 hexadecimal digits"),
        problem=row.text("problem_statement").strip(),
        gold=row.text("patch"),
        test_patch=row.text("test_patch"),
        fail_to_pass=tests["FAIL_TO_PASS"],
        pass_to_pass=tests["PASS_TO_PASS"],
        version=str(row.data.get("version") or ""),
        created=str(row.data.get("created_at") or ""),
        place=row.place,
    )
