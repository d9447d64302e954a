"""What one checkpoint scored: pass rates, diversity and drift, as one `RoundMetrics`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plateau_bench.agents.base import Agent
from plateau_bench.agents.models.cohort import solve_many
from plateau_bench.harness.attempts.rollout import WAVE
from plateau_bench.harness.seeds import derive
from plateau_bench.results.metrics.calibration import calibration_metrics
from plateau_bench.results.metrics.divergence import excess_bits
from plateau_bench.results.metrics.diversity import diversity_metrics
from plateau_bench.results.metrics.drift import (
    Kept,
    Scores,
    Text,
    head_types,
    rare_types,
    score,
    scored_tokens,
)
from plateau_bench.results.metrics.estimators import ratio_interval
from plateau_bench.results.metrics.success import pass_metrics, pass_table, retention_metrics
from plateau_bench.results.metrics.trajectories import trajectory_metrics
from plateau_bench.results.records import Attempt, Estimate, RoundMetrics
from plateau_bench.results.store import read_json, write_json
from plateau_bench.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from plateau_bench.harness.rounds.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What every round of a training seed is compared with; fixed before round 0 and never changed."""

    human: tuple[Text, ...]
    """Held-out human programs, rendered through the chat template."""
    bank: tuple[Text, ...]
    """The base model's own samples at temperature 1: frozen prefixes for entropy and KL(base||now)."""
    bank_clusters: tuple[str, ...]
    rare: frozenset[int]
    """Token types that cover the rarest tenth of the human corpus's occurrences."""
    head: frozenset[int] = frozenset()
    """Token types that cover the most frequent half of them."""
    token_budget: int
    """Tokens over which n-gram measures are taken in every round."""
    base_on_bank: Kept = field(default_factory=Kept, compare=False, repr=False)
    base_on_human: Kept = field(default_factory=Kept, compare=False, repr=False)
    """What the base model says about texts that never change is computed once per process."""

    def save(self, path: Path) -> None:
        write_json(
            path,
            {
                "human": [_row(text) for text in self.human],
                "bank": [_row(text) for text in self.bank],
                "bank_clusters": list(self.bank_clusters),
                "rare": sorted(self.rare),
                "head": sorted(self.head),
                "token_budget": self.token_budget,
            },
        )

    @staticmethod
    def load(path: Path) -> "Reference":
        row = read_json(path)
        return Reference(
            human=tuple(map(_text, row["human"])),
            bank=tuple(map(_text, row["bank"])),
            bank_clusters=tuple(row["bank_clusters"]),
            rare=frozenset(row["rare"]),
            head=frozenset(row.get("head", ())),  # runs from before it was recorded
            token_budget=row["token_budget"],
        )


def _row(text: Text) -> list[int] | dict[str, Any]:
    if text.spans:
        return {"token_ids": text.token_ids, "spans": text.spans}
    return [text.start, *text.token_ids]


def _text(row: list[int] | dict[str, Any]) -> Text:
    if isinstance(row, dict):
        return in_turns(row["token_ids"], row["spans"])
    return Text(token_ids=tuple(row[1:]), start=row[0])


def in_turns(token_ids: Sequence[int], spans: Sequence[Sequence[int]]) -> Text:
    """A conversation, scored where `spans` say."""
    turns = tuple((start, end) for start, end in spans)
    return Text(token_ids=tuple(token_ids), start=turns[0][0], spans=turns)


BUDGET_SHARE = 0.6
"""Of the tokens that the base writes: leaves room for later models that write less."""


