"""`plateau sandbox ...`: parses and delegates."""

from typing import Annotated

import typer

from plateau_bench.sandbox import SandboxUnavailable, backend_names, open_backend
from plateau_bench.sandbox.checks.doctor import examine
from plateau_bench.sandbox.checks.programs import CHECKS

app = typer.Typer(no_args_is_help=True, help="Boxes: build the base image, clean up, check.")

Name = Annotated[str, typer.Argument(help="docker, bubblewrap, auto, or a backend from outside.")]


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
