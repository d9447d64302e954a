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

    from plateau_bench.harness.strategies import every
    from plateau_bench.harness.strategies.params import docs, own, plain

    found = every()
    values = {name: plain(strategy.params()) for name, strategy in found.items()}
    parameters = {name: {key: values[name][key] for key in own(one.params)} for name, one in found.items()}
    if as_json:
        rows = {
            name: {
                "summary": one.summary,
                "parameters": parameters[name],
                "meaning": {key: docs(one.params)[key] for key in parameters[name]},
                "source": one.source,
            }
            for name, one in found.items()
        }
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(Column("strategy", no_wrap=True), "what it does", "parameters", "source", box=SIMPLE_HEAD)
    for name, one in found.items():
        meaning = docs(one.params)
        told = "\n".join(f"{key}: {value}  {meaning[key]}" for key, value in parameters[name].items())
        table.add_row(name, one.summary, told, one.source)
    Console().print(table)