def make_reference(corpus: Sequence[Text], human: Sequence[Text], samples: "DriftSamples") -> Reference:
    written = sum(len(text.written) for text in samples.texts)
    return Reference(
        human=tuple(human),
        bank=samples.texts,
        bank_clusters=samples.clusters,
        rare=rare_types(corpus),
        head=head_types(corpus),
        token_budget=int(BUDGET_SHARE * written),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSamples:
    """Samples on held-out tasks, and the task cluster that each belongs to."""

    texts: tuple[Text, ...]
    clusters: tuple[str, ...]


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


def drift_samples(bench: "Workbench", index: int, checkpoint: str, *words: int | str) -> DriftSamples:
    """What drift is measured on in round `index`. `words` say what the random numbers are for."""
    actor = bench.improver.open(checkpoint)
    if not actor.has_weights:
        return DriftSamples(texts=(), clusters=())
    agent = actor.agent(bench.config.agent, 1.0)
    samples = bench.config.evaluate.drift_samples
    if agent.needs_box:
        return of_conversations(bench.roll_out(index, checkpoint, "evaluate"), samples)
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
    samples: DriftSamples,
    models: Mapping[str, "PreTrainedModel"],
    reference: Reference,
    seed: int,
) -> RoundMetrics:
    """All metrics of one actor. `models` holds 'now', 'base' and 'previous' (the same at round 0), or nothing
    if actors have no weights; drift is left out then.

    `base_attempts` are the held-out attempts of round 0 on the same tasks.
    """
    table, base_table = pass_table(attempts), pass_table(base_attempts)
    values: dict[str, Estimate | None] = {}
    per_task: dict[str, Any] = {}
    for found, columns in (
        pass_metrics(table, seed=seed),
        retention_metrics(table, base_table, seed=seed),
        diversity_metrics(
            attempts,
            table,
            samples.texts,
            samples.clusters,
            reference.token_budget,
            seed=seed,
            base_attempts=base_attempts,
            vocabulary=models["now"].config.vocab_size if models else 0,
            tail=reference.rare,
        ),
        (calibration_metrics(attempts, seed=seed), {}),
        (trajectory_metrics(attempts, table, seed=seed), {}),
    ):
        values |= found
        per_task |= columns
    if models:
        values |= drift_metrics(samples, models, reference, seed)
    return RoundMetrics(
        round=index,
        values=values,
        task_ids=table.task_ids,
        clusters=table.clusters,
        strata=table.strata,
        per_task={name: tuple(float(x) for x in column) for name, column in per_task.items()},
    )


def drift_metrics(
    samples: DriftSamples, models: Mapping[str, "PreTrainedModel"], reference: Reference, seed: int
) -> dict[str, Estimate | None]:
    """Entropy (nats/token), KL (nats/token), cross-entropy (bits/token) and perplexities."""
    now, base, previous = models["now"], models["base"], models["previous"]
    own = score((now, base, previous), samples.texts)
    bank = score((base, now), reference.bank, kept=reference.base_on_bank)
    human = score(
        (base, now), reference.human, rare=reference.rare, by_token=True, kept=reference.base_on_human
    )
    human_clusters = [str(i) for i in range(len(reference.human))]

    def per_token(total: np.ndarray, scores: Scores, clusters: Sequence[str]) -> Estimate | None:
        return ratio_interval(total, scores.tokens, clusters, seed=seed)

    rare = ratio_interval(human.rare_nll[1], human.rare_tokens, human_clusters, seed=seed)
    return {
        "token_entropy": per_token(bank.entropy[1], bank, reference.bank_clusters),
        "token_entropy_onpolicy": per_token(own.entropy[0], own, samples.clusters),
        "kl_base": per_token(bank.kl[1], bank, reference.bank_clusters),
        "kl_from_base": per_token(own.kl[1], own, samples.clusters),
        "kl_prev": per_token(own.kl[2], own, samples.clusters),
        "self_ppl": _exp(per_token(own.nll[0], own, samples.clusters)),
        "human_ppl": _exp(per_token(human.nll[1], human, human_clusters)),
        "rare_ppl": _exp(rare),
        "excess_ce": per_token(excess_bits(human.nll[1], human.nll[0]), human, human_clusters),
        **frequency_perplexities(human, reference, seed),
    }


CONTEXT_RARE = (1e-4, 1e-2)
"""Probability under the base model of a token that is unlikely, yet no noise, where it stands."""


def frequency_perplexities(human: Scores, reference: Reference, seed: int) -> dict[str, Estimate | None]:
    """Perplexity on human programs by how common the token type is, and where the base found it unlikely.

    `human` holds the base's and this model's negative log-likelihoods by token.
    """
    if human.token_nll is None:
        return {}
    types, owner = scored_tokens(reference.human)
    head, tail = (np.isin(types, sorted(group)) for group in (reference.head, reference.rare))
    base_p = np.exp(-human.token_nll[0])
    strata = {"context_rare_ppl": (base_p >= CONTEXT_RARE[0]) & (base_p <= CONTEXT_RARE[1])}
    if reference.head:
        strata |= {"ppl/head": head, "ppl/torso": ~head & ~tail}
    texts = len(reference.human)
    return {
        name: _exp(
            ratio_interval(
                np.bincount(owner[chosen], human.token_nll[1][chosen], texts),
                np.bincount(owner[chosen], minlength=texts),
                [str(i) for i in range(texts)],
                seed=seed,
            )
        )
        for name, chosen in strata.items()
    }


def _exp(estimate: Estimate | None) -> Estimate | None:
    """exp is monotone, so the interval's ends carry over."""
    if estimate is None:
        return None
    value, low, high, n = estimate
    return Estimate(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)), n)
