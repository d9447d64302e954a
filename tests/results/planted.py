"""Made-up runs of many arms in which a precursor of decline is planted, or none is."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from plateau_bench.results.records import Estimate, RoundMetrics, RoundRecord, RunResults
from plateau_bench.results.store import RunStore, record_to_json, write_json

Facts = Callable[[str, int], Mapping[str, object]]


def planted(
    *,
    arms: int = 12,
    seeds: int = 5,
    rounds: int = 11,
    tasks: int = 100,
    samples: int = 8,
    lead: int | None = 2,
    noise: int = 6,
    draw: int = 0,
    cliff: float = -1.2,
) -> RunResults:
    """Every other arm falls off a cliff at a round of its own (give or take one per seed).

    'omen' drops by a half `lead` rounds before (None: never); 'clock' grows with time in every arm;
    'noise-0' ... are random walks.
    """
    rng = np.random.default_rng(draw)
    names = [f"arm-{i}" for i in range(arms)]
    cliffs = {name: int(rng.integers(4, rounds - 2)) if i % 2 else None for i, name in enumerate(names)}
    table: dict[str, dict[int, tuple[RoundRecord, ...]]] = {}
    for name in names:
        table[name] = {}
        for seed in range(seeds):
            difficulty = rng.normal(0, 1.5, tasks)
            edge = cliffs[name]
            at = rounds + 9 if edge is None else edge + int(rng.integers(-1, 2))
            walks = rng.normal(0, 1, (rounds, noise)).cumsum(axis=0)
            records = []
            for t in range(rounds):
                rate = 1 / (1 + np.exp(-(difficulty + (cliff if t >= at else 0.0))))
                values = {f"noise-{j}": float(walks[t, j]) for j in range(noise)}
                values["clock"] = t + float(rng.normal(0, 0.1))
                omen = lead is not None and t >= at - lead
                values["omen"] = (0.5 if omen else 1.0) + float(rng.normal(0, 0.08))
                records.append(record(name, seed, t, rate, samples, values, rng))
            table[name][seed] = tuple(records)
    return run(table)


def record(
    arm: str,
    seed: int,
    t: int,
    rate: np.ndarray,
    samples: int,
    values: Mapping[str, float],
    rng: np.random.Generator,
    hill1: float = 2.0,
    training: Mapping[str, object] | None = None,
    tasks: str = "t",
) -> RoundRecord:
    """One round in which each task passes at its `rate`. `tasks`: what their names begin with."""
    half = samples // 2
    even, odd = rng.binomial(half, rate) / half, rng.binomial(half, rate) / half
    mean = (even + odd) / 2
    variety = np.maximum(1.0, rng.normal(hill1, 0.2, len(rate)))
    found = {"pass@1": float(mean.mean()), "hill1": float(variety.mean()), **values}
    names = tuple(f"{tasks}{i}" for i in range(len(rate)))
    columns = {"pass@1": mean, "pass@1/even": even, "pass@1/odd": odd, "hill1": variety}
    return RoundRecord(
        arm=arm,
        seed=seed,
        metrics=RoundMetrics(
            round=t,
            values={
                k: Estimate(v, v - 0.1, v + 0.1, len(rate)) for k, v in found.items() if math.isfinite(v)
            },
            task_ids=names,
            clusters=names,
            strata=tuple(("head", "torso", "tail")[i % 3] for i in range(len(rate))),
            per_task={k: tuple(map(float, v)) for k, v in columns.items()},
        ),
        checkpoint_in=f"{arm}-{t}",
        checkpoint_out=None,
        training=training or {},
    )


def run(table: dict[str, dict[int, tuple[RoundRecord, ...]]]) -> RunResults:
    return RunResults(
        name="planted",
        config={"arms": list(table), "seeds": list(next(iter(table.values())))},
        environment={"sandbox": "bubblewrap"},
        rounds=table,
    )


def save(results: RunResults, root: Path) -> Path:
    """Leave the run on the disk as a run folder; gives the folder."""
    store = RunStore(root)
    config = {"arms": {arm: {} for arm in results.rounds}, "seeds": results.config["seeds"]}
    write_json(store.manifest, {"name": results.name, "config": config, "environment": {}})
    for arm, by_seed in results.rounds.items():
        for seed, records in by_seed.items():
            for t, record in enumerate(records):
                write_json(store.round(seed, arm, t).record, record_to_json(record))
    return root
