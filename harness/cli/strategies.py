"""`plateau strategies`: what an arm can do, and where the idea comes from."""

import json
from typing import Annotated

import typer


def strategies(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List the strategies that an arm can use, with their parameters and sources."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from plateau_bench.harness.config import ArmConfig
    from plateau_bench.harness.strategies import STRATEGIES

    defaults = ArmConfig(strategy="")
    parameters = {
        name: {key: getattr(defaults, key) for key in strategy.takes} for name, strategy in STRATEGIES.items()
    }
    if as_json:
        rows = {
            name: {"summary": strategy.summary, "parameters": parameters[name], "source": strategy.source}
            for name, strategy in STRATEGIES.items()
        }
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(Column("strategy", no_wrap=True), "what it does", "parameters", "source", box=SIMPLE_HEAD)
    for name, strategy in STRATEGIES.items():
        values = "\n".join(f"{key}: {value}" for key, value in parameters[name].items())
        table.add_row(name, strategy.summary, values, strategy.source)
    Console().print(table)
