"""The records of a run. Every record is complete when it is born; none is changed later."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from plateau_bench.agents.base import Trajectory
from plateau_bench.tasks.base import Split, Verdict


class Purpose(StrEnum):
    """What attempts are made for. It keeps their random numbers apart, so its text must never change."""

    PRACTISE = "practise"
    """Train tasks, to learn from."""
    EVALUATE = "evaluate"
    """Held-out tasks, to measure a checkpoint."""
    SELECT = "select"
    """Selection tasks, to pick a checkpoint."""
    EVAL = "eval"
    """An evaluation without training."""


class Estimate(NamedTuple):
    """A number with its 95 % interval: `Estimate(0.52, 0.47, 0.57, 200)`.

    Where nothing was observed there is no Estimate (None), never a value of 0 with n = 0.
    """

    value: float
    low: float
    high: float
    n: int
    """Independent units behind the number (task clusters, or training seeds where several)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One graded rollout. It exists only with its verdict."""

    arm: str
    seed: int
    """Training seed (which repetition of the whole experiment), not the sampling seed."""
    round: int
    """Index of the checkpoint that acted; round 0 is the base model."""
    split: Split
    task_id: str
    task_digest: str
    stratum: str
    cluster: str
    sample: int
    temperature: float | None
    """None where none was asked for: the endpoint's own."""
    trajectory: Trajectory
    verdict: Verdict
    later: tuple[tuple[tuple[str | int, ...], Any], ...] = ()
    """What a newer plateau wrote and this one does not know: place in the row -> value. It is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundMetrics:
    """What one checkpoint scored on the held-out tasks (and the drift of its distribution).

    `per_task["pass@1"][i]` belongs to `task_ids[i]` and `clusters[i]`; NaN where a task has no value
    (fewer than four correct programs for "hill1"). Task order is the same in every round of a seed.
    """

    round: int
    values: Mapping[str, Estimate | None]
    """Metric name -> estimate within this seed. Names: docs/metrics.md."""
    task_ids: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    per_task: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """One finished round of one arm and training seed: who acted, what was learnt from it, what came out."""

    arm: str
    seed: int
    metrics: RoundMetrics
    checkpoint_in: str
    checkpoint_out: str | None
    """None if nothing was trained: last round, arm without training, or no success to learn from."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the training set made from this round: examples, tokens, origins, verifier precision."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Phase -> seconds. The only field in which a resumed run may differ from an uninterrupted one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResults:
    """Everything a report needs, read back from a run folder."""

    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    """sandbox backend, device, package versions, git commit, cpu count ..."""
    rounds: Mapping[str, Mapping[int, tuple[RoundRecord, ...]]]
    """arm -> training seed -> rounds in order."""


def fields_of(record: Any) -> dict[str, Any]:
    """`dataclasses.asdict` of one level: the long tuples of tokens are not copied value by value."""
    return {one.name: getattr(record, one.name) for one in fields(record)}


def flat(attempt: Attempt) -> dict[str, Any]:
    """The fields of an attempt, its verdict and its trajectory side by side; enums become their strings.

    The trajectory's seed is called `sampling_seed`.
    """
    row = fields_of(attempt.trajectory) | fields_of(attempt.verdict) | fields_of(attempt)
    row["sampling_seed"] = attempt.trajectory.seed
    return {name: str(value) if isinstance(value, Enum) else value for name, value in row.items()}
