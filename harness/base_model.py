"""The base checkpoint of a training seed: the given one, or a small one pretrained on the spot.

Pretraining uses the suite's human corpus (for the katas a generated stand-in for human data) and is
cached by everything it depends on. The cache is `$PLATEAU_CACHE`, else `~/.cache/plateau`.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.checkpoint import make_model, make_tokenizer, save
from harness.config import RunConfig, TrainConfig
from harness.dataset import from_human
from harness.seeds import derive
from harness.train import fine_tune
from results.store import copy_folder
from tasks.suite import Suite

TOKENIZER_TEXTS = 4000
"""Samples that the tokenizer is trained on; more makes it slower, not better."""

Progress = Callable[[str, int, int], None]


def base_checkpoint(config: RunConfig, suite: Suite, seed: int, folder: Path, progress: Progress) -> str:
    """Path or hub id of the base checkpoint of this training seed."""
    if config.model.path is not None:
        return config.model.path
    if not folder.exists():
        copy_folder(_pretrained(config, suite, seed, progress), folder)
    return str(folder)


def cache_folder() -> Path:
    return Path(os.environ.get("PLATEAU_CACHE") or Path.home() / ".cache" / "plateau")


def _pretrained(config: RunConfig, suite: Suite, seed: int, progress: Progress) -> Path:
    """A cached checkpoint folder, made now if it is not there."""
    import tokenizers
    import torch
    import transformers

    settings = config.model.pretrain
    progress("human corpus", 0, 1)
    corpus = suite.corpus(derive(seed, "corpus"), settings.corpus)
    key = hashlib.sha256(
        repr((settings, seed, torch.__version__, transformers.__version__, tokenizers.__version__)).encode()
    )
    for sample in corpus:
        key.update(f"{sample.instruction}\x1f{sample.program}\x1e".encode())
    target = cache_folder() / "base" / key.hexdigest()[:24]
    if target.exists():
        return target

    texts = [text for sample in corpus[:TOKENIZER_TEXTS] for text in (sample.instruction, sample.program)]
    tokenizer = make_tokenizer(texts, settings.vocab)
    model: Any = make_model(
        tokenizer,
        hidden=settings.hidden,
        layers=settings.layers,
        heads=settings.heads,
        ffn=settings.ffn,
        seed=derive(seed, "weights") % 2**31,
    )
    if _gpu(config):
        model = model.to("cuda")
    examples = [
        from_human(
            tokenizer, sample.instruction, sample.program, source=f"corpus/{i}", correct=sample.correct
        )
        for i, sample in enumerate(corpus)
    ]
    model = fine_tune(
        model,
        examples,
        TrainConfig(learning_rate=settings.learning_rate, batch_tokens=settings.batch_tokens),
        epochs=settings.epochs,
        pad_id=tokenizer.pad_token_id,
        seed=derive(seed, "pretrain"),
        weight_decay=0.05,
        progress=lambda done, total: progress("pretraining", done, total),
    )
    save(model, tokenizer, target)
    (target / "plateau.json").write_text(
        json.dumps({"corpus": len(corpus), "seed": seed, "parameters": model.num_parameters()}) + "\n"
    )
    return target


def _gpu(config: RunConfig) -> bool:
    import torch

    return config.device != "cpu" and torch.cuda.is_available()
