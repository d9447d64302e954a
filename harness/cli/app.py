"""The `plateau` command: every command is a function of its own file in this folder."""

from collections.abc import Sequence

import typer

from plateau_bench.harness.cli import run
from plateau_bench.harness.cli.detector import validate_detector
from plateau_bench.harness.cli.eval import compare, evaluate, leaderboard
from plateau_bench.harness.cli.export import export
from plateau_bench.harness.cli.predictions import predictions
from plateau_bench.harness.cli.remedies import remedies
from plateau_bench.harness.cli.show import show
from plateau_bench.harness.cli.strategies import strategies
from plateau_bench.harness.cli.sweep import sweep
from plateau_bench.harness.cli.terminal import call
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
for command in (
    run.run,
    run.resume,
    run.report,
    run.regrade,
    remedies,
    validate_detector,
    sweep,
    strategies,
    compare,
    leaderboard,
    show,
    export,
    predictions,
):
    app.command()(command)
app.command("eval")(evaluate)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command. `arguments`: default sys.argv."""
    call(app, arguments)
