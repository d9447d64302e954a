"""`plateau bench`: how fast things are on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="How fast things are on this machine.")


@app.command()
def checkpoint(
    checkpoint: Annotated[
        str, typer.Argument(help="Checkpoint folder or hub id, such as runs/katas/seed-1/base.")
    ],
    prompts: int = 200,
    samples: int = 8,
    max_tokens: int = 80,
    examples: int = 2000,
    batch_tokens: int = 1024,
) -> None:
    """Sampling and training speed of a checkpoint here, next to plain generate and the machine's ceiling."""
    from experiments.speed.checkpoint import bench as measure

    speeds = measure(
        checkpoint,
        prompts=prompts,
        samples=samples,
        max_tokens=max_tokens,
        examples=examples,
        batch_tokens=batch_tokens,
    )
    ratio = speeds.sample_tokens_s / speeds.generate_tokens_s
    typer.echo(f"device        {speeds.device}, {speeds.parameters:,} parameters")
    typer.echo(f"sampling      {speeds.sample_tokens_s:,.0f} tokens/s, {ratio:.1f} x plain generate")
    typer.echo(f"generate      {speeds.generate_tokens_s:,.0f} tokens/s")
    typer.echo(
        f"training      {speeds.train_tokens_s:,.0f} tokens/s, {speeds.utilisation:.1%} of the ceiling"
    )
    typer.echo(f"ceiling       {speeds.ceiling_flops / 1e12:,.3f} Tflop/s")


@app.command(name="round")
def one_round(
    config: Annotated[Path | None, typer.Argument(help="A YAML file; default: the katas.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to play; the result is their mean.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="All values as JSON.")] = False,
) -> None:
    """Where the time of a round goes: phases, tokens/s and the share of what this machine could do.

    Plays the first arm that trains, in a temporary folder. The base model is pretrained unless it is cached.
    """
    from experiments.speed.round import bench_round
    from plateau_bench.harness.config import load_config, parse_config

    plain = {"name": "katas", "arms": {"replace": {"strategy": "replace"}}}
    settings = load_config(config) if config else parse_config(plain, "the katas")
    told: list[str] = []

    def progress(phase: str, done: int, total: int) -> None:
        if told[-1:] != [phase]:
            told.append(phase)
            typer.echo(phase, err=True)

    found = bench_round(settings, rounds=rounds, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    typer.echo(f"device        {found.device}, {found.parameters:,} parameters")
    typer.echo(f"one round     {found.seconds:.2f} s, {found.cpu_s:.2f} s of CPU without boxes")
    for phase, seconds in found.phases.items():
        cpu = found.phases_cpu.get(phase, 0.0)
        typer.echo(f"  {phase:13} {seconds:6.2f} s {seconds / found.seconds:6.1%} {cpu:6.2f} s of CPU")
    ratio = found.sample_tokens_s / found.generate_tokens_s
    typer.echo(
        f"sampling      {found.sample_tokens_s:,.0f} tokens/s, {ratio:.1f} x plain generate, "
        f"{found.sample_utilisation:.1%} of the ceiling"
    )
    typer.echo(
        f"training      {found.train_tokens_s:,.0f} tokens/s, {found.train_utilisation:.1%} of the ceiling"
    )
    typer.echo(f"ceiling       {found.ceiling_flops / 1e12:,.3f} Tflop/s")


@app.command()
def diversity(
    sizes: Annotated[str, typer.Option(help="Numbers of solutions, with commas.")] = "1000,10000,100000",
    workers: int = 2,
    seed: int = 1,
    as_json: Annotated[bool, typer.Option("--json", help="All values as JSON.")] = False,
) -> None:
    """The whole diversity panel over generated kata solutions: time, time per solution, growth."""
    from experiments.speed.diversity import ScaleBench, bench_diversity

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise ValueError(f"--sizes takes whole numbers with commas between them, not {sizes!r}") from None
    if not as_json:
        typer.echo(
            f"{'solutions':>10} {'wall s':>8} {'CPU s':>8} {'us/solution':>12} {'CPU us/solution':>16}"
        )
    found = []
    for result in bench_diversity(numbers, workers=workers, seed=seed):
        found.append(result)
        if not as_json:
            typer.echo(
                f"{result.solutions:>10,} {result.seconds:>8.2f} {result.cpu_s:>8.2f} "
                f"{result.microseconds:>12.0f} {1e6 * result.cpu_s / result.solutions:>16.0f}"
            )
    bench = ScaleBench(results=tuple(found), workers=workers)
    if as_json:
        rows = [asdict(result) for result in found]
        typer.echo(json.dumps({"workers": workers, "exponent": bench.exponent, "results": rows}, indent=1))
    else:
        typer.echo(f"CPU time grows with the number of solutions to the power of {bench.exponent:.2f}")
