"""Rows of other projects, checked and made a folder that `tasks.suite` can name.

Beside the tasks the folder holds `suite.json`: where they came from.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from plateau_bench.tasks.base import Task
from plateau_bench.tasks.formats.humaneval import read_row
from plateau_bench.tasks.formats.rows import IMPORTED, Row, read_rows

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """The result of an import."""

    tasks: tuple[Task, ...]
    refused: tuple[str, ...]
    """One line for each row that was left out, which names it and says why."""


def import_into(
    out: Path,
    source: Path,
    rows: Iterable[T],
    add: Callable[[Path, T], None],
    *,
    skip: bool,
    card: Mapping[str, object],
) -> tuple[str, ...]:
    """Make the new folder `out`, whole or not at all; `add` puts into it what one row makes.

    `skip` leaves rows out that cannot be tasks; what is wrong with them is given back. `card`: what
    `suite.json` says besides. Raises ValueError for the first such row otherwise, if no row is left, and if
    `out` is there already.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; choose a new folder")
    refused: list[str] = []
    made = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for row in rows:
            try:
                add(part, row)
                made += 1
            except ValueError as error:
                if not skip:
                    raise
                refused.append(str(error))
        if not made:
            raise ValueError(f"{source}: no row of it can be a task; the first: {(refused or ['none'])[0]}")
        facts = {"source": source.name, "tasks": made, "refused": refused, **card}
        if source.is_file():
            facts["sha256"] = hashlib.sha256(source.read_bytes()).hexdigest()
        (part / "suite.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        part.chmod(0o755)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return tuple(refused)


def import_rows(source: Path, out: Path, *, skip: bool = False) -> Imported:
    """Copy rows of HumanEval, EvalPlus or MBPP into `tasks.jsonl` in the new folder `out`.

    `skip` and the errors are those of `import_into`.
    """
    tasks: dict[str, Task] = {}
    licences: Counter[str] = Counter()

    def add(folder: Path, row: Row) -> None:
        task = read_row(row)
        if task.id in tasks:
            raise ValueError(f"{row.place}: task_id {task.id!r} was there before")
        tasks[task.id] = task
        licences[task.tags["licence"]] += 1
        with (folder / IMPORTED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row.data)) + "\n")

    refused = import_into(out, source, read_rows(source), add, skip=skip, card={"licences": licences})
    return Imported(tasks=tuple(tasks.values()), refused=refused)
