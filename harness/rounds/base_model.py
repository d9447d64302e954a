"""The base checkpoint of a training seed: the given one, or a small one pretrained on the spot.

Pretraining uses the suite's human corpus (for the katas a generated stand-in for human data) and is
cached by everything it depends on. The cache is `$PLATEAU_CACHE`, else `~/.cache/plateau`.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plateau_bench.agents.models.checkpoint import STABLE, TOOL_TEMPLATE, make_model, make_tokenizer, save
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.config import PretrainConfig, RunConfig, TrainConfig
from plateau_bench.harness.learning.dataset import Example, batches, from_sample
from plateau_bench.harness.learning.train import fine_tune
from plateau_bench.harness.seeds import derive
from plateau_bench.results.store import copy_folder
from plateau_bench.tasks.suite import HumanSample, Suite

TOKENIZER_TEXTS = 4000
"""Samples that the tokenizer is trained on; more makes it slower, not better."""


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
    later = (settings.context, settings.observed, settings.short_first, settings.init_std)
    if later != (512, 0.0, 0.0, 0.02):
        key.update(repr(later).encode())
    if any(sample.chat for sample in corpus):
        key.update(json.dumps([TOOL_TEMPLATE, STABLE]).encode())
    for sample in corpus:
        key.update(f"{sample.instruction}\x1f{sample.program}\x1e".encode())
        if sample.chat:
            key.update(json.dumps(sample.chat).encode())
    target = cache_folder() / "base" / key.hexdigest()[:24]
    if target.exists():
        return target

    tokenizer = _tokenizer(corpus, settings)
    model: Any = make_model(
        tokenizer,
        hidden=settings.hidden,
        layers=settings.layers,
        heads=settings.heads,
        ffn=settings.ffn,
        context=settings.context,
        std=settings.init_std,
        seed=derive(seed, "weights") % 2**31,
    )
    if _gpu(config):
        model = model.to("cuda")
    examples = [from_sample(tokenizer, sample, source=f"corpus/{i}") for i, sample in enumerate(corpus)]
    model = fine_tune(
        model,
        examples,
        TrainConfig(learning_rate=settings.learning_rate, batch_tokens=settings.batch_tokens),
        epochs=settings.epochs,
        pad_id=tokenizer.pad_token_id,
        seed=derive(seed, "pretrain"),
        plan=_plan(examples, settings, derive(seed, "pretrain")),
        weight_decay=0.05,
        progress=lambda done, total: progress("pretraining", done, total),
    )
    save(model, tokenizer, target)
    (target / "plateau.json").write_text(
        json.dumps({"corpus": len(corpus), "seed": seed, "parameters": model.num_parameters()}) + "\n"
    )
    return target


def _tokenizer(corpus: Sequence[HumanSample], settings: PretrainConfig) -> Any:
    """For conversations it knows tool calls and has the agent's system prompt as one token."""
    texts = [text for sample in corpus[:TOKENIZER_TEXTS] for text in _texts(sample)]
    if not any(sample.chat for sample in corpus):
        return make_tokenizer(texts, settings.vocab, context=settings.context)
    from plateau_bench.agents.tool import SYSTEM_PROMPT

    return make_tokenizer(texts, settings.vocab, context=settings.context, tools=True, whole=[SYSTEM_PROMPT])


def _texts(sample: HumanSample) -> Iterator[str]:
    """What lies between the special tokens of a sample's rendering."""
    if not sample.chat:
        yield from (sample.instruction, sample.program)
    for message in sample.chat:
        yield message["content"]
        for call in message.get("tool_calls", ()):
            yield call["function"]["name"]
            yield from (f"{key}={value}" for key, value in call["function"]["arguments"].items())


def _plan(examples: list[Example], settings: PretrainConfig, seed: int) -> list[list[Example]]:
    """The batches of pretraining: first the shortest third of the corpus, then all of it."""
    rng = random.Random(seed)
    examples = [
        replace(one, loss_spans=((1, len(one.token_ids)),)) if rng.random() < settings.observed else one
        for one in examples
    ]
    size = settings.batch_tokens
    short = sorted(examples, key=lambda one: len(one.token_ids))[: max(1, len(examples) // 3)]
    ratio = sum(len(one.token_ids) for one in examples) / sum(len(one.token_ids) for one in short)
    parts = ((short, settings.short_first * ratio), (examples, 1 - settings.short_first))
    return [
        batch
        for some, share in parts
        for batch in batches(some, batch_tokens=size, epochs=share * settings.epochs, seed=seed)
    ]


def _gpu(config: RunConfig) -> bool:
    import torch

    return config.device != "cpu" and torch.cuda.is_available()
