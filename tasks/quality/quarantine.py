"""Tasks that a suite is better without: what `plateau tasks validate` writes and runs skip."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from plateau_bench.tasks.base import Split, Task
from plateau_bench.tasks.files import json_of, text_of
from plateau_bench.tasks.suite import FixedSuite, Suite
from plateau_bench.validate import validated

NAME = "quarantine.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Why one task is out."""

    digest: str
    """The digest of the task as it was looked at; a task that has changed since is back in."""
    kind: str
    reason: str


Quarantine = Mapping[str, Entry]
"""Task id -> why it is out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _List:
    tasks: dict[str, Entry]


def quarantine_path(suite: str) -> Path:
    """Where the list of a suite lies: in its folder, or beside its file; for other suites, here."""
    path = Path(suite)
    if path.is_dir():
        return path / NAME
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return path.with_name(f"{stem}.{NAME}")


def read_quarantine(path: Path) -> Quarantine:
    """The list in a file. Raises ValueError that names the file and the key."""
    return validated(_List, json_of(text_of(path), str(path)), str(path)).tasks


def write_quarantine(path: Path, quarantine: Quarantine) -> None:
    """Write the list, whole or not at all."""
    rows = {name: asdict(entry) for name, entry in sorted(quarantine.items())}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"tasks": rows}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def is_quarantined(task: Task, quarantine: Quarantine) -> bool:
    """Whether the task is on the list as it is now."""
    entry = quarantine.get(task.id)
    return entry is not None and entry.digest == task.digest


class WithoutQuarantined:
    """A suite without the tasks in quarantine. Human data stays as it is."""

    def __init__(self, suite: Suite, quarantine: Quarantine) -> None:
        if isinstance(suite, FixedSuite):
            left = [task for task in suite.tasks if not is_quarantined(task, quarantine)]
            suite = suite.with_tasks(left, f" without the {len(suite.tasks) - len(left)} in quarantine")
        self._suite, self._quarantine = suite, quarantine
        self.name, self.tasks = suite.name, suite.tasks
        self.has_human_data, self.shares_parts = suite.has_human_data, suite.shares_parts
        self.corpus, self.fresh_human = suite.corpus, suite.fresh_human
        self.held_out_text = suite.held_out_text

    def with_visible(self, count: int) -> Suite:
        return WithoutQuarantined(self._suite.with_visible(count), self._quarantine)

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
            left = [task for task in drawn if not is_quarantined(task, self._quarantine)]
            if len(left) >= count:
                return tuple(left[:count])
            wanted += count - len(left)
