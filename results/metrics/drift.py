"""How a model's distribution moves: entropy, KL and cross-entropy on fixed tokens (torch).

All quantities are exact over the full vocabulary at temperature 1, given the tokens they are computed on
(Rao-Blackwellised, Amini et al. 2504.10637), in nats per token unless said otherwise:

    KL(p||q) = E_{y~p} mean_l sum_v p(v|y_<l) [log p(v|y_<l) - log q(v|y_<l)]

so KL(p||q) needs text sampled from p. "Per token" means per token that the model (or human) wrote.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_PADDED_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Padded tokens in one forward pass: on a CPU what its caches hold, on a GPU what keeps it busy."""
KEPT_BYTES = 256 << 20
"""Log-probabilities that one `Kept` holds at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One tokenised sequence: `Text(token_ids=(1, 7, 9, 4), start=2)` has two scored tokens."""

    token_ids: tuple[int, ...]
    start: int
    """Tokens from here on are scored; those before are context."""
    spans: tuple[tuple[int, int], ...] = ()
    """Half-open ranges that are scored, in place of all from `start`: a text written in several turns."""

    @property
    def scored(self) -> tuple[tuple[int, int], ...]:
        return self.spans or ((self.start, len(self.token_ids)),)

    @property
    def written(self) -> tuple[int, ...]:
        """The tokens that are scored."""
        return tuple(token for start, end in self.scored for token in self.token_ids[start:end])


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


class Kept:
    """What the first model of `score` says, kept for the next call with the same model and texts.

    Room is limited (`KEPT_BYTES`); what does not fit is computed again, with the same result.
    """

    def __init__(self) -> None:
        self._found: dict[int, torch.Tensor] = {}
        self._room = KEPT_BYTES
        self._source: tuple[object, object] = (None, None)

    def log_probs(
        self, model: "PreTrainedModel", texts: object, batch: int, ids: torch.Tensor, scored: torch.Tensor
    ) -> torch.Tensor:
        """`_log_probs` of the batch of this number."""
        if self._source[0] is not model or self._source[1] is not texts:
            self._found, self._room, self._source = {}, KEPT_BYTES, (model, texts)
        if batch in self._found:
            return self._found[batch]
        made = _log_probs(model, ids, scored)
        if made.nbytes <= self._room:
            self._found[batch], self._room = made, self._room - made.nbytes
        return made


@torch.inference_mode()
def score(
    models: Sequence["PreTrainedModel"],
    texts: Sequence[Text],
    *,
    rare: frozenset[int] = frozenset(),
    by_token: bool = False,
    kept: Kept | None = None,
) -> Scores:
    """Teacher-forced scores of `texts` under each model. The same object given twice is run once.

    `by_token` also keeps the negative log-likelihood of each token; `kept` what the first model says.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].token_ids))
    device, kept = models[0].device, kept or Kept()
    rare_ids = torch.tensor(sorted(rare), dtype=torch.long, device=device)
    counts = np.zeros((2, len(texts)))
    sums = np.zeros((4, len(models), len(texts)))
    tokens: list[list[np.ndarray]] = [[np.zeros(0)] * len(texts) for _ in models if by_token]
    for number, rows in enumerate(_batches(order, texts, MAX_PADDED_TOKENS.get(device.type, 2048))):
        ids, scored = _pad([texts[i] for i in rows], device)
        target, owner = ids[:, 1:][scored], scored.nonzero()[:, 0].cpu().numpy()
        is_rare = torch.isin(target, rare_ids)
        counts[:, rows] = _per_text([torch.ones_like(target), is_rare], owner, len(rows))
        first = kept.log_probs(models[0], texts, number, ids, scored)
        done: dict[int, list[torch.Tensor]] = {}
        for m, model in enumerate(models):
            if id(model) not in done:
                log_q = first if m == 0 else _log_probs(model, ids, scored)
                done[id(model)] = _columns(log_q, first, target, is_rare)
            sums[:, m, rows] = _per_text(done[id(model)], owner, len(rows))
            if by_token:
                nll = done[id(model)][0].double().cpu().numpy()
                ends = np.bincount(owner, minlength=len(rows)).cumsum()[:-1]
                for row, part in zip(rows, np.split(nll, ends), strict=True):
                    tokens[m][row] = part
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
    scored = [
        [t for start, end in text.scored for t in text.token_ids[max(start, 1) : end]] for text in texts
    ]
    types = np.array([token for ids in scored for token in ids], dtype=np.int64)
    return types, np.repeat(np.arange(len(texts)), [len(ids) for ids in scored])


def _columns(
    log_q: torch.Tensor, log_p: torch.Tensor, target: torch.Tensor, rare: torch.Tensor
) -> list[torch.Tensor]:
    """For each scored token: nll, rare nll, entropy of q and KL(p||q)."""
    nll = -log_q.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    entropy = -(log_q.exp() * log_q).sum(-1)
    kl = torch.zeros_like(nll) if log_q is log_p else (log_p.exp() * (log_p - log_q)).sum(-1)
    return [nll, nll * rare, entropy, kl]


def _per_text(columns: Sequence[torch.Tensor], owner: np.ndarray, texts: int) -> np.ndarray:
    """(columns, texts): sums over the tokens of each text."""
    return np.stack([np.bincount(owner, column.double().cpu().numpy(), texts) for column in columns])


def head_types(texts: Sequence[Text], *, head: float = 0.5) -> frozenset[int]:
    """Fewest token types that cover the share `head` of the occurrences in a human corpus."""
    types, total = _rarest_first(texts)
    return frozenset(token for token, covered in types if total - covered < head * total)


def rare_types(texts: Sequence[Text], *, tail: float = 0.1) -> frozenset[int]:
    """Token types that cover the last `tail` of the occurrences in a human corpus, rarest first.

    Fixed before round 0 and never recomputed from model output (science: rarity is a property of the
    reference, not of the model).
    """
    types, total = _rarest_first(texts)
    return frozenset(token for token, covered in types if covered <= tail * total)


def _rarest_first(texts: Sequence[Text]) -> tuple[list[tuple[int, int]], int]:
    """Each type with the occurrences that it and all rarer ones cover; and how many there are."""
    counts = Counter(token for text in texts for token in text.written)
    ordered = sorted(counts, key=lambda token: (counts[token], token))
    return list(zip(ordered, accumulate(counts[t] for t in ordered), strict=True)), counts.total()


def _log_probs(model: "PreTrainedModel", ids: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """(scored tokens of the batch, vocabulary): log p of each, in float32.

    The padding is on the right, where a causal model cannot see it, so no mask is needed.
    """
    earliest = int(scored.any(0).int().argmax())
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - earliest).logits
    return logits[:, :-1][scored[:, earliest:]].float().log_softmax(-1)


def _batches(order: Sequence[int], texts: Sequence[Text], padded_tokens: int) -> list[list[int]]:
    result: list[list[int]] = []
    for i in order:
        if not result or (len(result[-1]) + 1) * len(texts[i].token_ids) > padded_tokens:
            result.append([])
        result[-1].append(i)
    return result


def _pad(texts: Sequence[Text], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids (batch, length), and which targets count (batch, length - 1)."""
    length = max(len(text.token_ids) for text in texts)
    ids = torch.zeros((len(texts), length), dtype=torch.long)
    scored = torch.zeros((len(texts), length - 1), dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.token_ids)] = torch.tensor(text.token_ids)
        for start, end in text.scored:
            scored[row, max(start, 1) - 1 : end - 1] = True
    return ids.to(device), scored.to(device)
