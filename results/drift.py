"""How a model's distribution moves: entropy, KL and cross-entropy on fixed tokens (torch).

All quantities are exact over the full vocabulary at temperature 1, given the tokens they are computed on
(Rao-Blackwellised, Amini et al. 2504.10637), in nats per token unless said otherwise:

    KL(p||q) = E_{y~p} mean_l sum_v p(v|y_<l) [log p(v|y_<l) - log q(v|y_<l)]

so KL(p||q) needs text sampled from p. "Per token" means per token that the model (or human) wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_PADDED_TOKENS = 8192
"""Padded tokens in one forward pass; bounds memory, not results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One tokenised sequence: `Text(token_ids=(1, 7, 9, 4), start=2)` has two scored tokens."""

    token_ids: tuple[int, ...]
    start: int
    """Tokens from here on are scored; those before are context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Sums over the scored tokens of each text; arrays of shape (texts,)."""

    tokens: np.ndarray
    nll: np.ndarray
    """Negative log-likelihood under the model, nats."""
    entropy: np.ndarray
    rare_tokens: np.ndarray
    rare_nll: np.ndarray
    """The same, over tokens whose type is in `rare`."""
    kl: tuple[np.ndarray, ...]
    """KL(model || other) for each of `others`."""


@torch.inference_mode()
def score(
    model: "PreTrainedModel",
    texts: Sequence[Text],
    *,
    others: Sequence["PreTrainedModel"] = (),
    rare: frozenset[int] = frozenset(),
) -> Scores:
    """Teacher-forced scores of `texts` under `model`, and its KL to `others` on the same tokens."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].token_ids))
    rare_ids = torch.tensor(sorted(rare), dtype=torch.long, device=model.device)
    sums = np.zeros((5 + len(others), len(texts)))
    for rows in _batches(order, texts):
        ids, mask, scored = _pad([texts[i] for i in rows], model.device)
        log_p = _log_probs(model, ids, mask)
        p = log_p.exp()
        target = ids[:, 1:]
        nll = -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        is_rare = scored & torch.isin(target, rare_ids)
        columns = [scored, nll * scored, -(p * log_p).sum(-1) * scored, is_rare, nll * is_rare]
        columns += [(p * (log_p - _log_probs(q, ids, mask))).sum(-1) * scored for q in others]
        sums[:, rows] = torch.stack([column.double().sum(-1) for column in columns]).cpu().numpy()
    return Scores(
        tokens=sums[0],
        nll=sums[1],
        entropy=sums[2],
        rare_tokens=sums[3],
        rare_nll=sums[4],
        kl=tuple(sums[5:]),
    )


def rare_types(texts: Sequence[Text], *, tail: float = 0.1) -> frozenset[int]:
    """Token types that cover the last `tail` of the occurrences in a human corpus, rarest first.

    Fixed before round 0 and never recomputed from model output (science: rarity is a property of the
    reference, not of the model).
    """
    counts: dict[int, int] = {}
    for text in texts:
        for token in text.token_ids[text.start :]:
            counts[token] = counts.get(token, 0) + 1
    allowed = tail * sum(counts.values())
    chosen, covered = set(), 0
    for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        covered += count
        if covered > allowed:
            break
        chosen.add(token)
    return frozenset(chosen)


def _log_probs(model: "PreTrainedModel", ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, length - 1, vocabulary): log p of each next token, in float32."""
    return model(input_ids=ids, attention_mask=mask).logits[:, :-1].float().log_softmax(-1)


def _batches(order: Sequence[int], texts: Sequence[Text]) -> list[list[int]]:
    result: list[list[int]] = []
    for i in order:
        if not result or (len(result[-1]) + 1) * len(texts[i].token_ids) > MAX_PADDED_TOKENS:
            result.append([])
        result[-1].append(i)
    return result


def _pad(texts: Sequence[Text], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids and mask (batch, length), and which targets count (batch, length - 1)."""
    length = max(len(text.token_ids) for text in texts)
    ids = torch.zeros((len(texts), length), dtype=torch.long)
    mask = torch.zeros((len(texts), length), dtype=torch.long)
    scored = torch.zeros((len(texts), length - 1), dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.token_ids)] = torch.tensor(text.token_ids)
        mask[row, : len(text.token_ids)] = 1
        scored[row, max(text.start, 1) - 1 : len(text.token_ids) - 1] = True
    return ids.to(device), mask.to(device), scored.to(device)
