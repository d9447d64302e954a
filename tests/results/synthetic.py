"""A made-up but complete RunResults: arms with known curves, and holes where real runs have holes."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from plateau_bench.results.records import Estimate, RoundMetrics, RoundRecord, RunResults

Curve = Callable[[int], float]
"""Round -> shift of the pass logit against the base model."""

STRATA = ("head", "torso", "tail")


def rise_then_fall(t: int) -> float:
    return 0.35 * min(t, 3) - 0.5 * max(0, t - 3)


def rise_then_level(t: int) -> float:
    return 0.35 * min(t, 3)


def level(t: int) -> float:
    return 0.0


DEFAULT_ARMS: Mapping[str, Curve] = {"replace": rise_then_fall, "fresh_human": rise_then_level}


def make_results(
    arms: Mapping[str, Curve] = DEFAULT_ARMS,
    *,
    seeds: tuple[int, ...] = (0,),
    rounds: int = 8,
    tasks: int = 120,
    samples: int = 8,
    without: frozenset[str] = frozenset(),
) -> RunResults:
    """`rounds` counts measured checkpoints, the base included. Metrics named in `without` are left out."""
    records: dict[str, dict[int, tuple[RoundRecord, ...]]] = {}
    for arm, curve in arms.items():
        records[arm] = {}
        for seed in seeds:
            # The same seed gives every arm the same tasks and difficulties, as in a real paired run.
            difficulty = np.random.default_rng(seed).normal(0.0, 1.5, tasks)
            rng = np.random.default_rng([seed, len(arm), sum(map(ord, arm))])
            records[arm][seed] = tuple(
                _record(arm, seed, t, rounds, curve, difficulty, samples, rng, without) for t in range(rounds)
            )
    return RunResults(
        name="synthetic",
        config={
            "arms": list(arms),
            "evaluate": {"samples": samples, "temperature": 0.7},
            "seeds": list(seeds),
        },
        environment={
            "sandbox": "bubblewrap",
            "device": "cpu",
            "git_commit": "0123abc",
            "packages": {"torch": "2.13", "transformers": "5.23"},
            "command": "plateau run configs/demo.yaml",
        },
        rounds=records,
    )


def _record(
    arm: str,
    seed: int,
    t: int,
    rounds: int,
    curve: Curve,
    difficulty: np.ndarray,
    samples: int,
    rng: np.random.Generator,
    without: frozenset[str],
) -> RoundRecord:
    tasks = len(difficulty)
    probability = 1 / (1 + np.exp(-(difficulty + curve(t) + rng.normal(0, 0.05))))
    correct = rng.binomial(samples, probability)
    narrowing = 0.12 * t if curve is not level else 0.0
    hill = np.where(correct >= 4, 1 + rng.gamma(2.0, 0.7, tasks) * math.exp(-narrowing), np.nan)
    per_task = {
        "pass@1": correct / samples,
        "pass@8": (correct > 0).astype(float),
        "hill1": hill,
    }
    strata = tuple(STRATA[i % 3] for i in range(tasks))
    values: dict[str, Estimate | None] = {name: _estimate(column) for name, column in per_task.items()}
    for stratum in STRATA:
        values[f"pass@1/{stratum}"] = _estimate(per_task["pass@1"][[s == stratum for s in strata]])
    values |= _drift(t, arm, rng)
    return RoundRecord(
        arm=arm,
        seed=seed,
        metrics=RoundMetrics(
            round=t,
            values={name: value for name, value in values.items() if name not in without},
            task_ids=tuple(f"task/{i:03d}" for i in range(tasks)),
            clusters=tuple(f"family/{i // 2:03d}" for i in range(tasks)),
            strata=strata,
            per_task={
                name: tuple(float(v) for v in column)
                for name, column in per_task.items()
                if name not in without
            },
        ),
        checkpoint_in=f"{arm}-{seed}-{t}",
        checkpoint_out=f"{arm}-{seed}-{t + 1}" if t + 1 < rounds else None,
        training={
            "examples": 200,
            "human_examples": 50 * ("human" in arm),
            "tokens": 4000 + t,
            "loss_tokens": 2000 + t,
            "precision_own": 0.9,
        }
        if t + 1 < rounds
        else {},
    )


def _drift(t: int, arm: str, rng: np.random.Generator) -> dict[str, Estimate | None]:
    fast = 0.3 if "human" in arm else 1.0
    exact = {
        "kl_base": 0.02 * t * t * fast,
        "kl_from_base": 0.03 * t * t * fast,
        "kl_prev": 0.03 * t * fast if t else None,
        "effective@8": 3.0 * math.exp(-0.1 * t * fast),
        "human_ppl": 9.0 * math.exp(0.05 * t * fast),
        "distinct4": 0.4 * math.exp(-0.06 * t * fast),
        "ngram_entropy": 9.0 - 0.15 * t * fast,
        "token_entropy": 0.8 - 0.05 * t * fast,
        "token_entropy_onpolicy": 0.7 - 0.06 * t * fast,
        "excess_ce": 0.05 * t * fast,
        "rare_ppl": 30 * math.exp(0.1 * t * fast),
        "retention_tail": 1 - 0.06 * t * fast,
        "retention_head": 1 - 0.02 * t * fast,
        "retention_torso": 1 - 0.04 * t * fast,
        "verified_precision": 0.95 - 0.002 * t if t else None,
        "infra": 0.0,
        "hack_rate": 0.0,
        "completion_tokens": 15.0,
        "truncated": 0.001 * t,
    }
    return {
        name: None if x is None else _around(x * (1 + rng.normal(0, 0.01)), abs(x) * 0.05)
        for name, x in exact.items()
    }


def _around(value: float, half: float) -> Estimate:
    return Estimate(float(value), float(value - half), float(value + half), 60)


def _estimate(column: np.ndarray) -> Estimate | None:
    seen = column[~np.isnan(column)]
    if not len(seen):
        return None
    half = 1.96 * float(seen.std(ddof=1)) / math.sqrt(len(seen))
    return _around(float(seen.mean()), half)


DRIFT = frozenset(_drift(1, "", np.random.default_rng(0)))
"""Names of the metrics without values per task; a page without them is drawn much faster."""
