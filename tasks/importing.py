"""Rows of other projects, checked and copied into a folder that `tasks.suite` can name.

The folder holds `tasks.jsonl`, the rows as they were, and `suite.json`: where they came from.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tasks.base import Task
from tasks.published import read_row
from tasks.rows import IMPORTED, read_rows

CARD = "suite.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import did."""

    tasks: tuple[Task, ...]
    refused: tuple[str, ...]
    """Why a row was left out, naming it."""


def import_rows(source: Path, out: Path, *, skip: bool = False) -> Imported:
    """Copy rows of HumanEval, EvalPlus or MBPP into the new folder `out`.

    `skip` leaves rows out that cannot be tasks. Raises ValueError for the first of them otherwise, if no row
    is left, and if `out` is there already.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; choose a new folder")
    tasks: dict[str, Task] = {}
    rows, refused = [], []
    for row in read_rows(source):
        try:
            task = read_row(row)
            if task.id in tasks:
                raise ValueError(f"{row.place}: task_id {task.id!r} was there before")
        except ValueError as error:
            if not skip:
                raise
            refused.append(str(error))
            continue
        tasks[task.id] = task
        rows.append(json.dumps(dict(row.data)))
    if not rows:
        raise ValueError(f"{source}: no row of it can be a task; the first: {refused[0]}")
    card = {
        "source": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "tasks": len(rows),
        "refused": refused,
        "licences": dict(Counter(task.tags["licence"] for task in tasks.values())),
    }
    out.mkdir(parents=True)
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    part = out / (IMPORTED + ".part")  # the rows make it a suite, so they come last, whole
    part.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    part.replace(out / IMPORTED)
    return Imported(tasks=tuple(tasks.values()), refused=tuple(refused))
