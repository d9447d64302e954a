"""`python -m experiments.warnings RUN`: which sign in round t tells of a decline by round t + 2."""

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.warnings.early_warnings import early_warnings, to_plain, warnings_table
from plateau_bench.harness.cli.terminal import call, print_table
from plateau_bench.results.store import RunStore

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def warnings(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")],
    metrics: Annotated[str, typer.Option(help="Only these, separated by commas; default all.")] = "",
    top: Annotated[int, typer.Option(help="So many candidates in the table.", min=1)] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which sign in round t tells of a decline by round t + 2: hits, false alarms, and whether it is luck."""
    chosen = [name.strip() for name in metrics.split(",") if name.strip()] or None
    found = early_warnings(RunStore(folder).results().rounds, metrics=chosen)
    if as_json:
        typer.echo(json.dumps(to_plain(found)))
        return
    print_table(warnings_table(found, top))
    if any(score.shared for score in found.candidates[:top]):
        typer.echo("* measured on the same attempts as the fall: partly regression to the mean")
    for note in found.notes:
        typer.echo(note)


if __name__ == "__main__":
    call(app)
