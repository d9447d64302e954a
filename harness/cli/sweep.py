"""`plateau sweep`: the same run with one knob, or a few, at several values."""

from pathlib import Path
from typing import Annotated

import typer

from plateau_bench.harness.config import load_config
from plateau_bench.validate import read_yaml


def sweep(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/katas.yaml.")],
    vary: Annotated[
        list[str], typer.Option(help="key=a,b,c, such as practice.temperature=0.6,1.0; several make a grid.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<name of the config>-sweep.")] = None,
) -> None:
    """Play a config once per value of a knob (or per cell of a grid); table and figure. Can be repeated."""
    from plateau_bench.harness.rounds.progress import Display
    from plateau_bench.harness.rounds.sweep import cells, play, summarise

    load_config(config)  # for its messages about a config that is wrong without any knob
    table = cells(read_yaml(config), vary, str(config))
    root = out or Path("runs") / f"{table[0].config.name}-sweep"
    for number, cell in enumerate(table, 1):
        typer.echo(f"cell {number} of {len(table)}: {cell.name}", err=True)
        play(cell, root / "cells" / cell.name, Display())
    typer.echo(summarise(table, root))
