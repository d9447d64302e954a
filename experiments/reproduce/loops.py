"""E2, E3, E4, E6 and E8: runs of the loop from a config in this folder, then a judge of what they left."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.reproduce.outcome import Outcome, Request
from plateau_bench.harness.config import parse_config, to_plain
from plateau_bench.results.records import RunResults
from plateau_bench.results.store import RunStore
from plateau_bench.validate import read_yaml

QUICK: dict[str, Any] = {
    "seeds": [1, 2],
    "rounds": 3,
    "tasks": {"train": 24, "held_out": 24},
    "model": {
        "pretrain": {"corpus": 3000, "epochs": 1, "hidden": 48, "heads": 2, "layers": 2, "ffn": 128},
    },
    "train": {"epochs": 1},
}


def settings(name: str, arms: Sequence[str] = (), *, quick: bool = False) -> dict[str, Any]:
    """The config `name` of this folder as plain data, with only `arms` if any are named."""
    data: dict[str, Any] = read_yaml(Path(__file__).with_name(f"{name}.yaml"))
    if arms:
        data["arms"] = {arm: data["arms"][arm] for arm in arms}
    return data | QUICK if quick else data


def looped(
    judge: Callable[[RunResults], Outcome], config: str, arms: Sequence[str]
) -> Callable[[Request], Outcome]:
    """How a reproduction of this kind is played: a run in `<folder>/run`, resumed if it is there, judged."""

    def play(request: Request) -> Outcome:
        data = settings(config, arms, quick=request.quick)
        if request.runs:
            return judge(merged([renamed(RunStore(run).results(), data) for run in request.runs]))
        if config == "controls":
            data["model"] = {"path": _common_base(data, request)}
        root = request.folder / "run"
        _run(data, root, request)
        return judge(RunStore(root).results())

    return play


def merged(runs: Sequence[RunResults]) -> RunResults:
    """Runs that differ in their arms only, as one. Raises ValueError if they differ in more."""
    first = runs[0]
    arms: dict[str, Any] = {}
    for run in runs:
        for key in run.config.keys() | first.config.keys():
            if key not in ("name", "arms", "workers") and run.config.get(key) != first.config.get(key):
                raise ValueError(
                    f"runs {first.name!r} and {run.name!r} differ in {key}, not only in their arms"
                )
        arms |= run.rounds
    return RunResults(name=first.name, config=first.config, environment=first.environment, rounds=arms)


def renamed(results: RunResults, data: dict[str, Any]) -> RunResults:
    """With the names that the config `data` gives to arms of the same settings."""
    rounds = dict(results.rounds)
    for name, wanted in to_plain(parse_config(data, "reproduction"))["arms"].items():
        same = [arm for arm, one in results.config["arms"].items() if one == wanted]
        if name not in rounds and same:
            rounds[name] = rounds[same[0]]
    return replace(results, rounds=rounds)


def _run(data: dict[str, Any], root: Any, request: Request) -> None:
    from plateau_bench.harness.rounds.loop import play
    from plateau_bench.harness.rounds.progress import Display

    play(parse_config(data, f"config of {root}"), root, Display())
    request.say(f"report: {root / 'report.html'}")


def _common_base(data: dict[str, Any], request: Request) -> str:
    """The base checkpoint that training seed 1 would get, made once for all runs."""
    from plateau_bench.harness.learning.base_model import base_checkpoint
    from plateau_bench.harness.rounds.environment import pick_device
    from plateau_bench.tasks import load_suite

    request.say("base model: from the cache, or a minute of pretraining")
    config = parse_config(data, "controls")
    folder = (request.folder / "base").absolute()
    suite, device = load_suite(config.tasks.suite), pick_device(config.device)
    return base_checkpoint(config.model, suite, 1, folder, device, lambda *event: None)
