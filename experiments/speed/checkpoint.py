"""How fast this machine samples from and trains a checkpoint, next to plain `generate` and its ceiling.

Useful tokens only: padding and what comes after an end token do not count. Model flops of training are
6 x parameters x tokens (Kaplan et al. 2001.08361), attention left out, so utilisation is a lower bound.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.learning.dataset import Example, from_human, render
from plateau_bench.harness.learning.settings import TrainConfig
from plateau_bench.harness.learning.train import fine_tune
from plateau_bench.harness.rounds.environment import pick_device
from plateau_bench.harness.seeds import derive
from plateau_bench.tasks.loading import load_suite


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """Tokens per second, and the share of the machine's measured matrix-multiplication rate."""

    device: str
    parameters: int
    sample_tokens_s: float
    generate_tokens_s: float
    train_tokens_s: float
    train_flops: float
    """Model flops per second while training."""
    ceiling_flops: float
    """Measured on large square matrices in the training precision."""

    @property
    def utilisation(self) -> float:
        return self.train_flops / self.ceiling_flops


def bench(
    checkpoint: str, *, prompts: int, samples: int, max_tokens: int, examples: int, batch_tokens: int
) -> Speeds:
    """Measure one checkpoint on kata prompts and kata programs. Raises ValueError if it cannot be loaded."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = pick_device("auto")
    models = Models(device, Path())
    model, tokenizer = models.weights(checkpoint), models.tokenizer(checkpoint)
    human = load_suite("katas").corpus(derive("bench"), max(prompts, examples))
    asked = [render(tokenizer, s.instruction, "")[0] for s in human[:prompts]]
    ours = _timed(lambda: _sample(model, tokenizer, asked, samples, max_tokens))
    plain = _timed(lambda: _generate(model, tokenizer, asked, samples, max_tokens))
    training = [
        from_human(tokenizer, s.instruction, s.program, source="bench", correct=True)
        for s in human[:examples]
    ]
    trainee, _ = models.fresh(checkpoint)
    tokens_s = _timed(lambda: _train(trainee, training, tokenizer.pad_token_id, batch_tokens))
    parameters = model.num_parameters()
    return Speeds(
        device=torch.cuda.get_device_name()
        if device == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        parameters=parameters,
        sample_tokens_s=ours,
        generate_tokens_s=plain,
        train_tokens_s=tokens_s,
        train_flops=6 * parameters * tokens_s,
        ceiling_flops=_ceiling(device),
    )


def _timed(work: Callable[[], int]) -> float:
    """Tokens per second of the second of two calls; the first warms up."""
    import torch

    for _ in range(2):
        started = time.perf_counter()
        tokens = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return tokens / (time.perf_counter() - started)


def _sample(model: Any, tokenizer: Any, prompts: list[list[int]], k: int, max_tokens: int) -> int:
    from plateau_bench.agents.models.local import stop_ids
    from plateau_bench.agents.models.sampler import sample

    found = sample(
        model,
        prompts,
        [[derive("bench", i, j) for j in range(k)] for i in range(len(prompts))],
        temperature=1.0,
        max_new_tokens=max_tokens,
        stop_ids=stop_ids(model, tokenizer),
        pad_id=tokenizer.pad_token_id,
    )
    return sum(len(one.token_ids) for group in found for one in group)


def _generate(model: Any, tokenizer: Any, prompts: list[list[int]], k: int, max_tokens: int) -> int:
    """transformers' own sampling, all prompts in one left-padded batch, k samples each."""
    import torch

    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    width = batch["input_ids"].shape[1]
    with torch.inference_mode():
        out = model.generate(
            **batch, do_sample=True, temperature=1.0, top_k=0, num_return_sequences=k,
            max_new_tokens=max_tokens, pad_token_id=tokenizer.pad_token_id,
        )[:, width:]  # fmt: skip
    ended = out == tokenizer.eos_token_id
    lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, out.shape[1])
    return int(lengths.sum())


def _train(model: Any, examples: list[Example], pad_id: int, batch_tokens: int) -> int:
    fine_tune(model, examples, TrainConfig(epochs=1, batch_tokens=batch_tokens), pad_id=pad_id, seed=1)
    return sum(len(example.token_ids) for example in examples)


def _ceiling(device: str) -> float:
    """Flops per second of one large matrix product, the best of ten."""
    import torch

    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        (a @ a).sum().item()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
