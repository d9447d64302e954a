"""Batched sampling from a causal language model: tokens, their log-probabilities, and why each row ended.

It drives the model's ordinary forward with transformers' own `DynamicCache`, so any decoder that takes
`position_ids` works (Llama, Qwen, GPT-2 and their kin). Each prompt is prefilled once and its cache is
shared out to all its samples; rows that have ended are dropped as the batch thins out. Full-attention
layers of the cache keep room to grow, instead of being copied for every token.

Randomness is counter-based (Philox, Salmon et al. 2011): sample i of a prompt consumes one uniform per
step from the stream of its own seed and picks a token by inverse CDF. What a row draws therefore depends
on (weights, prompt, seed, temperature) and not on its neighbours, up to float rounding of the logits; the
same plan of prompts and seeds gives the same bits again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

DROP_BELOW = 0.85  # share of live rows under which compacting the cache costs less than carrying the dead


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One completion."""

    token_ids: tuple[int, ...]
    """What the model wrote, the stop token included when it wrote one."""
    logprobs: tuple[float, ...]
    """Natural-log probability of each token at temperature 1 over the full vocabulary."""
    finish: Literal["stop", "length"]


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A `DynamicLayer` whose tensors are the filled part of buffers with room for further tokens."""

    ROOM = 16
    """Tokens by which a full buffer grows: one copy in so many steps, at little memory to spare."""
    _buffers: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        filled = self.get_seq_length()
        end = filled + key_states.shape[2]
        if not filled:
            self._buffers = tuple(_roomy(new[:, :, :0], end) for new in (key_states, value_states))
        elif end > self._buffers[0].shape[2]:
            self._buffers = tuple(_roomy(old, end + self.ROOM) for old in self._buffers)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, filled:end] = new
        return self._filled(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        filled = self.get_seq_length()
        self._buffers = tuple(buffer.index_select(0, indices) for buffer in self._buffers)
        self._filled(filled)

    def _filled(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = keys, values = [buffer[:, :, :end] for buffer in self._buffers]
        return keys, values


def _roomy(old: torch.Tensor, room: int) -> torch.Tensor:
    """A copy with `room` slots, of which the first are filled."""
    new = old.new_empty((*old.shape[:2], room, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new


def _cache(model: PreTrainedModel) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]  # type: ignore[no-untyped-call]
    return cache


class _Row(NamedTuple):
    prompt: int
    sample: int


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    *,
    temperature: float,
    max_new_tokens: int | Sequence[int],
    stop_ids: Sequence[int],
    pad_id: int = 0,
    max_rows: int = 2048,
    max_slots: int = 1 << 20,
) -> list[list[Sample]]:
    """One `Sample` per seed of each prompt, in the order given.

    temperature 0 is greedy and ignores the seeds. `max_new_tokens` is one number, or one per prompt. Work is
    split into batches of at most `max_rows` rows and `max_slots` cache slots (rows x (longest prompt + most
    new tokens)), prompts of similar length together; the split depends on the arguments only.

    Raises ValueError for an empty prompt, more positions than the model has, or a model in training mode.
    """
    limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    _check(model, prompts, seeds, temperature, limits)
    found: dict[_Row, Sample] = {}
    for rows in _batches(prompts, seeds, max_rows, max_slots, max(limits, default=0)):
        owners = [row.prompt for row in rows]
        uniforms = np.empty((len(rows), max(limits[i] for i in owners) if temperature > 0 else 0), np.float32)
        for uniform, (prompt, number) in zip(uniforms, rows, strict=True):
            uniform[:] = np.random.Generator(np.random.Philox(key=seeds[prompt][number])).random(len(uniform))
        tokens, logprobs = _run(model, prompts, owners, uniforms, temperature, limits, stop_ids, pad_id)
        ends = np.isin(tokens, list(stop_ids))
        stops = np.where(ends.any(1), ends.argmax(1), tokens.shape[1]).tolist()
        for row, stop, ids, logs in zip(rows, stops, tokens.tolist(), logprobs.tolist(), strict=True):
            length = min(stop + 1, limits[row.prompt])
            found[row] = Sample(
                token_ids=tuple(ids[:length]),
                logprobs=tuple(logs[:length]),
                finish="stop" if stop < length else "length",
            )
    return [[found[_Row(i, j)] for j in range(len(own))] for i, own in enumerate(seeds)]


def _check(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    temperature: float,
    limits: Sequence[int],
) -> None:
    assert len(prompts) == len(seeds), "one list of seeds per prompt"
    if model.training:
        raise ValueError("sampling needs model.eval(): dropout would make the log-probabilities wrong")
    if temperature < 0 or min(limits, default=1) < 1:
        raise ValueError(
            f"need temperature >= 0 and max_new_tokens >= 1, got {temperature} and {min(limits, default=1)}"
        )
    if not all(prompts):
        raise ValueError("empty prompt: a prompt needs at least one token")
    room = positions_of(model)
    for prompt, new in zip(prompts, limits, strict=True):
        if len(prompt) + new > room:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens plus max_new_tokens {new} exceeds the {room} positions "
                f"of {model.config.name_or_path or type(model).__name__}; shorten it or lower max_new_tokens"
            )


def positions_of(model: PreTrainedModel) -> int:
    """How many tokens a conversation may have; a very large number where the config says nothing."""
    config: Any = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or 1 << 62


def _batches(
    prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], max_rows: int, max_slots: int, new: int
) -> Iterator[list[_Row]]:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    batch: list[_Row] = []
    for row in (_Row(i, j) for i in order for j in range(len(seeds[i]))):
        if batch and (
            len(batch) == max_rows or (len(batch) + 1) * (len(prompts[row.prompt]) + new) > max_slots
        ):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def _run(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    owners: list[int],
    uniforms: np.ndarray,
    temperature: float,
    limits: Sequence[int],
    stop_ids: Sequence[int],
    pad_id: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and log-probabilities, [rows, most of `limits`]; what follows a row's end is noise.

    `owners` says for each row which of `prompts` and `limits` (tokens to write at most) is its own.
    """
    device, room = model.device, positions_of(model)
    allowed = torch.tensor([limits[i] for i in owners], device=device)
    max_new_tokens = int(allowed.max())
    unique = list(dict.fromkeys(owners))
    width = max(len(prompts[i]) for i in unique)
    ids = torch.tensor(
        [[pad_id] * (width - len(prompts[i])) + list(prompts[i]) for i in unique], device=device
    )
    pads = torch.tensor([width - len(prompts[i]) for i in unique], device=device)
    slots = torch.arange(width + max_new_tokens, device=device)
    mask = slots >= pads[:, None]
    cache = _cache(model)
    logits = model(
        input_ids=ids, attention_mask=mask[:, :width], past_key_values=cache, use_cache=True,
        position_ids=(slots[:width] - pads[:, None]).clamp(min=0), logits_to_keep=1,
    ).logits[:, -1]  # fmt: skip
    where = {prompt: i for i, prompt in enumerate(unique)}
    live = torch.tensor([where[i] for i in owners], device=device)
    cache.batch_select_indices(live)
    logits, mask, pads = logits[live], mask[live], pads[live]

    drawn = torch.from_numpy(uniforms).to(device)
    stops = torch.tensor(list(stop_ids), device=device)
    tokens = torch.full((len(owners), max_new_tokens), pad_id, device=device)
    logprobs = torch.zeros(len(owners), max_new_tokens, device=device)
    live = torch.arange(len(owners), device=device)
    done = torch.zeros(len(owners), dtype=torch.bool, device=device)
    for step in range(max_new_tokens):
        chosen, logprob = _choose(logits.float(), drawn[live, step] if temperature else None, temperature)
        tokens[live, step], logprobs[live, step] = chosen, logprob
        done |= torch.isin(chosen, stops) | (allowed[live] <= step + 1)
        left = len(done) - int(done.sum())
        if left == 0 or step + 1 == max_new_tokens:
            break
        if left < DROP_BELOW * len(done):
            keep = (~done).nonzero()[:, 0]
            cache.batch_select_indices(keep)
            live, mask, pads, done, chosen = live[keep], mask[keep], pads[keep], done[keep], chosen[keep]
        logits = model(
            input_ids=chosen[:, None], attention_mask=mask[:, : width + step + 1],
            position_ids=(width + step - pads).clamp(max=room - 1)[:, None],
            past_key_values=cache, use_cache=True,
        ).logits[:, -1]  # fmt: skip
    return tokens.cpu().numpy(), logprobs.cpu().numpy()


def _choose(
    logits: torch.Tensor, uniform: torch.Tensor | None, temperature: float
) -> tuple[torch.Tensor, ...]:
    """Token of each row and its log-probability at temperature 1. logits [rows, vocab], uniform [rows]."""
    top = logits.amax(-1, keepdim=True)
    if uniform is None:
        chosen = logits.argmax(-1, keepdim=True)
    else:
        cdf = ((logits - top) / temperature).exp_().cumsum(-1)
        total = cdf[:, -1:].contiguous()
        # The first entry equal to the total caps the draw, so rounding never picks a token of probability 0.
        chosen = torch.minimum(
            torch.searchsorted(cdf, uniform[:, None] * total, right=True), torch.searchsorted(cdf, total)
        )
    return chosen[:, 0], (logits.gather(-1, chosen) - logits.logsumexp(-1, keepdim=True))[:, 0]
