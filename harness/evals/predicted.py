"""SWE-bench's files: predictions as an agent, and the predictions and the run report of an evaluation.

A prediction is {"instance_id", "model_name_or_path", "model_patch"}, one per line of a .jsonl, or a list or a
table by id in a .json. The run report `<model>.<run_id>.json` has the fields of its schema version 2.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.results.records import Attempt
from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError
from plateau_bench.sandbox.diffs import steps_from_text
from plateau_bench.tasks.base import Outcome, Task
from plateau_bench.tasks.formats.rows import read_rows
from plateau_bench.validate import Text

_MISSING = "no prediction"
_UNFIT = "the patch does not apply"
_APPLY = (
    "git apply --whitespace=nowarn {0} || (patch --batch --fuzz=5 -p1 --dry-run -i {0} "
    "&& patch --batch --fuzz=5 --no-backup-if-mismatch -p1 -i {0})"
)
"""Strictly, then as loosely as the published harness does, but all of a patch or nothing."""
_DIFF = "git update-index --add --remove -z --stdin && git diff --cached --binary --no-color HEAD"
_OUTPUT_KB = 20_000


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


class Predictions:
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
        errors = [_MISSING if patch is None else _apply(patch, box) for box in boxes]
        return [
            Trajectory(
                agent="predictions",
                model=self.name,
                seed=seed,
                answer="",
                ending=Ending.MALFORMED if error == _UNFIT else Ending.CRASHED if error else Ending.SUBMITTED,
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
    return "" if box.run(_APPLY.format(place), timeout_s=120).exit_code == 0 else _UNFIT


def patch_of(task: Task, diff: Diff, backend: Backend) -> str:
    """What an attempt changed as a patch against the repository in the task's image; '' for nothing.

    Raises SandboxError if the box breaks or holds no repository.
    """
    written = {path: data for path, data in diff.written.items() if not path.startswith(".git/")}
    paths = [*written, *(path for path in diff.deleted if not path.startswith(".git/"))]
    if not paths:
        return ""
    box = backend.open(replace(task.box, network=(), output_kb=_OUTPUT_KB))
    try:
        for path in diff.deleted:
            box.run(["rm", "-f", "--", path])
        for path, data in written.items():
            box.write(path, data)
        done = box.run(_DIFF, timeout_s=120, stdin="\0".join(paths).encode() + b"\0")
    except (OSError, ValueError) as error:
        raise SandboxError(f"{task.id}: the box did not take the attempt's files: {error}") from error
    finally:
        box.close()
    if done.exit_code != 0 or done.truncated:
        raise SandboxError(f"{task.id}: git makes no patch of it: {done.stderr.strip()[-200:] or 'too long'}")
    return done.stdout


def run_report(attempts: Mapping[str, Attempt | None], patches: Mapping[str, str]) -> dict[str, Any]:
    """The run report. `attempts`: one of each task of the suite, None where there is none."""
    there = {name: one for name, one in attempts.items() if one and one.trajectory.error != _MISSING}
    broken = {name for name, one in there.items() if one.verdict.outcome is Outcome.INFRA}
    errors = broken | {name for name, one in there.items() if one.trajectory.error == _UNFIT}
    empty = {name for name in there if not patches.get(name) and name not in errors}
    done = there.keys() - errors - empty
    resolved = {name for name in done if there[name].verdict.outcome is Outcome.PASSED}
    lists: dict[str, Any] = {
        "completed": done,
        "incomplete": attempts.keys() - there.keys(),
        "empty_patch": empty,
        "submitted": there.keys(),
        "resolved": resolved,
        "unresolved": done - resolved,
        "infra_failure": broken,
        "ambiguous_failure": set(),
        "error": errors,
    }
    counted = (
        "submitted", "completed", "resolved", "unresolved", "infra_failure", "ambiguous_failure",
        "empty_patch", "error",
    )  # fmt: skip
    return {
        "total_instances": len(attempts),
        **{f"{key}_instances": len(lists[key]) for key in counted},
        **{f"{key}_ids": sorted(names) for key, names in lists.items()},
        "failure_reasons": {name: there[name].verdict.reason for name in sorted(broken)},
        "schema_version": 2,
    }


def predictions(
    folder: Annotated[Path, typer.Argument(help="A folder of 'plateau eval' on a suite of SWE-bench tasks.")],
    out: Annotated[Path, typer.Option(help="Where predictions.jsonl and <model>.<run id>.json go.")],
    agent: Annotated[str | None, typer.Option(help="Which agent, if there are several.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Default: the folder's name.")] = None,
    sample: Annotated[int, typer.Option(help="Which attempt of each task.")] = 0,
    sandbox: Annotated[str, typer.Option(help="docker, bubblewrap or auto.")] = "auto",
) -> None:
    """Write SWE-bench's predictions.jsonl and run report of an evaluation."""
    from plateau_bench.harness.evals.evaluation import read_evaluation, scores_of
    from plateau_bench.results.store import write_bytes
    from plateau_bench.sandbox import open_backend

    scores = scores_of(folder)
    chosen = agent or (next(iter(scores)) if len(scores) == 1 else "")
    if chosen not in scores:
        raise ValueError(f"--agent: name one of {', '.join(scores) or 'none: nothing was evaluated yet'}")
    made = {one.task_id: one for one in scores[chosen] if one.sample == sample}
    tasks = {task.id: task for task in read_evaluation(folder).chosen()}
    attempts = {name: made.get(name) for name in tasks}
    backend = open_backend(sandbox)
    patches = {
        name: patch_of(tasks[name], steps_from_text(one.trajectory.answer)[-1], backend)
        for name, one in attempts.items()
        if one and one.trajectory.boxed and one.trajectory.answer
    }
    model = next((one.trajectory.model for one in made.values() if one.trajectory.model), chosen)
    report = run_report(attempts, patches)
    rows = [
        {"instance_id": name, "model_name_or_path": model, "model_patch": patches.get(name, "")}
        for name in report["submitted_ids"]
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    page = out / f"{model.replace('/', '__')}.{run_id or folder.resolve().name}.json"
    write_bytes(page, (json.dumps(report, indent=4) + "\n").encode())
    typer.echo(f"{report['resolved_instances']} of {report['total_instances']} resolved: {page}")
