"""Pools, picks, draws and human shares that strategies are composed of."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from pydantic import Field

from plateau_bench.harness.learning.dataset import Example
from plateau_bench.harness.strategies.base import Accepts, Material
from plateau_bench.harness.strategies.params import Usual
from plateau_bench.harness.strategies.verifiers import honest
from plateau_bench.results.metrics.program_classes import program_key
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome


def all_rounds(material: Material, accepts: Accepts) -> list[Attempt]:
    return [attempt for attempt in (*material.earlier(), *material.current) if accepts(attempt)]


def any_attempt(material: Material, accepts: Accepts) -> list[Attempt]:
    """All of this round's attempts, accepted or not; the verifier only decides how many are used."""
    return [attempt for attempt in material.current if honest(attempt) or accepts(attempt)]


def program_class(attempt: Attempt) -> tuple[str, str]:
    """Task and class of program: equal but for layout, comments and own names."""
    return attempt.task_id, program_key(attempt.trajectory.code) or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capped(Usual):
    """Parameters of a cap per task."""

    cap: Annotated[int, Field(ge=1)] = 4
    """Most successes per task."""


def distinct_capped(material: Material, pool: list[Attempt], params: Capped) -> list[Attempt]:
    """One attempt per class of program, at most `cap` per task; which ones is drawn."""
    shuffled = material.rng.sample(pool, len(pool))
    firsts = {program_class(attempt): attempt for attempt in reversed(shuffled)}.values()
    taken: Counter[str] = Counter()
    kept = []
    for attempt in firsts:
        taken[attempt.task_id] += 1
        if taken[attempt.task_id] <= params.cap:
            kept.append(attempt)
    return kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Hard(Usual):
    """Parameters of a choice of hard tasks."""

    successes: Annotated[int, Field(ge=1)] = 1
    """Most successes of a hard task in one round."""


def hard_tasks(material: Material, pool: list[Attempt], params: Hard) -> list[Attempt]:
    """Successes on tasks that were solved at most `successes` times this round."""
    solved = Counter(attempt.task_id for attempt in pool)
    return [attempt for attempt in pool if solved[attempt.task_id] <= params.successes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filtered(Usual):
    """Parameters of a filter that keeps a share."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the successes that is kept."""


def most_surprising(material: Material, pool: list[Attempt], params: Filtered) -> list[Attempt]:
    """The `share` with the highest perplexity under the model that wrote them.

    The sampler recorded their log-probabilities at temperature 1, so no forward pass is needed.
    """
    return top_share(pool, [-fmean(attempt.trajectory.logprobs or (0.0,)) for attempt in pool], params.share)


def top_share(pool: Sequence[Attempt], scores: Sequence[float], share: float) -> list[Attempt]:
    """The `share` of the pool (at least one) with the highest scores, in the pool's order."""
    best = sorted(range(len(pool)), key=lambda i: (-scores[i], i))[: max(1, round(share * len(pool)))]
    return [pool[i] for i in sorted(best)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked(Usual):
    """Parameters of checks by people."""

    verifications: Annotated[int, Field(ge=0)] = 20
    """Verdicts that are bought from people each round."""


def people_check(material: Material, pool: list[Attempt], params: Checked) -> list[Attempt]:
    """Buy verdicts on up to `verifications` classes of programs and drop those found wrong.

    First come classes that no earlier round had on that task, then those on tasks where the visible tests
    split (accepted some of this round's attempts and refused others), then the rest. One verdict holds for
    all attempts of the class. This is the only place where the hidden tests stand for a person.
    """
    known = {program_class(attempt) for attempt in material.earlier() if attempt.verdict.verified}
    split = {attempt.task_id for attempt in material.current if not attempt.verdict.verified}
    classes = sorted({program_class(attempt): attempt for attempt in reversed(pool)}.items())
    material.rng.shuffle(classes)
    classes.sort(key=lambda item: (item[0] in known, item[0][0] not in split))
    bought = classes[: params.verifications]
    material.ledger.human_verifications += len(bought)
    wrong = {key for key, attempt in bought if attempt.verdict.outcome is not Outcome.PASSED}
    return [attempt for attempt in pool if program_class(attempt) not in wrong]


def everything(material: Material, pool: list[Attempt], count: int) -> list[Attempt]:
    """The whole pool, however large: the one exception to the budget rule."""
    return pool


def rare_classes_first(material: Material, pool: list[Attempt], count: int) -> list[Attempt]:
    """`count` with replacement, each class of programs of a task as likely as any other."""
    members = Counter(map(program_class, pool))
    weights = [1 / members[program_class(attempt)] for attempt in pool]
    return material.rng.choices(pool, weights, k=count) if pool else []


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified(Usual):
    """Parameters of programs that people wrote."""

    verified: bool = True
    """Only human programs that pass their tests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanShare(Verified):
    """Parameters of a training set that people wrote a part of."""

    fraction: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of each round's examples that people wrote."""


def fresh_human(material: Material, size: int, params: HumanShare) -> list[Example]:
    """`fraction` of the training set: new human programs every round."""
    return material.fresh_human(round(params.fraction * size), verified=params.verified)


def only_fresh_human(material: Material, size: int, params: Verified) -> list[Example]:
    """The whole training set: new human programs every round."""
    return material.fresh_human(size, verified=params.verified)


def original_human(material: Material, size: int, params: HumanShare) -> list[Example]:
    """`fraction` of the training set, drawn from a human set fixed before round 0."""
    count = round(params.fraction * material.budget)
    fixed = material.original_human(count, verified=params.verified)
    return material.rng.sample(fixed, round(params.fraction * size))
