"""How a model's distribution moves: entropy, KL and cross-entropy on fixed tokens (torch).

All quantities are exact over the full vocabulary at temperature 1, given the tokens they are computed on
(Rao-Blackwellised, Amini et al. 2504.10637), in nats per token unless said otherwise:

    KL(p||q) = E_{y~p} mean_l sum_v p(v|y_<l) [log p(v|y_<l) - log q(v|y_<l)]

so KL(p||q) needs text sampled from p. "Per token" means per token that the model (or human) wrote.
"""

from collections import Counter
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
    """Sums over the scored tokens of each text, for several models on the same tokens."""

    tokens: np.ndarray
    """(texts,): how many tokens were scored."""
    rare_tokens: np.ndarray
    """(texts,): how many of them are of a type in `rare`."""
    nll: np.ndarray
    """(models, texts): negative log-likelihood, nats."""
    rare_nll: np.ndarray
    """(models, texts): the same over rare tokens."""
    entropy: np.ndarray
    """(models, texts): entropy of the next-token distribution, nats."""
    kl: np.ndarray
    """(models, texts): KL(first model || this model); 0 for the first."""
    token_nll: np.ndarray | None = None
    """(models, all scored tokens in the order of the texts), if asked for; see `scored_tokens`."""


@torch.inference_mode()
def score(
    models: Sequence["PreTrainedModel"],
    texts: Sequence[Text],
    *,
    rare: frozenset[int] = frozenset(),
    by_token: bool = False,
) -> Scores:
    """Teacher-forced scores of `texts` under each model. The same object given twice is run once.

    `by_token` also keeps the negative log-likelihood of each token.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].token_ids))
    device = models[0].device
    rare_ids = torch.tensor(sorted(rare), dtype=torch.long, device=device)
    counts = np.zeros((2, len(texts)))
    sums = np.zeros((4, len(models), len(texts)))
    tokens: list[list[np.ndarray]] = [[np.zeros(0)] * len(texts) for _ in models if by_token]
    for rows in _batches(order, texts):
        ids, mask, scored = _pad([texts[i] for i in rows], device)
        is_rare = scored & torch.isin(ids[:, 1:], rare_ids)
        counts[:, rows] = torch.stack([scored.sum(-1), is_rare.sum(-1)]).cpu().numpy()
        first = _log_probs(models[0], ids, mask)
        done: dict[int, np.ndarray] = {}
        singles: dict[int, list[np.ndarray]] = {}
        for m, model in enumerate(models):
            if id(model) not in done:
                log_q = first if m == 0 else _log_probs(model, ids, mask)
                done[id(model)] = _sums(log_q, first, ids[:, 1:], scored, is_rare)
                singles[id(model)] = _token_nll(log_q, ids[:, 1:], scored) if by_token else []
            sums[:, m, rows] = done[id(model)]
            for row, nll in zip(rows, singles[id(model)], strict=False):
                tokens[m][row] = nll
    nll, rare_nll, entropy, kl = sums
    return Scores(
        tokens=counts[0],
        rare_tokens=counts[1],
        nll=nll,
        rare_nll=rare_nll,
        entropy=entropy,
        kl=kl,
        token_nll=np.stack([np.concatenate(one) for one in tokens]) if by_token and texts else None,
    )


def scored_tokens(texts: Sequence[Text]) -> tuple[np.ndarray, np.ndarray]:
    """Type and text number of each column of `Scores.token_nll`."""
    scored = [text.token_ids[max(text.start, 1) :] for text in texts]
    types = np.array([token for ids in scored for token in ids], dtype=np.int64)
    return types, np.repeat(np.arange(len(texts)), [len(ids) for ids in scored])


def _sums(
    log_q: torch.Tensor, log_p: torch.Tensor, target: torch.Tensor, scored: torch.Tensor, rare: torch.Tensor
) -> np.ndarray:
    """(4, batch): sums of nll, rare nll, entropy of q and KL(p||q) over the scored positions."""
    nll = -log_q.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    entropy = -(log_q.exp() * log_q).sum(-1)
    kl = torch.zeros_like(nll) if log_q is log_p else (log_p.exp() * (log_p - log_q)).sum(-1)
    columns = [nll * scored, nll * rare, entropy * scored, kl * scored]
    sums: np.ndarray = torch.stack([column.double().sum(-1) for column in columns]).cpu().numpy()
    return sums


def _token_nll(log_q: torch.Tensor, target: torch.Tensor, scored: torch.Tensor) -> list[np.ndarray]:
    """One array per text of the batch."""
    nll = -log_q.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return [row[mask].double().cpu().numpy() for row, mask in zip(nll, scored, strict=True)]


def head_types(texts: Sequence[Text], *, head: float = 0.5) -> frozenset[int]:
    """Fewest token types that cover the share `head` of the occurrences in a human corpus."""
    counts = _type_counts(texts)
    needed = head * sum(counts.values())
    chosen, covered = set(), 0
    for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0]), reverse=True):
        if covered >= needed:
            break
        covered += count
        chosen.add(token)
    return frozenset(chosen)


def rare_types(texts: Sequence[Text], *, tail: float = 0.1) -> frozenset[int]:
    """Token types that cover the last `tail` of the occurrences in a human corpus, rarest first.

    Fixed before round 0 and never recomputed from model output (science: rarity is a property of the
    reference, not of the model).
    """
    counts = _type_counts(texts)
    allowed = tail * sum(counts.values())
    chosen, covered = set(), 0
    for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        covered += count
        if covered > allowed:
            break
        chosen.add(token)
    return frozenset(chosen)


def _type_counts(texts: Sequence[Text]) -> Counter[int]:
    return Counter(token for text in texts for token in text.token_ids[text.start :])


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
