"""What one checkpoint scored: pass rates, diversity and drift, as one `RoundMetrics`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plateau_bench.agents.base import Agent
from plateau_bench.agents.models.cohort import solve_many
from plateau_bench.harness.attempts.rollout import WAVE
from plateau_bench.harness.seeds import derive
from plateau_bench.results.metrics import registry
from plateau_bench.results.metrics.drift import Text, head_types, rare_types
from plateau_bench.results.metrics.drift_values import DriftSamples, Reference, in_turns
from plateau_bench.results.metrics.metric import RoundData
from plateau_bench.results.records import Attempt, RoundMetrics
from plateau_bench.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from plateau_bench.harness.rounds.workbench import Workbench


BUDGET_SHARE = 0.6
"""The share of the base's written tokens that n-grams are counted in; a later model may write less."""


def make_reference(corpus: Sequence[Text], human: Sequence[Text], samples: DriftSamples) -> Reference:
    """What all rounds are compared with; `corpus` is human text for training, `human` held-out human text."""
    written = sum(len(text.written) for text in samples.texts)
    return Reference(
        human=tuple(human),
        bank=samples.texts,
        bank_clusters=samples.clusters,
        rare=rare_types(corpus),
        head=head_types(corpus),
        token_budget=int(BUDGET_SHARE * written),
    )


def sample_freely(agent: Agent, tasks: Sequence[Task], samples: int, *seed_parts: int | str) -> DriftSamples:
    """`samples` completions per task from an agent at temperature 1."""
    texts: list[Text] = []
    clusters: list[str] = []
    for start in range(0, len(tasks), WAVE):
        wave = tasks[start : start + WAVE]
        jobs = [
            (task.instruction, [derive(*seed_parts, "drift", task.id, i) for i in range(samples)])
            for task in wave
        ]
        for task, group in zip(wave, solve_many(agent, jobs, wave=WAVE), strict=True):
            for trajectory in group:
                if trajectory.loss_spans:
                    texts.append(Text(token_ids=trajectory.token_ids, start=trajectory.loss_spans[0][0]))
                    clusters.append(task.cluster or task.id)
    return DriftSamples(texts=tuple(texts), clusters=tuple(clusters))


def drift_samples(
    bench: "Workbench", checkpoint: str, attempts: Sequence[Attempt], *words: int | str
) -> DriftSamples:
    """What the drift of an actor is measured on: samples of its own, or conversations among `attempts`.

    `attempts` are its attempts at the held-out tasks; `words` say what the random numbers are for. An actor
    without weights has none.
    """
    actor = bench.improver.open(checkpoint)
    if not actor.has_weights:
        return DriftSamples(texts=(), clusters=())
    agent = actor.agent(bench.config.agent, 1.0)
    samples = bench.config.evaluate.drift_samples
    if agent.needs_box:
        return of_conversations(attempts, samples)
    return sample_freely(agent, bench.held_out, samples, bench.seed, *words)


def of_conversations(attempts: Sequence[Attempt], samples: int) -> DriftSamples:
    """The first `samples` conversations per task of agents with boxes, as they were graded.

    More of them, at temperature 1, would cost as many boxes again; so these have the agent's temperature.
    """
    kept = [a for a in attempts if a.sample < samples and a.trajectory.loss_spans]
    return DriftSamples(
        texts=tuple(in_turns(a.trajectory.token_ids, a.trajectory.loss_spans) for a in kept),
        clusters=tuple(a.cluster or a.task_id for a in kept),
    )


def measure(
    index: int,
    attempts: Sequence[Attempt],
    base_attempts: Sequence[Attempt],
    samples: DriftSamples | None,
    models: Mapping[str, "PreTrainedModel"],
    reference: Reference | None,
    seed: int,
) -> RoundMetrics:
    """All metrics of one actor, those of installed packages included.


    `models` holds 'now', 'base' and 'previous' (the same at round 0); without models, samples and reference
    there are no measures of drift. `base_attempts` are the held-out attempts of round 0 on the same tasks.
    """
    data = RoundData(
        attempts=attempts,
        base_attempts=base_attempts,
        seed=seed,
        samples=samples,
        reference=reference,
        models=models,
    )
    values, per_task = registry.compute(data)
    table = data.table
    return RoundMetrics(
        round=index,
        values=values,
        task_ids=table.task_ids,
        clusters=table.clusters,
        strata=table.strata,
        per_task={name: tuple(float(x) for x in column) for name, column in per_task.items()},
    )
