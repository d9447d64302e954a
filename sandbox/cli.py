"""`plateau sandbox ...`: parses and delegates."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Boxes: build the base image, clean up, check.")

Name = Annotated[str, typer.Argument(help="docker, bubblewrap or auto")]


@app.command()
def build() -> None:
    """Build the base image for Docker boxes, if it is not there yet."""
    from plateau_bench.sandbox import open_backend

    open_backend("docker", say=typer.echo).open().close()
    typer.echo("the base image is ready")


@app.command()
def check(name: Name = "auto") -> None:
    """Run the conformance list against a backend of this machine."""
    from plateau_bench.sandbox import open_backend
    from plateau_bench.sandbox.checks.programs import CHECKS

    backend = open_backend(name)
    for one in CHECKS:
        one(backend)
        typer.echo(f"{backend.name}: {one.__name__}: ok")


@app.command()
def clean() -> None:
    """Remove boxes that dead runs left behind, on every backend of this machine."""
    from plateau_bench.sandbox import BACKENDS, SandboxUnavailable, open_backend

    for name in BACKENDS:
        try:
            typer.echo(f"{name}: {open_backend(name).clean()} boxes removed")
        except SandboxUnavailable as e:
            typer.echo(f"{name}: {e}")


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Run the conformance checks, too (a minute).")] = False,
) -> None:
    """Explain which backends work here, and what protects this machine from what runs in a box."""
    from rich.console import Console

    from plateau_bench.sandbox.checks.doctor import examine

    console = Console(highlight=False, soft_wrap=True)
    for finding in examine(full=full):
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "  "}[finding.good]
        console.print(f"{mark:4} [bold]{finding.about}[/]: ", end="")
        console.print(finding.text, markup=False)
