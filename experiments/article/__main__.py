"""`python -m experiments.article RUN`: signs of degradation by generation, beside an article's table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.article.table import DEFAULT_ARM, arm_rows, generations_table
from plateau_bench.harness.cli.terminal import call, print_table
from plateau_bench.results.report.content import build_report
from plateau_bench.results.store import RunStore

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generations(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")],
    arm: Annotated[str, typer.Option(help="The arm to show.")] = DEFAULT_ARM,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rare-token perplexity, distinct 4-grams and KL by generation, beside what an article claims."""
    report = build_report(RunStore(folder).results())
    if as_json:
        typer.echo(json.dumps({"arm": arm, "generations": arm_rows(report, arm)}))
    else:
        print_table(generations_table(report, arm))


if __name__ == "__main__":
    call(app)
