"""`plateau remedies RUN`: what each arm of a finished run puts off, and at what cost."""

import json
from pathlib import Path
from typing import Annotated

import typer

from plateau_bench.harness.cli.terminal import print_table
from plateau_bench.results.store import RunStore


def remedies(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")],
    figure: Annotated[Path | None, typer.Option(help="Also draw the delays into this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Leaderboard of remedies: by how many rounds each arm puts off a loss, where it ends, what it costs."""
    from plateau_bench.results.report.content import build_report
    from plateau_bench.results.report.figures import draw_delays, standalone
    from plateau_bench.results.report.remedies import remedies_table

    content = build_report(RunStore(folder).results())["remedies"]
    if content is None:
        raise ValueError(f"{folder}: one arm alone has nothing to be compared with")
    if figure:
        if (drawing := draw_delays(content)) is None:
            raise ValueError(f"{folder}: no delay could be tested (three training seeds are the least)")
        figure.write_text(standalone(drawing), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(content))
    else:
        print_table(remedies_table(content))
