"""`plateau run`, `resume`, `report` and `regrade`: a run of self-training, from its config to its page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from plateau_bench.harness.cli.terminal import fail
from plateau_bench.harness.config import load_config
from plateau_bench.results.store import EvalStore, RunStore

if TYPE_CHECKING:
    from plateau_bench.results.records import Attempt

Executor = Annotated[
    str, typer.Option(help="Where jobs run: local, or another executor (docs/strategies.md).")
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")]
AnyFolder = Annotated[Path, typer.Argument(help="A folder of 'plateau run' or 'plateau eval'.")]


def run(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/katas.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name of the config>.")] = None,
    or_resume: Annotated[bool, typer.Option(help="Continue if the folder already holds this run.")] = False,
    executor: Executor = "local",
) -> None:
    """Play rounds of self-training for every arm of a config and write report.html."""
    from plateau_bench.harness.rounds.loop import play, start
    from plateau_bench.harness.rounds.progress import Display

    settings = load_config(config)
    root = out or Path("runs") / settings.name
    begin = play if or_resume else start
    _carry_through(root, lambda: begin(settings, root, Display(), executor))


def resume(folder: RunFolder, executor: Executor = "local") -> None:
    """Continue a run that was stopped; nothing that finished is repeated."""
    from plateau_bench.harness.rounds import loop
    from plateau_bench.harness.rounds.progress import Display

    _carry_through(folder, lambda: loop.resume(folder, Display(), executor))


def report(folder: RunFolder) -> None:
    """Write report.html and report.json again from the rounds that are finished."""
    from plateau_bench.results.report.content import write_report

    _tell(write_report(RunStore(folder).results(), folder))


def regrade(folder: AnyFolder) -> None:
    """Grade every answer of a run or an evaluation again, without agents; exits with 1 if a verdict changes.

    An evaluation takes the new verdicts; a run's records stay as they are.
    """
    from plateau_bench.harness.evals.regrade import regrade_evaluation
    from plateau_bench.harness.rounds.regrade import regrade as regrade_run

    def progress(done: int) -> None:
        typer.echo(f"{done} attempts graded", err=True)

    if EvalStore(folder).manifest.exists():
        _regraded(regrade_evaluation(folder, progress, lambda line: typer.echo(line, err=True)))
    found = regrade_run(folder, progress)
    typer.echo(f"{found.attempts} attempts graded again, {len(found.changed)} verdicts changed")
    for row in found.changed[:20]:
        where = f"seed {row['seed']} {row['arm']} round {row['round']} {row['task']}#{row['sample']}"
        typer.echo(f"  {where}: {row['was']} -> {row['is']} {row['reason']}")
    raise typer.Exit(1 if found.changed else 0)


def _regraded(pairs: "list[tuple[Attempt, Attempt]]") -> NoReturn:
    changed = [(was, now) for was, now in pairs if was.verdict != now.verdict]
    differ = [(was, now) for was, now in changed if was.verdict.outcome is not now.verdict.outcome]
    typer.echo(f"{len(pairs)} attempts graded again, {len(differ)} verdicts changed")
    for was, now in differ[:20]:
        outcomes = f"{was.verdict.outcome} -> {now.verdict.outcome}"
        typer.echo(f"  {was.arm} {was.task_id}#{was.sample}: {outcomes} {now.verdict.reason}")
    raise typer.Exit(1 if differ else 0)


def _carry_through(root: Path, work: Callable[[], Path]) -> None:
    """Run to the end and tell the result; Ctrl-C says how to go on."""
    try:
        page = work()
    except KeyboardInterrupt:
        fail(f"stopped; everything finished is kept, continue with 'plateau resume {root}'", 130)
    _tell(page)


def _tell(page: Path) -> None:
    """Print the end of a run: a short table, the claims, and where to look."""
    from rich.console import Console

    from plateau_bench.results.report.content import terminal_table

    content = json.loads(page.with_suffix(".json").read_text())
    console = Console()
    console.print(terminal_table(content))
    console.print(content["summary"][0], highlight=False, markup=False)
    console.print(
        f"\nfigures, claims and what they mean: {page}", highlight=False, markup=False, soft_wrap=True
    )
