"""The options of `plateau eval`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from plateau_bench.harness.cli.numbers import number


class Side(StrEnum):
    """Which tasks of a suite."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    ALL = "all"


Agents = Annotated[
    list[str] | None,
    typer.Option(
        help="A YAML file, oracle, nop, replay:FILE, predictions:FILE, KIND:MODEL (tool:openai:gpt-5) "
        "or VENDOR:MODEL. Default: those that the folder has."
    ),
]
SuiteName = Annotated[str | None, typer.Option(help="katas (default), repo-katas, or the path of a suite.")]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        "-n",
        help="Attempts per task, 4 unless told; more later.",
        callback=number(1, 10_000),
    ),
]
Tasks = Annotated[
    int | None,
    typer.Option(
        help="Tasks; default: all, or 100 of a suite that makes them.", callback=number(1, 1_000_000)
    ),
]
SplitName = Annotated[
    Side | None,
    typer.Option(
        help="Which side of the suite. Default: all of a suite that has its tasks, held_out of one that "
        "makes them and for checkpoints in a run's folder."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Decides tasks and samples; default 0.", callback=number(0, 2**63 - 1)),
]
Out = Annotated[Path, typer.Option(help="Folder; the same command goes on where it stopped.")]
AtOnce = Annotated[int, typer.Option(help="Attempts at the same time.", callback=number(1, 4096))]
MaxUsd = Annotated[float | None, typer.Option(help="What the whole evaluation may cost.", callback=number(0))]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Tokens that the whole evaluation may take.", callback=number(0, 10**15)),
]
Retry = Annotated[
    str | None,
    typer.Option(help="Make attempts again: crashed,infra,budget,changed, other endings, or all."),
]
Drop = Annotated[list[str] | None, typer.Option(help="Take this agent out of the folder first.")]
Quarantine = Annotated[
    str | None,
    typer.Option(help="List of tasks to leave out; default: the one beside the suite; 'none': none."),
]
Check = Annotated[bool, typer.Option("--check", help="Prove that agents and suite work, then stop.")]
SandboxName = Annotated[str, typer.Option(help="docker, bubblewrap or auto.")]
Network = Annotated[
    str | None,
    typer.Option(
        help='Hosts for tasks that ask for the internet: example.org,*.example.com, or "*"; without it '
        "they are refused."
    ),
]
