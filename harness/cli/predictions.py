"""`plateau predictions`: SWE-bench's predictions and run report of an evaluation.

The run report `<model>.<run_id>.json` has the fields of its schema version 2.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from plateau_bench.harness.cli.numbers import number
from plateau_bench.harness.evals.predicted import MISSING, UNFIT
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore, write_bytes
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, Diff, Sandbox, SandboxError
from plateau_bench.sandbox.diffs import steps_from_text
from plateau_bench.tasks.base import Outcome, Task
from plateau_bench.validate import folder_name

_PATCH = ".git/plateau.patch"
_STAGE = "git update-index --add --remove -z --stdin"
_DIFF = [
    "git",
    "--literal-pathspecs",
    "diff",
    "--cached",
    "--binary",
    "--no-color",
    f"--output={_PATCH}",
    "HEAD",
]
_AS_BYTES = "mkdir -p .git/info && echo '* -diff' > .git/info/attributes"
_OUTPUT_KB = 20_000


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
        _git(box, _STAGE, stdin="\0".join(paths).encode("utf-8", "surrogateescape") + b"\0")
        return _patch(box, sorted(paths))
    except (OSError, ValueError) as error:
        raise SandboxError(f"{task.id}: the box did not take the attempt's files: {error}") from error
    except SandboxError as error:
        raise SandboxError(f"{task.id}: git makes no patch of it: {error}") from error
    finally:
        box.close()


def _patch(box: Sandbox, paths: list[str]) -> str:
    """The patch as text. A file in another encoding than UTF-8 goes as git's base85: its bytes count."""
    if (text := _diff(box, [])) is not None:
        return text
    told = {path: _diff(box, [path]) for path in paths}
    _git(box, _AS_BYTES)
    return "".join((_diff(box, [path]) or "") if text is None else text for path, text in told.items())


def _diff(box: Sandbox, paths: list[str]) -> str | None:
    """What git says of these paths, of all if none are named; None if that is no UTF-8."""
    _git(box, [*_DIFF, "--", *paths])
    try:
        return box.read(_PATCH, max_bytes=1000 * _OUTPUT_KB).decode()
    except UnicodeDecodeError:
        return None


def _git(box: Sandbox, command: str | list[str], stdin: bytes = b"") -> None:
    done = box.run(command, timeout_s=120, stdin=stdin)
    if done.exit_code != 0:
        raise SandboxError(done.stderr.strip()[-200:] or f"exit code {done.exit_code}")


def run_report(attempts: Mapping[str, Attempt | None], patches: Mapping[str, str]) -> dict[str, Any]:
    """The run report. `attempts`: one of each task of the suite, None where there is none."""
    there = {name: one for name, one in attempts.items() if one and one.trajectory.error != MISSING}
    broken = {name for name, one in there.items() if one.verdict.outcome is Outcome.INFRA}
    errors = broken | {name for name, one in there.items() if one.trajectory.error == UNFIT}
    empty = {name for name in there if not patches.get(name) and name not in errors}
    done = there.keys() - errors - empty
    resolved = {name for name in done if there[name].verdict.outcome is Outcome.PASSED}
    groups: dict[str, Iterable[str]] = {
        "submitted": there.keys(),
        "completed": done,
        "resolved": resolved,
        "unresolved": done - resolved,
        "infra_failure": broken,
        "ambiguous_failure": (),
        "empty_patch": empty,
        "error": errors,
        "incomplete": attempts.keys() - there.keys(),
    }
    ids = {key: sorted(names) for key, names in groups.items()}
    return {
        "total_instances": len(attempts),
        **{f"{key}_instances": len(names) for key, names in ids.items() if key != "incomplete"},
        **{f"{key}_ids": names for key, names in ids.items()},
        "failure_reasons": {name: there[name].verdict.reason for name in sorted(broken)},
        "schema_version": 2,
    }


def predictions(
    folder: Annotated[Path, typer.Argument(help="A folder of 'plateau eval' on a suite of SWE-bench tasks.")],
    out: Annotated[Path, typer.Option(help="Where predictions.jsonl and <model>.<run id>.json go.")],
    agent: Annotated[str | None, typer.Option(help="Which agent, if there are several.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Default: the folder's name.")] = None,
    sample: Annotated[int, typer.Option(help="Which attempt of each task.", callback=number(0))] = 0,
    sandbox: Annotated[str, typer.Option(help="docker, bubblewrap or auto.")] = "auto",
) -> None:
    """Write SWE-bench's predictions.jsonl and run report of an evaluation."""
    from plateau_bench.harness.evals.evaluation import read_evaluation

    scores = EvalStore(folder).scores()
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
    run = folder_name(run_id, "--run-id") if run_id else folder.resolve().name
    page = out / f"{model.replace('/', '__')}.{run}.json"
    write_bytes(page, (json.dumps(report, indent=4) + "\n").encode())
    typer.echo(f"{report['resolved_instances']} of {report['total_instances']} resolved: {page}")
