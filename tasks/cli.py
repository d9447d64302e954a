"""`plateau tasks ...`: parses and delegates."""

import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plateau_bench.sandbox import open_backend
from plateau_bench.tasks.base import Split, Task

if TYPE_CHECKING:
    from rich.progress import Progress

    from plateau_bench.tasks.formats.importing import Imported

# Suites, readers and graders are imported by the commands that use them, so that `plateau --help` is quick.

app = typer.Typer(no_args_is_help=True, help="Suites of tasks: look, import, prove, build images.")
importers = typer.Typer(no_args_is_help=True, help="Make a suite folder from rows of other projects.")
app.add_typer(importers, name="import")

SuiteName = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="'katas', 'repo-katas', a folder of task folders, a file of rows, or a suite in Python.",
    ),
]
Count = Annotated[int, typer.Option("--tasks", help="For a suite that makes tasks: how many of each split.")]
Seed = Annotated[int, typer.Option(help="For a suite that makes tasks.")]
NewFolder = Annotated[Path, typer.Option(help="A new folder, which tasks.suite can name.")]
Skip = Annotated[bool, typer.Option(help="Leave rows out that cannot be tasks.")]


def every_task(suite: str, count: int, seed: int) -> tuple[Task, ...]:
    """All tasks of a fixed suite; `count` of each split of one that makes tasks."""
    from plateau_bench.tasks.loading import load_suite

    found = load_suite(suite, network=())  # nothing here opens a box with a network
    if found.tasks is not None:
        return found.tasks
    return (*found.train_tasks(seed, count), *found.held_out_tasks(seed, count))


@app.command("list")
def list_tasks(
    suite: SuiteName,
    rows: Annotated[bool, typer.Option("--rows", help="One line for every task, too.")] = False,
    count: Count = 200,
    seed: Seed = 0,
) -> None:
    """Say how large a suite is: splits, strata, clusters, kinds of tests, licences, quarantine."""
    from plateau_bench.tasks.quality.quarantine import is_quarantined, quarantine_path, read_quarantine

    tasks = every_task(suite, count, seed)
    summary = {
        "tasks": [task.split.value for task in tasks],
        "strata": [task.stratum or "none" for task in tasks],
        "tests": [type(task.tests).__name__.removesuffix("Tests").lower() for task in tasks],
        "licences": [task.tags.get("licence", "not stated") for task in tasks],
    }
    for name, values in summary.items():
        typer.echo(f"{name:12} " + ", ".join(f"{n} {key}" for key, n in Counter(values).most_common(12)))
    typer.echo(f"{'clusters':12} {len({task.cluster or task.id for task in tasks})}")
    place = quarantine_path(suite)
    if place.exists():
        quarantine = read_quarantine(place)
        out = [task for task in tasks if is_quarantined(task, quarantine)]
        typer.echo(f"{'quarantine':12} {len(out)} (see {place})")
    for task in tasks if rows else ():
        typer.echo(f"{task.split:9} {task.stratum or '-':8} {task.id}")


@app.command()
def show(
    suite: SuiteName,
    task: Annotated[str, typer.Argument(help="Its id, or the end of it.")],
    solution: Annotated[bool, typer.Option("--solution", help="The reference solution, too.")] = False,
    count: Count = 200,
    seed: Seed = 0,
) -> None:
    """Show one task: what an agent is told, and what is known about it."""
    tasks = every_task(suite, count, seed)
    named = [one for one in tasks if one.id == task] or [one for one in tasks if one.id.endswith(task)]
    if len(named) != 1:
        raise ValueError(
            f"{suite}: {len(named) or 'no'} tasks are called {task!r}; see 'plateau tasks list --rows'"
        )
    (found,) = named
    facts = {"id": found.id, "split": found.split, "stratum": found.stratum, "cluster": found.cluster}
    facts |= {"digest": found.digest, "image": found.box.image} | dict(found.tags)
    for key, value in facts.items():
        typer.echo(f"{key:14} {value}")
    typer.echo(f"\n{found.instruction}")
    if solution:
        typer.echo(f"\n--- solution\n{found.solution or 'in its folder, if it has one'}")


