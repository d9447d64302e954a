"""`plateau validate-detector`: how often the claims of a report are wrong, on simulated runs."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from plateau_bench.harness.cli.numbers import number
from plateau_bench.harness.cli.terminal import print_table

if TYPE_CHECKING:
    from rich.table import Table

    from plateau_bench.results.validation.error_rates import Cell, Criterion


def validate_detector(
    curves: Annotated[
        str,
        typer.Option(help="flat, rise, rise-plateau, dip-recover, late-cliff, fall-<points>; with commas."),
    ] = "flat,rise,rise-plateau,fall-10",
    tasks: Annotated[int, typer.Option(help="Held-out tasks per training seed.", callback=number(1))] = 150,
    samples: Annotated[int, typer.Option(help="Attempts per task and round.", callback=number(1))] = 8,
    seeds: Annotated[int, typer.Option(help="Training seeds.", callback=number(1))] = 5,
    sd_round: Annotated[
        float, typer.Option(help="Training noise per round, in logits.", callback=number(0))
    ] = 0.1,
    reps: Annotated[int, typer.Option(help="Simulated runs per curve.", min=1)] = 400,
    quick: Annotated[bool, typer.Option("--quick", help="At most 200 simulated runs per curve.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Default: one per CPU.", min=0)] = 0,
) -> None:
    """Error rates of the claims on simulated runs with a known truth; exits with 1 on a miss.

    At the default design at most 5 % false claims are allowed, and a fall of ten points must be found in
    80 % of the runs.
    """
    from rich.console import Console
    from rich.progress import Progress

    from plateau_bench.results.validation.error_rates import Design, criteria, to_plain, try_all

    designs = [
        Design(curve=name.strip(), tasks=tasks, samples=samples, seeds=seeds, sd_round=sd_round)
        for name in curves.split(",")
    ]
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulated curves", total=len(designs))
        cells = try_all(
            designs,
            min(reps, 200) if quick else reps,
            processes=processes or os.cpu_count() or 1,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    required = criteria(cells)
    if as_json:
        typer.echo(json.dumps(to_plain(cells)))
    else:
        print_table(rates_table(cells, required))
    missed = [one for one in required if not one.met]
    for one in missed:
        where = f"{one.claim} on {one.cell.design.curve}, training noise {one.cell.design.sd_round:g}"
        typer.echo(f"missed: {one.kind} of {where}: {one.cell.rate(one.claim):.3f}", err=True)
    raise typer.Exit(1 if missed else 0)


def rates_table(cells: "list[Cell]", required: "list[Criterion]") -> "Table":
    """One line for each curve and claim: its rate with Wilson's interval, and what is required of it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    limits = {(one.cell.design, one.claim): one for one in required}
    table = Table(title="simulated runs that make a claim, in per cent", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("curve", "claim", "which is", "runs", "rate", "95 % interval", "required", ""):
        table.add_column(column, justify="right" if column in ("runs", "rate", "required") else "left")
    for cell in cells:
        for claim, made in cell.claimed.items():
            low, high = (100 * end for end in cell.wilson(claim))
            kind = "false" if cell.is_false(claim) else "true"
            row = [cell.design.curve, claim, kind, str(made.size), f"{100 * cell.rate(claim):.1f}"]
            row.append(f"{low:.1f} to {high:.1f}")
            if one := limits.get((cell.design, claim)):
                limit = "at most" if one.kind == "false claims" else "at least"
                row += [f"{limit} {100 * one.limit:g}", "met" if one.met else "MISSED"]
            table.add_row(*row)
    return table
