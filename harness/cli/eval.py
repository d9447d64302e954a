"""`plateau eval`, `compare` and `leaderboard`: agents without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.ensure import ensure_backend
from plateau_bench.tasks.base import Split

if TYPE_CHECKING:
    from plateau_bench.results.report.leaderboard import Leaderboard

Folders = Annotated[list[Path], typer.Argument(help="Folders of 'plateau eval'.")]


def evaluate(
    agent: Annotated[
        list[str],
        typer.Option(
            help="A YAML file, oracle, nop, replay:FILE, predictions:FILE, KIND:MODEL (tool:openai:gpt-5) "
            "or VENDOR:MODEL."
        ),
    ],
    suite: Annotated[str, typer.Option(help="katas, repo-katas, or the path of a suite.")] = "katas",
    samples: Annotated[int, typer.Option("--samples", "-n", help="Attempts per task.")] = 4,
    tasks: Annotated[
        int | None,
        typer.Option(help="Tasks of that side; default: all, or 100 of a suite that makes them."),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which side of the suite.")] = Split.HELD_OUT,
    seed: Annotated[int, typer.Option(help="Decides tasks and samples.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder; the same command goes on where it stopped.")] = Path(
        "evals/last"
    ),
    at_once: Annotated[int, typer.Option(help="Attempts at the same time.")] = 8,
    max_usd: Annotated[float | None, typer.Option(help="What the whole evaluation may cost.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens that the whole evaluation may take.")] = None,
    sandbox: Annotated[str, typer.Option(help="docker, bubblewrap or auto.")] = "auto",
    network: Annotated[
        str | None,
        typer.Option(
            help='Hosts for tasks that ask for the internet: example.org,*.example.com, or "*"; without it '
            "they are refused."
        ),
    ] = None,
) -> None:
    """Measure agents on a suite: pass rates with intervals, cost, endings, and who is better than whom."""
    from plateau_bench.agents.models.endpoint import Budget
    from plateau_bench.harness.cli.meter import Meter
    from plateau_bench.harness.evals.agent_spec import read_agent, require_prices
    from plateau_bench.harness.evals.evaluation import Evaluation, evaluate_agent

    what = Evaluation(
        suite=suite,
        split=split.value,
        tasks=tasks,
        samples=samples,
        seed=seed,
        agents=tuple(map(read_agent, agent)),
        network=None if network is None else tuple(filter(None, network.split(","))),
    )
    require_prices(what.agents, max_usd)
    chosen = what.chosen()
    out.mkdir(parents=True, exist_ok=True)
    what.save(out)
    budget = Budget(usd=max_usd, tokens=max_tokens)
    evaluated: dict[str, Sequence[Attempt]] = {}
    with Meter() as meter:
        backend = ensure_backend(meter.say) if sandbox == "auto" else open_backend(sandbox, say=meter.say)
        for spec in what.agents:
            evaluated[spec.name] = evaluate_agent(
                out, what, spec, chosen, backend, at_once=at_once, budget=budget, progress=meter.note
            )
    board = _leaderboard(evaluated)
    page = board.save(out, f"{suite}: agents")
    typer.echo(board.markdown())
    typer.echo(page, err=True)


def compare(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of 'plateau eval'.")] = None,
    series: Annotated[Path | None, typer.Option(help="A published series: CSV of label,rate,n.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Say of every pair of agents whether one is better, or of a published series whether it rises."""
    if series is not None:
        from plateau_bench.results.claims.published_series import judge_series, read_series

        typer.echo(judge_series(read_series(series)).sentence)
        return
    if not folders:
        raise ValueError("name folders of 'plateau eval', or a series with --series FILE.csv")
    board = _leaderboard(_evaluated(folders))
    if as_json:
        fields = ("a", "b", "tasks", "clusters", "p", "p_holm", "detectable", "better")
        rows = [
            {name: getattr(v, name) for name in fields} | {"difference": v.difference._asdict()}
            for v in board.found
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for v in board.found:
            typer.echo(v.sentence())


def leaderboard(
    folders: Folders,
    out: Annotated[Path, typer.Option(help="Where leaderboard.md, .csv and .html go.")] = Path(),
) -> None:
    """Write one table of all evaluated agents, with intervals and groups that cannot be told apart."""
    board = _leaderboard(_evaluated(folders))
    board.save(out, "Leaderboard")
    typer.echo(board.markdown())


def _evaluated(folders: Sequence[Path]) -> dict[str, Sequence[Attempt]]:
    """The attempts of all agents; a name that was there before gets its folder's name, too."""
    evaluated: dict[str, Sequence[Attempt]] = {}
    for folder in folders:
        for name, made in EvalStore(folder).scores().items():
            evaluated[name if name not in evaluated else f"{name} ({folder})"] = made
    return evaluated


def _leaderboard(evaluated: dict[str, Sequence[Attempt]]) -> "Leaderboard":
    from plateau_bench.results.report.leaderboard import Leaderboard

    return Leaderboard.of({name: made for name, made in evaluated.items() if made})
