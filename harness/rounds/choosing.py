"""From practice to a training set, and from a new checkpoint to the one that acts next."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from plateau_bench.harness.learning.dataset import (
    Example,
    TrainingSet,
    from_attempt,
    from_sample,
    source_of,
)
from plateau_bench.harness.learning.ledger import Ledger, compute_multiplier, written_tokens
from plateau_bench.harness.rounds.improve import Practised, Seen
from plateau_bench.harness.rounds.practice import practice_facts
from plateau_bench.harness.rounds.workbench import Workbench
from plateau_bench.harness.seeds import derive
from plateau_bench.harness.strategies import Material, Trial
from plateau_bench.harness.strategies.verifiers import visible_tests
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.records import Attempt, Purpose, RoundRecord
from plateau_bench.results.store import SHARED


def choose(bench: Workbench, index: int, practised: list[Attempt], ledger: Ledger) -> TrainingSet:
    """The strategy's choice; deterministic, so a resumed round chooses the same."""
    stuff = material(bench, index, practised, ledger)
    return TrainingSet(tuple(bench.strategy.choose(stuff, bench.arm.params)))


def material(bench: Workbench, index: int, practised: list[Attempt], ledger: Ledger) -> Material:
    """What the strategy may draw on."""

    def human(count: int, verified: bool, seed: int, source: str) -> list[Example]:
        tokenizer = bench.tokenizer()
        samples = bench.suite.fresh_human(seed, count, verified=verified) if count else ()
        return [from_sample(tokenizer, sample, source=f"{source}/{i}") for i, sample in enumerate(samples)]

    def fresh(count: int, *, verified: bool = True) -> list[Example]:
        ledger.human_drawn += count
        seed = derive(bench.seed, bench.arm_name, index, "human")
        return human(count, verified, seed, f"round-{index:02d}/human")

    def original(count: int, *, verified: bool = True) -> list[Example]:
        ledger.human_drawn += count if index == 0 else 0  # drawn and paid for once
        return human(count, verified, derive(bench.seed, SHARED, "original human"), "original/human")

    def earlier() -> list[Attempt]:
        paths = [bench.owned(i).attempts(Purpose.PRACTISE) for i in range(index)]
        return [one for path in paths for one in read_attempts(path) if usable(one)]

    def usable(attempt: Attempt) -> bool:
        return bool(attempt.trajectory.token_ids) or not tokens

    tokens = bench.has_weights
    # Without tokens: crashed, or said over the wire in a way that the chat template refuses or rewrites.
    current = [attempt for attempt in practised if usable(attempt)]
    if not current and any(attempt.verdict.verified for attempt in practised):
        raise ValueError(
            f"agent: no success of round {index} became tokens of the checkpoint, so there is nothing to "
            "train on; its chat template refuses or rewrites such conversations"
        )
    return Material(
        current=current,
        earlier=earlier,
        fresh_human=fresh,
        original_human=original,
        as_example=partial(from_attempt, tokens=tokens),
        budget=bench.config.train.examples,
        ledger=ledger,
        rng=random.Random(derive(bench.seed, bench.arm_name, index, "choose")),
    )


def seen(bench: Workbench, index: int, practised: Sequence[Attempt], chosen: TrainingSet) -> Seen:
    """What the improver learns from after round `index`."""
    instructions = {task.id: task.instruction for task in bench.practice_tasks(index)}
    times = Counter(example.source for example in chosen.examples)
    attempts = [
        Practised(
            task_id=attempt.task_id,
            instruction=instructions[attempt.task_id],
            answer=attempt.trajectory.answer,
            accepted=visible_tests(attempt, bench.arm.params),
            chosen=times[source_of(attempt)],
        )
        for attempt in practised
    ]
    untold = tuple(replace(example, correct=None) for example in chosen.examples)
    return Seen(attempts=attempts, examples=TrainingSet(untold))


def judge(
    bench: Workbench, index: int, checkpoint: str, made: str, ledger: Ledger, history: Sequence[RoundRecord]
) -> tuple[str, dict[str, Any]]:
    """(checkpoint that acts next, facts). `made` was made in this round from `checkpoint`.

    Only strategies with a judge look at the selection split. Everything they know is in the records of
    the finished rounds, so a resumed run decides the same.
    """
    if bench.strategy.judge is None:
        return made, {}
    of_base = read_attempts(bench.shared.attempts(Purpose.SELECT))
    trials = [Trial(checkpoint=bench.base, parent="", score=selection_score(bench, list(of_base)))]
    trials += [
        Trial(checkpoint=r.training["made"], parent=r.checkpoint_in, score=r.training["selection_score"])
        for r in history
        if "made" in r.training
    ]
    path = bench.folder(index).attempts(Purpose.SELECT)
    attempts = bench.roll_out(index + 1, made, Purpose.SELECT, path=path)
    ledger.selection_attempts += len(attempts)
    ledger.extra_tokens += written_tokens(attempts)
    score = selection_score(bench, attempts)
    following = bench.strategy.judge(
        [*trials, Trial(checkpoint=made, parent=checkpoint, score=score)], bench.arm.params
    )
    return following, {"made": made, "selection_score": score, "kept": following == made}


def selection_score(bench: Workbench, attempts: Sequence[Attempt]) -> float:
    """Share of attempts that pass the visible tests: the hidden ones never select."""
    return sum(visible_tests(attempt, bench.arm.params) for attempt in attempts) / max(len(attempts), 1)


def account(
    bench: Workbench,
    training_set: TrainingSet,
    practised: Sequence[Attempt],
    ledger: Ledger,
    history: Sequence[RoundRecord],
) -> dict[str, Any]:
    """What the round learnt from and what it cost, in human data and in compute."""
    facts = training_set.facts()
    accepted = [attempt for attempt in practised if visible_tests(attempt, bench.arm.params)]
    tokens = sum(len(attempt.trajectory.token_ids) for attempt in accepted)
    used = min(len(accepted), bench.config.train.examples)
    sampled = written_tokens(practised)
    multiplier = compute_multiplier(
        sampled=sampled,
        extra=ledger.extra_tokens,
        trained=facts["tokens"],
        replace_trained=tokens * used / max(len(accepted), 1),
        epochs=bench.config.train.epochs,
    )
    return (
        facts
        | practice_facts(list(practised))
        | ledger.facts([record.training for record in history])
        | {"sampled_tokens": sampled, "compute_multiplier": multiplier}
    )
