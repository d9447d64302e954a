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
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from plateau_bench.tasks.files import json_of, text_of
from plateau_bench.tasks.formats.rows import SUFFIXES, Row, Texts, read_rows
from plateau_bench.tasks.grading.expected_file import is_id
from plateau_bench.validate import Text, must_be, read_yaml

_FILES = {"problem_statement": "problem_statement.md", "patch": "gold.patch", "test_patch": "test.patch"}
_NAME = r"(?!.*\.\.)\w[\w.-]*"


def _like(pattern: str, what: str) -> AfterValidator:
    return must_be(what, re.compile(pattern, re.DOTALL).fullmatch)


def _ids(tests: tuple[str, ...]) -> tuple[str, ...]:
    if odd := [test for test in tests if not is_id(test) or len(test.partition("::")[0].split()) > 1]:
        raise ValueError(
            f"{odd[0][:80]!r} is no id of pytest's, such as 'a/test_b.py::test_c'; "
            "tests of other runners cannot be graded here"
        )
    return tuple(dict.fromkeys(tests))


def _some(value: Any) -> Any:
    if not value:
        raise ValueError("must not be empty")
    return value


Diff = Annotated[Text, _like(".*diff --git.*", "a diff as git writes it")]
Ids = Annotated[Texts, AfterValidator(_ids)]
Word = Annotated[str, BeforeValidator(lambda value: str(value or ""))]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One row, checked. Ids of tests are as published: cut at their first space."""

    id: Annotated[
        str,
        _like(_NAME, "a name of letters, digits, '_', '-' and '.'"),
        Field(alias="instance_id"),
    ]
    repo: Annotated[str, _like(f"{_NAME}/{_NAME}", "'owner/name'")]
    base_commit: Annotated[str, _like(r"[0-9a-f]{40}", "a commit's 40 hexadecimal digits")]
    problem: Annotated[
        Text, AfterValidator(str.strip), AfterValidator(_some), Field(alias="problem_statement")
    ]
    gold: Annotated[Diff, Field(alias="patch")]
    test_patch: Diff
    fail_to_pass: Annotated[Ids, AfterValidator(_some), Field(alias="FAIL_TO_PASS")]
    pass_to_pass: Annotated[Ids, Field(alias="PASS_TO_PASS")]
    version: Word = ""
    created: Annotated[Word, Field(alias="created_at")] = ""
    place: str = ""
    """The file and the row, for messages."""

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
    facts = read_yaml(folder / "task.yaml")
    tests = json_of(text_of(folder / "tests.json"), str(folder / "tests.json"))
    if not isinstance(facts, dict) or not isinstance(tests, dict):
        raise ValueError(f"{folder}: task.yaml and tests.json must be tables")
    texts = {key: text_of(folder / name, exact=name.endswith(".patch")) for key, name in _FILES.items()}
    return Row({**facts, **tests, **texts}, str(folder))


def _instance(row: Row) -> Instance:
    return Row({**row.data, "place": row.place}, row.place).read(Instance)