@app.command()
def validate(
    suite: SuiteName,
    out: Annotated[
        Path | None,
        typer.Option(help="The quarantine list; default: in the suite's folder, or beside its file."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each attempt is graded.")] = 3,
    workers: Annotated[int, typer.Option(help="Tasks at a time; 0: one per CPU core.")] = 0,
    sandbox: Annotated[str, typer.Option(help="docker, bubblewrap or auto")] = "auto",
    count: Count = 200,
    seed: Seed = 0,
) -> None:
    """Prove a suite without a model: solutions pass, the untouched start fails, verdicts repeat.

    What fails goes to a quarantine list, which runs heed. Exits with 1 if a task is in quarantine.
    """
    from plateau_bench.tasks.quality.proof import OUT, Finding, Kind, prove, quarantine_of, read_log
    from plateau_bench.tasks.quality.quarantine import quarantine_path, write_quarantine

    tasks = every_task(suite, count, seed)
    place = out or quarantine_path(suite)
    if not place.parent.is_dir():
        raise ValueError(f"--out: {place.parent} is no folder")
    log = place.with_name(place.name.removesuffix(".json") + ".log.jsonl")
    seen: Counter[Kind] = Counter()
    started = time.monotonic()
    known = len(read_log(log, repeats))
    with _bar("validating", len(tasks)) as bar:

        def found(finding: Finding) -> None:
            seen[finding.kind] += 1
            if finding.kind is not Kind.SOUND:
                bar.console.out(f"{finding.kind}: {finding.task}: {finding.reason}", highlight=False)
            bar.update(bar.task_ids[0], advance=1, note=f"{sum(seen[kind] for kind in OUT)} out")

        findings = prove(tasks, open_backend(sandbox), repeats=repeats, workers=workers, log=log, found=found)
    write_quarantine(place, quarantine_of(findings))
    typer.echo(", ".join(f"{number} {kind}" for kind, number in seen.most_common()))
    spent, attempts = time.monotonic() - started, 2 * repeats * max(0, len(tasks) - known)
    typer.echo(f"{attempts} attempts graded in {spent / 60:.1f} minutes, {attempts / spent:.0f} per second")
    typer.echo(f"quarantine list: {place}")
    raise typer.Exit(1 if any(finding.kind in OUT for finding in findings) else 0)


@app.command()
def build(
    suite: SuiteName,
    at_once: Annotated[int, typer.Option(min=1, help="Images built at the same time.")] = 2,
    limit: Annotated[int, typer.Option(help="At most so many images; 0: all.")] = 0,
    sandbox: Annotated[str, typer.Option(help="The backend that builds them.")] = "docker",
) -> None:
    """Build the images of a suite's task folders ahead of a run; checks the engine's disk first."""
    from plateau_bench.tasks.formats import building

    images = building.to_build(every_task(suite, 1, 0))
    chosen = dict(islice(images.items(), limit or None))
    failed = 0
    with _bar("building", len(chosen)) as bar:
        for image, problem in building.build(chosen, open_backend(sandbox), at_once=at_once):
            if problem:
                failed += 1
                bar.console.out(f"{image} ({chosen[image]}): {problem}", highlight=False)
            bar.advance(bar.task_ids[0])
    typer.echo(f"{len(chosen) - failed} images are there, {failed} could not be built")
    raise typer.Exit(1 if failed else 0)


@importers.command()
def humaneval(
    rows: Annotated[Path, typer.Argument(help="HumanEval, EvalPlus or MBPP rows: .jsonl, .jsonl.gz, .json")],
    out: NewFolder,
    skip: Skip = False,
) -> None:
    """Check rows of HumanEval, EvalPlus or MBPP and copy them into a suite folder."""
    from plateau_bench.tasks.formats.importing import import_rows

    _imported(import_rows(rows, out, skip=skip), out)


@importers.command("swe-bench")
def swe_bench(
    rows: Annotated[Path, typer.Argument(help="Rows: .jsonl, .json, .parquet; or the folder of sweb.yaml.")],
    repos: Annotated[
        str,
        typer.Option(
            help="Folder with the repositories (owner/name, owner__name, name), a URL before owner/name "
            "(https://github.com), or a pattern with {owner} and {name}."
        ),
    ],
    out: NewFolder,
    images: Annotated[str, typer.Option(help="built, or published: by name.")] = "built",
    base: Annotated[
        str, typer.Option(help="Image to build on; default: python:3.X-slim of the row's year.")
    ] = "",
    install: Annotated[str, typer.Option(help="Shell command that installs the project; default: pip.")] = "",
    split: Annotated[
        str, typer.Option(help="held_out or train, for all; default: by the repository's hash.")
    ] = "",
    skip: Skip = False,
) -> None:
    """Make task folders of SWE-bench's rows: repository at base_commit, hidden tests, the gold patch."""
    from plateau_bench.tasks.formats.swebench_folders import Wanted, import_swebench

    if images not in ("built", "published"):
        raise ValueError(f"--images: {images!r} is neither built nor published")
    if split not in ("", *Split):
        raise ValueError(f"--split: {split!r} is neither held_out nor train")
    wanted = Wanted(
        repos=repos,
        published=images == "published",
        base=base,
        install=install,
        split=Split(split) if split else None,
    )
    first = "" if wanted.published else f"plateau tasks build {out}, then "
    _imported(import_swebench(rows, out, wanted, skip=skip), out, first)


def _imported(done: "Imported", out: Path, first: str = "") -> None:
    for line in done.refused:
        typer.echo(f"left out: {line}")
    typer.echo(f"{len(done.tasks)} tasks in {out}; now prove them: {first}plateau tasks validate {out}")


def _bar(title: str, total: int) -> "Progress":
    """A progress bar on a terminal; elsewhere only what is printed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    bar.add_task(title, total=total, note="")
    return bar
