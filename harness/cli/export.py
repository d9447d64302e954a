"""`plateau export`: the attempts of a run or an evaluation, for other projects' tools."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from plateau_bench.harness.cli.numbers import number
from plateau_bench.results.exports.formats import FORMATS, find_format
from plateau_bench.results.exports.source import Source
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import SHARED, EvalStore, RunStore
from plateau_bench.tasks.base import Outcome, Task


def export(
    folder: Annotated[Path, typer.Argument(help="A folder of 'plateau run' or 'plateau eval'.")],
    format: Annotated[str, typer.Option(help=", ".join(FORMATS) + ", or that of an installed package.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    arm: Annotated[
        str | None, typer.Option(help="Only this arm (with the round 0 that all share), or this agent.")
    ] = None,
    round: Annotated[int | None, typer.Option(help="Only this round.", callback=number(0))] = None,
    split: Annotated[
        str | None, typer.Option(help="train or held_out; of a run, sft takes train unless told.")
    ] = None,
    only_successes: Annotated[bool, typer.Option(help="Only what passed the hidden tests.")] = False,
) -> None:
    """Write trajectories as ATIF, mini-swe-agent, Inspect, Harbor or fine-tuning files."""
    write = find_format(format)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out: {out} is there already; choose a new folder")
    run, evaluation = RunStore(folder), EvalStore(folder)
    is_run = run.manifest.exists()
    if split is None and format == "sft" and is_run:
        split = "train"

    def wanted(attempt: Attempt) -> bool:
        return (
            (arm is None or attempt.arm in (arm, SHARED))
            and (round is None or attempt.round == round)
            and (split is None or attempt.split.value == split)
            and (not only_successes or attempt.verdict.outcome is Outcome.PASSED)
        )

    attempts = run.attempts() if is_run else chain.from_iterable(evaluation.scores().values())
    made = datetime.fromtimestamp((run if is_run else evaluation).manifest.stat().st_mtime, UTC)
    source = Source(
        name=folder.resolve().name,
        created=made.isoformat(),
        attempts=filter(wanted, attempts),
        instruction=_instructions(folder, is_run),
    )
    count = 0
    for path, data in write(source):
        place = out / path
        if place.exists():
            raise ValueError(f"{folder}: two attempts would both be {path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        count += 1
    if not count:
        raise ValueError(f"{folder}: no attempt is left with --arm, --round, --split and --only-successes")
    typer.echo(f"{count} files in {out}")


def _instructions(folder: Path, is_run: bool) -> Callable[[Attempt], str]:
    """What was asked in an attempt. The suite is read only if somebody wants to know."""
    from plateau_bench.harness.evals.evaluation import read_evaluation
    from plateau_bench.harness.rounds.regrade import task_of, tasks_of_run

    @cache
    def known() -> dict[int, dict[str, Task]]:
        if is_run:
            return tasks_of_run(folder)[1]
        what = read_evaluation(folder)
        return {what.seed: {task.id: task for task in what.chosen()}}

    return lambda attempt: task_of(attempt, known()).instruction
