"""SWE-bench's files of predictions, as an agent.

A prediction is {"instance_id", "model_name_or_path", "model_patch"}, one per line of a .jsonl, or a list or a
table by id in a .json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plateau_bench.agents.base import Agent, Ending, Trajectory
from plateau_bench.sandbox.base import Sandbox
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.formats.rows import read_rows
from plateau_bench.validate import Text

MISSING = "no prediction"
UNFIT = "the patch does not apply"
"""What a trajectory's `error` says of a task without prediction, and of a patch that does not fit."""
_APPLY = (
    "git apply --whitespace=nowarn {0} || (patch --batch --fuzz=5 -p1 --dry-run -i {0} "
    "&& patch --batch --fuzz=5 --no-backup-if-mismatch -p1 -i {0})"
)
"""Strictly, then as loosely as the published harness does, but all of a patch or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """A file of predictions."""

    model: str
    patches: Mapping[str, str]
    """By instance id; '' for none."""


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """One row of a file of predictions."""

    instance_id: Text
    model_name_or_path: Text
    model_patch: Text | None = None


def read_predictions(path: Path) -> Predicted:
    """Raises ValueError naming the file, the row and the key; also for two models, or an id given twice."""
    patches: dict[str, str] = {}
    models = set()
    for row in read_rows(path, table_by="instance_id"):
        found = row.read(PredictionRow)
        if found.instance_id in patches:
            raise ValueError(f"{row.place}: instance_id {found.instance_id!r} was there before")
        patches[found.instance_id] = found.model_patch or ""
        models.add(found.model_name_or_path)
    if len(models) > 1:
        raise ValueError(
            f"{path}: holds predictions of several models ({', '.join(sorted(models))}); split it"
        )
    return Predicted(model=models.pop(), patches=patches)


class Predictions(Agent):
    """An agent that applies the patch of a file to its box."""

    needs_box = True

    def __init__(self, tasks: Sequence[Task], predicted: Predicted) -> None:
        """Raises ValueError if the file has a patch for none of the tasks."""
        if not {task.id for task in tasks} & predicted.patches.keys():
            raise ValueError(f"predictions of {predicted.model}: none is for a task of this suite")
        self.name = predicted.model
        self._ids = {task.instruction: task.id for task in tasks}
        self._patches = predicted.patches

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        patch = self._patches.get(self._ids[instruction])
        errors = [MISSING if patch is None else _apply(patch, box) for box in boxes]
        return [
            Trajectory(
                agent="predictions",
                model=self.name,
                seed=seed,
                answer="",
                ending=Ending.MALFORMED if error == UNFIT else Ending.CRASHED if error else Ending.SUBMITTED,
                error=error,
            )
            for seed, error in zip(seeds, errors, strict=True)
        ]


def _apply(patch: str, box: Sandbox) -> str:
    """What went wrong, or ""."""
    if not patch.strip():
        return ""
    place = "/tmp/model.patch"
    box.write(place, patch.encode())
    return "" if box.run(_APPLY.format(place), timeout_s=120).exit_code == 0 else UNFIT
