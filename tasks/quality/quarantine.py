"""Tasks that a suite is better without: what `plateau tasks validate` writes and runs skip."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from plateau_bench.tasks.base import Split, Task
from plateau_bench.tasks.suite import Derived, FixedSuite, Suite

NAME = "quarantine.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Why one task is out."""

    digest: str
    """Of the task as it was looked at; a task that has changed since is back in."""
    kind: str
    reason: str


Quarantine = Mapping[str, Entry]
"""Task id -> why it is out."""


def beside(suite: str) -> Path:
    """Where the list of a suite lies: in its folder, or beside its file; for a built-in one, here."""
    path = Path(suite)
    if path.is_dir():
        return path / NAME
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return path.with_name(f"{stem}.{NAME}")


def read_quarantine(path: Path) -> Quarantine:
    """Raises ValueError naming the file and the key."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not a list of tasks ({error})") from None
    tasks = data.get("tasks") if isinstance(data, dict) else None
    if not isinstance(tasks, dict):
        raise ValueError(f"{path}: tasks must be a table of task ids")
    found = {}
    for name, entry in tasks.items():
        keys = ("digest", "kind", "reason")
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in keys):
            raise ValueError(f"{path}: tasks.{name} must have digest, kind and reason, each a string")
        found[name] = Entry(**{key: entry[key] for key in keys})
    return found


def write_quarantine(path: Path, quarantine: Quarantine) -> None:
    rows = {name: asdict(entry) for name, entry in sorted(quarantine.items())}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"tasks": rows}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def is_out(task: Task, quarantine: Quarantine) -> bool:
    entry = quarantine.get(task.id)
    return entry is not None and entry.digest == task.digest


class Rest(Derived):
    """A suite without the tasks in quarantine. Human data stays as it is."""

    def __init__(self, suite: Suite, quarantine: Quarantine) -> None:
        super().__init__(suite)
        self._quarantine = quarantine
        if isinstance(suite, FixedSuite):
            left = [task for task in suite.tasks if not is_out(task, quarantine)]
            self._suite = suite.of(left, f" without the {len(suite.tasks) - len(left)} in quarantine")

    def train_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return self._draw(Split.TRAIN, seed, count)

    def held_out_tasks(self, seed: int, count: int) -> tuple[Task, ...]:
        return self._draw(Split.HELD_OUT, seed, count)

    def _draw(self, split: Split, seed: int, count: int) -> tuple[Task, ...]:
        """A generated suite is asked for more until enough are left; its first tasks stay the same."""
        draw = self._suite.train_tasks if split is Split.TRAIN else self._suite.held_out_tasks
        wanted = count
        while True:
            drawn = draw(seed, wanted)
            left = [task for task in drawn if not is_out(task, self._quarantine)]
            if len(left) >= count:
                return tuple(left[:count])
            wanted += count - len(left)
