"""`plateau warnings | remedies | generations RUN`: questions to a finished run. Parses and delegates."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()

RunFolder = Annotated[Path, typer.Argument(help="A run folder, such as runs/katas.")]
WIDTH = 160
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def warnings(
    folder: RunFolder,
    metrics: Annotated[str, typer.Option(help="Only these, separated by commas; default all.")] = "",
    top: Annotated[int, typer.Option(help="So many candidates in the table.", min=1)] = 12,
    as_json: AsJson = False,
) -> None:
    """Which sign in round t tells of a decline by round t + 2: hits, false alarms, and whether it is luck."""
    from experiments.warnings.early_warnings import early_warnings, to_plain, warnings_table
    from plateau_bench.results.store import RunStore

    chosen = [name.strip() for name in metrics.split(",") if name.strip()] or None
    found = early_warnings(RunStore(folder).results().rounds, metrics=chosen)
    if as_json:
        typer.echo(json.dumps(to_plain(found)))
        return
    print_table(warnings_table(found, top))
    if any(score.shared for score in found.candidates[:top]):
        typer.echo("* measured on the same attempts as the fall: partly regression to the mean")
    for note in found.notes:
        typer.echo(note)


@app.command()
def remedies(
    folder: RunFolder,
    figure: Annotated[Path | None, typer.Option(help="Also draw the delays into this SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Leaderboard of remedies: by how many rounds each arm puts off a loss, where it ends, what it costs."""
    from plateau_bench.results.report.figures import draw_delays, standalone
    from plateau_bench.results.report.remedies import remedies_table

    content = _report(folder)["remedies"]
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


@app.command()
def generations(
    folder: RunFolder,
    arm: Annotated[str, typer.Option(help="The arm to show.")] = "unverified",
    as_json: AsJson = False,
) -> None:
    """Rare-token perplexity, distinct 4-grams and KL by generation, beside what an article claims."""
    from experiments.article.table import generations_table

    report = _report(folder)
    table = generations_table(report, arm)
    if as_json:
        typer.echo(json.dumps({"arm": arm, "generations": report["article_table"][arm]}))
    else:
        print_table(table)


def _report(folder: Path) -> dict[str, Any]:
    from plateau_bench.results.report.content import build_report
    from plateau_bench.results.store import RunStore

    return build_report(RunStore(folder).results())


def print_table(table: Any) -> None:
    """To the terminal; wide, so that nothing is cut, where the output goes to a file or a pipe."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
