"""The `plateau` command. Parses and delegates; a user's mistake is one line and a non-zero exit code."""

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from experiments.reproduce.cli import reproduce
from experiments.speed.cli import app as bench_app
from plateau_bench.harness.cli.analysis import app as analysis_app
from plateau_bench.harness.cli.detector import validate_detector
from plateau_bench.harness.cli.eval import compare, evaluate, leaderboard, show
from plateau_bench.harness.cli.export import export
from plateau_bench.harness.cli.strategies import strategies
from plateau_bench.harness.cli.sweep import sweep
from plateau_bench.harness.evals.predicted import predictions
from plateau_bench.sandbox.cli import app as sandbox_app
from plateau_bench.tasks.cli import app as tasks_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does agent self-improvement rise, plateau, or collapse? Measure it.",
)
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(tasks_app, name="tasks")
app.add_typer(bench_app, name="bench")
app.command("validate-detector")(validate_detector)
app.add_typer(analysis_app)
app.command()(reproduce)
app.command()(sweep)
app.command()(strategies)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(leaderboard)
app.command()(show)
app.command()(export)
app.command()(predictions)

Executor = Annotated[
    str, typer.Option(help="Where jobs run: local, or another executor (docs/strategies.md).")
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/katas.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name of the config>.")] = None,
    or_resume: Annotated[bool, typer.Option(help="Continue if the folder already holds this run.")] = False,
    executor: Executor = "local",
) -> None:
    """Play rounds of self-training for every arm of a config and write report.html."""
    from plateau_bench.harness.config import load_config
    from plateau_bench.harness.rounds.loop import play, start
    from plateau_bench.harness.rounds.progress import Display

    settings = load_config(config)
    root = out or Path("runs") / settings.name
    begin = play if or_resume else start
    _carry_through(root, lambda: begin(settings, root, Display(), executor))


@app.command()
def resume(folder: RunFolder, executor: Executor = "local") -> None:
    """Continue a run that was stopped; nothing that finished is repeated."""
    from plateau_bench.harness.rounds.loop import resume as resume_run
    from plateau_bench.harness.rounds.progress import Display

    _carry_through(folder, lambda: resume_run(folder, Display(), executor))


@app.command()
def report(folder: RunFolder) -> None:
    """Write report.html and report.json again from the rounds that are finished."""
    from plateau_bench.results.report.content import write_report
    from plateau_bench.results.store import RunStore

    _tell(write_report(RunStore(folder).results(), folder))


@app.command()
def regrade(folder: RunFolder) -> None:
    """Grade every answer of a run again, without running agents; exits with 1 if a verdict changes."""
    from plateau_bench.harness.rounds.regrade import regrade as regrade_run

    found = regrade_run(folder, lambda done: typer.echo(f"{done} attempts graded", err=True))
    typer.echo(f"{found.attempts} attempts graded again, {len(found.changed)} verdicts changed")
    for row in found.changed[:20]:
        where = f"seed {row['seed']} {row['arm']} round {row['round']} {row['task']}#{row['sample']}"
        typer.echo(f"  {where}: {row['was']} -> {row['is']} {row['reason']}")
    raise typer.Exit(1 if found.changed else 0)


def _carry_through(root: Path, work: Callable[[], Path]) -> None:
    """Run to the end and tell the result; Ctrl-C says how to go on."""
    try:
        page = work()
    except KeyboardInterrupt:
        _fail(f"stopped; everything finished is kept, continue with 'plateau resume {root}'", 130)
    _tell(page)


def _tell(page: Path) -> None:
    """The end of a run: a short table, the claims, and where to look."""
    from rich.console import Console

    from plateau_bench.results.report.content import terminal_table

    content = json.loads(page.with_suffix(".json").read_text())
    console = Console()
    console.print(terminal_table(content))
    console.print(content["summary"][0], highlight=False, markup=False)
    console.print(
        f"\nfigures, claims and what they mean: {page}", highlight=False, markup=False, soft_wrap=True
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; turns expected trouble into one line on stderr. `arguments`: default sys.argv."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    from plateau_bench.sandbox.base import SandboxError

    try:
        app(arguments)
    except (ValueError, SandboxError, RuntimeError) as error:
        _fail(" ".join(str(error).split()), 1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            "; free some space, then 'plateau resume <run folder>' (nothing finished is lost)" if full else ""
        )
        _fail(f"{error.strerror or error}: {error.filename or ''}{hint}".replace(":  ", ""), 1)


def _fail(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"plateau: {line}\n")
    raise SystemExit(code)
