"""`python -m experiments.detector`: PDT-1 and rival rules over a grid of designs, and a page."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from experiments.detector.page import terminal_table, write_page
from experiments.detector.rates import grid, try_all
from plateau_bench.harness.cli.terminal import call, print_table
from plateau_bench.results.validation.error_rates import criteria, to_plain

FULL = {"tasks": "50,150,400", "samples": "1,4,8", "seeds": "1,3,5", "cluster_size": "1,5"}
Number = TypeVar("Number", int, float)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def detector(
    curves: Annotated[
        str, typer.Option(help="Names separated by commas; 'fall-<points>' for any fall.")
    ] = "flat,rise,rise-plateau,dip-recover,fall-2,fall-5,fall-10,late-cliff",
    tasks: Annotated[str, typer.Option(help="Held-out tasks per training seed.")] = "150",
    samples: Annotated[str, typer.Option(help="Attempts per task and round.")] = "8",
    seeds: Annotated[str, typer.Option(help="Training seeds.")] = "5",
    sd_round: Annotated[str, typer.Option(help="Training noise per round, in logits.")] = "0,0.05,0.1",
    cluster_size: Annotated[str, typer.Option(help="Tasks per cluster.")] = "1",
    reps: Annotated[int, typer.Option(help="Simulated runs per cell.", min=1)] = 400,
    full: Annotated[
        bool, typer.Option("--full", help="The whole grid (1,296 cells), 200 runs each.")
    ] = False,
    rivals: Annotated[bool, typer.Option("--rivals", help="Also try the rules that others use.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write detector.html and detector.json here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Default: one per CPU.", min=0)] = 0,
) -> None:
    """Error rates of the claims and of rival rules over a grid of designs; exits with 1 on a miss."""
    if full:
        tasks, samples, seeds, cluster_size = FULL.values()
        reps = min(reps, 200)
    designs = grid(
        [name.strip() for name in curves.split(",")],
        _numbers(tasks, int, "--tasks"),
        _numbers(samples, int, "--samples"),
        _numbers(seeds, int, "--seeds"),
        _numbers(sd_round, float, "--sd-round"),
        _numbers(cluster_size, int, "--cluster-size"),
    )
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulated cells", total=len(designs))
        cells = try_all(
            designs,
            reps,
            with_rivals=rivals,
            processes=processes or os.cpu_count() or 1,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    missed = [one for one in criteria(cells) if not one.met]
    if out is not None:
        typer.echo(f"wrote {write_page(cells, out)}", err=True)
    if as_json:
        typer.echo(json.dumps(to_plain(cells)))
    else:
        print_table(terminal_table(cells))
    for one in missed:
        where = f"{one.claim} on {one.cell.design.curve}, training noise {one.cell.design.sd_round:g}"
        typer.echo(f"missed: {one.kind} of {where}: {one.cell.rate(one.claim):.3f}", err=True)
    raise typer.Exit(1 if missed else 0)


def _numbers(text: str, kind: Callable[[str], Number], option: str) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} {text!r}: numbers separated by commas are needed, such as 50,150"
        ) from None


if __name__ == "__main__":
    call(app)
