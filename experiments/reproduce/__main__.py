"""`python -m experiments.reproduce NAME`: plays it, prints the outcome and leaves it as files."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from experiments.reproduce.catalogue import CATALOGUE, named
from experiments.reproduce.outcome import Request, facts, text
from plateau_bench.harness.cli.terminal import call
from plateau_bench.harness.content import commit
from plateau_bench.results.report.small_multiples import save_figure
from plateau_bench.results.store import write_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="E1, E2 ... or 'list'.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for its files; default runs/reproductions/<name>.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Smallest sizes: shows that it works, proves nothing.")] = False,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="Judge this run folder instead of playing one; several may hold the arms."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Try a published claim in small: prints its criteria and 'met' or 'MISSED'. A miss exits with 0, too."""
    if name == "list":
        for one in CATALOGUE.values():
            typer.echo(f"{one.name:5} {one.claim} ({one.cost})\n      [{one.source}]")
        return
    reproduction = named(name)
    folder = out or Path("runs") / "reproductions" / (reproduction.name + ("-quick" if quick else ""))
    started = time.perf_counter()
    outcome = reproduction.play(
        Request(
            folder=folder, quick=quick, runs=tuple(run or ()), say=lambda line: typer.echo(line, err=True)
        )
    )
    command = f"python -m experiments.reproduce {reproduction.name}{' --quick' * quick}"
    found = facts(
        reproduction,
        outcome,
        {
            "command": command,
            "commit": commit(),
            "python": sys.version.split()[0],
            "quick": quick,
            "seconds": round(time.perf_counter() - started, 1),
        },
    )
    write_json(folder / f"{reproduction.name}.json", found)
    save_figure(folder / f"{reproduction.name}.png", outcome.panels)
    typer.echo(json.dumps(found, indent=1) if as_json else text(reproduction, outcome))
    if not as_json:
        if quick:
            typer.echo("quick: sizes are too small for any claim")
        typer.echo(f"files: {folder / reproduction.name}.json, .png")


if __name__ == "__main__":
    call(app)
