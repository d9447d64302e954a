"""Drift as named values: how far one checkpoint has moved from the base model and from human text (torch)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plateau_bench.results.metrics.drift import Kept, Scores, Text, score, scored_tokens
from plateau_bench.results.metrics.estimators import Floats, Values, ratio_interval
from plateau_bench.results.records import Estimate
from plateau_bench.results.store import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        """Write it as `reference.json`."""
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
        """Read what `save` wrote."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSamples:
    """Samples on held-out tasks, and the task cluster that each belongs to."""

    texts: tuple[Text, ...]
    clusters: tuple[str, ...]


def excess_bits(nll_now: Floats, nll_base: Floats) -> Floats:
    """(nll now - nll base) / log 2 of human texts: over their tokens, the excess cross-entropy.

    KL(human||now) - KL(human||base): the entropy of the authors, unknown, cancels. 0 at round 0.
    """
    return (np.asarray(nll_now, dtype=np.float64) - np.asarray(nll_base)) / math.log(2)


def drift_metrics(
    samples: DriftSamples, models: Mapping[str, "PreTrainedModel"], reference: Reference, seed: int
) -> Values:
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


def frequency_perplexities(human: Scores, reference: Reference, seed: int) -> Values:
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
