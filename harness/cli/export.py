"""`plateau export`: the attempts of a run or an evaluation, for other projects' tools."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from plateau_bench.results.exports.formats import FORMATS, Source
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import RunStore
from plateau_bench.tasks.base import Outcome, Task


def export(
    folder: Annotated[Path, typer.Argument(help="A folder of 'plateau run' or 'plateau eval'.")],
    format: Annotated[str, typer.Option(help=", ".join(FORMATS))],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    arm: Annotated[
        str | None, typer.Option(help="Only this arm (with the round 0 that all share), or this agent.")
    ] = None,
    round: Annotated[int | None, typer.Option(help="Only this round.")] = None,
    split: Annotated[
        str | None, typer.Option(help="train or held_out; of a run, sft takes train unless told.")
    ] = None,
    only_successes: Annotated[bool, typer.Option(help="Only what passed the hidden tests.")] = False,
) -> None:
    """Write trajectories as ATIF, mini-swe-agent, Inspect, Harbor or fine-tuning files."""
    from plateau_bench.harness.config import SHARED

    write = FORMATS.get(format)
    if write is None:
        raise ValueError(f"--format: {format!r} is none of {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out: {out} is there already; choose a new folder")
    is_run = (folder / "run.json").exists()
    if split is None and format == "sft" and is_run:
        split = "train"

    def wanted(attempt: Attempt) -> bool:
        return (
            (arm is None or attempt.arm in (arm, SHARED))
            and (round is None or attempt.round == round)
            and (split is None or attempt.split.value == split)
            and (not only_successes or attempt.verdict.outcome is Outcome.PASSED)
        )

    attempts = RunStore(folder).attempts() if is_run else _evaluated(folder)
    made = datetime.fromtimestamp((folder / ("run.json" if is_run else "eval.json")).stat().st_mtime, UTC)
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


def _evaluated(folder: Path) -> Iterator[Attempt]:
    from plateau_bench.harness.evals.evaluation import scores_of

    return (attempt for attempts in scores_of(folder).values() for attempt in attempts)


def _instructions(folder: Path, is_run: bool) -> Callable[[Attempt], str]:
    """The suite is read only if it is asked for."""
    known: dict[int, dict[str, Task]] = {}

    def instruction(attempt: Attempt) -> str:
        if not known:
            from plateau_bench.harness.evals.evaluation import read_evaluation
            from plateau_bench.harness.rounds.regrade import tasks_of_run

            if is_run:
                known.update(tasks_of_run(folder)[1])
            else:
                what = read_evaluation(folder)
                known[what.seed] = {task.id: task for task in what.chosen()}
        task = known.get(attempt.seed, {}).get(attempt.task_id)
        if task is None or task.digest != attempt.task_digest:
            raise ValueError(f"{attempt.task_id}: the suite has changed, so what was asked is not known")
        return task.instruction

    return instruction
