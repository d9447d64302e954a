"""`plateau eval`, `compare` and `leaderboard`: agents without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plateau_bench.harness.cli.eval_options import (
    Agents,
    AtOnce,
    Check,
    Drop,
    MaxTokens,
    MaxUsd,
    Network,
    Out,
    Quarantine,
    Retry,
    Samples,
    SandboxName,
    Seed,
    SplitName,
    SuiteName,
    Tasks,
)
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.ensure import ensure_backend

if TYPE_CHECKING:
    from plateau_bench.harness.evals.reading import Shown
    from plateau_bench.results.report.leaderboard import Leaderboard

Folders = Annotated[list[Path], typer.Argument(help="Folders of 'plateau eval'.")]
AsRecorded = Annotated[
    bool, typer.Option(help="Show what was measured, although tasks or weights have changed since.")
]


def evaluate(
    agent: Agents = None,
    suite: SuiteName = None,
    samples: Samples = None,
    tasks: Tasks = None,
    split: SplitName = None,
    seed: Seed = None,
    out: Out = Path("evals/last"),
    at_once: AtOnce = 8,
    max_usd: MaxUsd = None,
    max_tokens: MaxTokens = None,
    retry: Retry = None,
    drop: Drop = None,
    quarantine: Quarantine = None,
    check: Check = False,
    sandbox: SandboxName = "auto",
    network: Network = None,
) -> None:
    """Measure agents on a suite: pass rates with intervals, cost, endings, and who is better than whom."""
    from plateau_bench.agents.models.endpoint import Budget
    from plateau_bench.harness.cli.meter import Meter
    from plateau_bench.harness.evals import ledger
    from plateau_bench.harness.evals.agent_spec import require_prices
    from plateau_bench.harness.evals.asked import asked
    from plateau_bench.harness.evals.check import prove
    from plateau_bench.harness.evals.session import carry_out
    from plateau_bench.harness.evals.upkeep import retries

    again = retries(retry)
    for name in drop or ():
        typer.echo(f"{name} is out; its attempts lie in {ledger.drop(EvalStore(out), name)}", err=True)
    hosts = None if network is None else tuple(filter(None, network.split(",")))
    what = asked(
        out,
        agents=agent or (),
        suite=suite, split=split and split.value, tasks=tasks, samples=samples, seed=seed, network=hosts,
        quarantine=quarantine,
    )  # fmt: skip
    if not what.agents:
        if drop:
            return
        raise ValueError("--agent: name at least one agent, such as oracle or oneshot:path/to/checkpoint")
    require_prices(what.agents, max_usd)
    budget = Budget(usd=max_usd, tokens=max_tokens)
    with Meter() as meter:
        backend = ensure_backend(meter.say) if sandbox == "auto" else open_backend(sandbox, say=meter.say)
        if check:
            prove(out, what, backend, budget, meter.say, whole=True)
            return
        stopped = carry_out(
            out,
            what,
            backend,
            at_once=at_once,
            budget=budget,
            retry=again,
            progress=meter.note,
            say=meter.say,
        )
    found = _evaluated([out], False)
    if any(one.attempts for one in found.values()):
        board = _leaderboard(found)
        page = board.save(out, f"{Path(what.suite).name}: agents")
        typer.echo(board.markdown())
        typer.echo(page, err=True)
    if stopped:
        raise RuntimeError(stopped)


def compare(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of 'plateau eval'.")] = None,
    series: Annotated[Path | None, typer.Option(help="A published series: CSV of label,rate,n.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_recorded: AsRecorded = False,
) -> None:
    """Say of every pair of agents whether one is better, or of a published series whether it rises."""
    if series is not None:
        from plateau_bench.results.claims.published_series import judge_series, read_series

        typer.echo(judge_series(read_series(series)).sentence)
        return
    if not folders:
        raise ValueError("name folders of 'plateau eval', or a series with --series FILE.csv")
    board = _leaderboard(_evaluated(folders, as_recorded))
    if as_json:
        fields = ("a", "b", "tasks", "clusters", "p", "p_holm", "detectable", "better")
        rows = [
            {name: getattr(v, name) for name in fields} | {"difference": v.difference._asdict()}
            for v in board.found
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for sentence in board.sentences():
            typer.echo(sentence)


def leaderboard(
    folders: Folders,
    out: Annotated[
        Path | None,
        typer.Option(help="Where leaderboard.md, .csv and .html go; default: the folder, if it is one."),
    ] = None,
    as_recorded: AsRecorded = False,
) -> None:
    """Write one table of all evaluated agents, with intervals and groups that cannot be told apart."""
    if out is None and len(folders) > 1:
        raise ValueError("--out: name a folder for the table of several evaluations")
    board = _leaderboard(_evaluated(folders, as_recorded))
    board.save(out or folders[0], "Leaderboard")
    typer.echo(board.markdown())


def _evaluated(folders: Sequence[Path], as_recorded: bool) -> "dict[str, Shown]":
    """What is shown of all agents; a name that was there before gets its folder's name, too."""
    from plateau_bench.harness.evals.reading import shown

    evaluated: dict[str, Shown] = {}
    for folder in folders:
        found = shown(folder, as_recorded, lambda line: typer.echo(line, err=True))
        for name, made in found.items():
            evaluated[name if name not in evaluated else f"{name} ({folder})"] = made
    return evaluated


def _leaderboard(evaluated: "dict[str, Shown]") -> "Leaderboard":
    from plateau_bench.results.report.leaderboard import Leaderboard

    there = {name: one for name, one in evaluated.items() if one.attempts}
    none = [f"{name} has made none of its attempts yet" for name in evaluated if name not in there]
    if not there:
        raise ValueError("no attempt was made yet, so there is nothing to show")
    return Leaderboard.of(
        {name: one.attempts for name, one in there.items()},
        planned={name: one.planned for name, one in there.items()},
        notes=none,
    )
