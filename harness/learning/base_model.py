"""The base checkpoint of a training seed: the given one, or a small one pretrained on the spot.

Pretraining uses the suite's human corpus (for the katas a generated stand-in for human data) and is
cached by everything it depends on. The cache is `$PLATEAU_CACHE`, else `~/.cache/plateau`.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from plateau_bench.agents.models.checkpoint import (
    CHAT_TEMPLATE,
    STABLE,
    TOOL_TEMPLATE,
    make_model,
    make_tokenizer,
    save,
)
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.learning.dataset import Example, batches, from_sample
from plateau_bench.harness.learning.settings import ModelConfig, PretrainConfig, TrainConfig
from plateau_bench.harness.learning.train import fine_tune
from plateau_bench.harness.seeds import derive
from plateau_bench.results.store import copy_folder
from plateau_bench.tasks.suite import HumanSample, Suite

TOKENIZER_TEXTS = 4000
"""Samples that the tokenizer is trained on; more makes it slower, not better."""

KEY_FORMAT = 1
"""To be raised when the same settings begin to give other weights."""


def base_checkpoint(
    config: ModelConfig, suite: Suite, seed: int, folder: Path, device: str, progress: Progress
) -> str:
    """Path or hub id of the base checkpoint of this training seed.

    A model that is pretrained here is copied into `folder`; `device` is 'cpu' or 'cuda'.
    """
    if config.path is not None:
        return config.path
    if not folder.exists():
        copy_folder(_pretrained(config.pretrain, suite, seed, device, progress), folder)
    return str(folder)


def cache_folder() -> Path:
    return Path(os.environ.get("PLATEAU_CACHE") or Path.home() / ".cache" / "plateau")


def cache_key(settings: PretrainConfig, corpus: Sequence[HumanSample], seed: int, device: str) -> str:
    """24 hexadecimal digits of a sha256 over everything that the weights depend on, each by its name."""
    chats = any(sample.chat for sample in corpus)
    facts = {
        "format": KEY_FORMAT,
        "settings": asdict(settings),
        "seed": seed,
        "device": device,
        "packages": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "template": [TOOL_TEMPLATE, STABLE] if chats else [CHAT_TEMPLATE],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for sample in corpus:
        row = [sample.instruction, sample.program, sample.chat]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()[:24]


def _pretrained(settings: PretrainConfig, suite: Suite, seed: int, device: str, progress: Progress) -> Path:
    """A cached checkpoint folder, made now if it is not there."""
    progress("human corpus", 0, 1)
    corpus = suite.corpus(derive(seed, "corpus"), settings.corpus)
    target = cache_folder() / "base" / cache_key(settings, corpus, seed, device)
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
    if device == "cuda":
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
