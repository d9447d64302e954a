"""E1: a tiny language model trained from nothing in every generation, on what the one before it wrote.

The human text is the source code of Python's own standard library, so nothing is downloaded. Every
generation of every arm gets the same number of sequences and optimiser steps; arms differ in where the
sequences come from. Finished arms are kept on the disk, so a stopped run goes on where it was.
"""

import json
import multiprocessing
import os
import random
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from experiments.reproduce.outcome import Check, Outcome, Request
from plateau_bench.agents.models.checkpoint import ASSISTANT, make_model, make_tokenizer
from plateau_bench.agents.models.sampler import sample
from plateau_bench.harness.learning.dataset import Example, Origin
from plateau_bench.harness.learning.settings import TrainConfig
from plateau_bench.harness.learning.train import fine_tune
from plateau_bench.harness.seeds import derive
from plateau_bench.results.metrics.drift import Text, score
from plateau_bench.results.report.small_multiples import Line, Panel, banded
from plateau_bench.results.store import read_json, write_json

Sequences = list[tuple[int, ...]]
Row = dict[str, float]
Curves = dict[str, dict[int, list[Row]]]
"""Arm -> seed -> what each generation scored."""

NOT_CODE = {
    *("test", "tests", "site-packages", "dist-packages", "encodings", "lib2to3", "idlelib", "__pycache__"),
}


class Size(NamedTuple):
    """How large everything is; the defaults make 3 seeds of six arms affordable on two cores."""

    seeds: tuple[int, ...] = (1, 2, 3)
    generations: int = 6
    sequences: int = 2400
    """A generation's training set; as many are written by each generation."""
    length: int = 32
    """Tokens of a sequence."""
    test: int = 400
    epochs: float = 4
    vocab: int = 384


QUICK = Size(seeds=(1, 2), generations=2, sequences=60, test=40, epochs=1)


class Arm(NamedTuple):
    temperature: float = 1.0
    human: float = 0.0
    """Share of the sequences that is human."""
    fresh: bool = False
    """Human sequences are new ones each generation, not part of the first training set."""
    pool: str = "latest"
    """'latest' writings, 'all' sets so far, or a 'subsample' of them of the size of one set."""


ARMS: dict[str, Arm] = {
    "replace": Arm(),
    "accumulate": Arm(pool="all"),
    "accumulate_subsample": Arm(pool="subsample"),
    "keep_original 10 %": Arm(human=0.1),
    "fresh 10 %": Arm(human=0.1, fresh=True),
    "replace, T = 0.8": Arm(temperature=0.8),
}
STRATA = {"head": (0.0, 0.5), "torso": (0.5, 0.9), "tail": (0.9, 1.0)}
"""Token types by where they lie in the human text's occurrences, commonest first."""


class Corpus(NamedTuple):
    """Human text of one seed as token sequences. Test files are never trained on."""

    tokenizer: Any
    first: Sequences
    """The first generation's training set."""
    fresh: Sequences
    test: Sequences
    strata: dict[str, frozenset[int]]
    start: int
    """The token that every sequence begins with."""


def read_library() -> list[str]:
    """Texts of the running Python's own modules, in the order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [p for p in sorted(root.rglob("*.py")) if not NOT_CODE & set(p.relative_to(root).parts)]
    return [path.read_text(encoding="utf-8", errors="ignore") for path in paths]


@lru_cache(maxsize=1)
def corpus(seed: int, size: Size) -> Corpus:
    """Files are split at random into test and training files, then cut into sequences."""
    texts = read_library()
    random.Random(derive(seed, "files")).shuffle(texts)
    apart = len(texts) // 8
    tokenizer = make_tokenizer(texts[apart : apart + 60], size.vocab, context=10**9)
    start = int(tokenizer.convert_tokens_to_ids(ASSISTANT))  # type: ignore[arg-type]

    def cut(files: Sequence[str], wanted: int) -> Sequences:
        found: Sequences = []
        for text in files:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            found += [
                (start, *ids[i : i + size.length]) for i in range(0, len(ids) - size.length, size.length)
            ]
            if len(found) > 10 * wanted:  # enough to draw from
                break
        random.Random(derive(seed, "cut")).shuffle(found)
        return found[:wanted]

    fresh = round(0.1 * size.sequences) * size.generations
    human = cut(texts[apart:], size.sequences + fresh)
    return Corpus(
        tokenizer=tokenizer,
        first=human[: size.sequences],
        fresh=human[size.sequences :],
        test=cut(texts[:apart], size.test),
        strata=_strata(Counter(t for sequence in human for t in sequence[1:])),
        start=start,
    )


def _strata(counts: Counter[int]) -> dict[str, frozenset[int]]:
    total, before = counts.total(), 0
    found: dict[str, set[int]] = {name: set() for name in STRATA}
    for token, count in counts.most_common():
        place = before / total
        found[next(name for name, (low, high) in STRATA.items() if low <= place < high)].add(token)
        before += count
    return {name: frozenset(tokens) for name, tokens in found.items()}


def training_set(
    arm: Arm, human: Corpus, sets: list[Sequences], written: Sequences, generation: int, rng: random.Random
) -> Sequences:
    """What this generation learns from; `sets` are the sets so far and grow by the newest."""
    count = len(human.first)
    share = round(arm.human * count)
    if arm.fresh:
        mixed = human.fresh[(generation - 1) * share : generation * share]
    else:
        mixed = rng.sample(human.first, share)
    newest = written[: count - share] + mixed
    sets.append(newest)
    if arm.pool == "latest":
        return newest
    pool = [sequence for one in sets for sequence in one]
    return pool if arm.pool == "all" else rng.sample(pool, count)


def learn(human: Corpus, sequences: Sequences, size: Size, seed: int) -> Any:
    """A fresh model, trained as many steps whatever the size of its training set."""
    model = make_model(
        human.tokenizer, hidden=64, layers=1, heads=2, ffn=172, context=size.length + 1, seed=seed % 2**31
    )
    examples = [
        Example(token_ids=s, loss_spans=((1, len(s)),), origin=Origin.SELF, source="", correct=True)
        for s in sequences
    ]
    return fine_tune(
        model,
        examples,
        TrainConfig(learning_rate=1.2e-2, batch_tokens=768),
        epochs=size.epochs * size.sequences / len(sequences),
        pad_id=human.tokenizer.pad_token_id,
        seed=seed,
        weight_decay=0.05,
    )


def write(model: Any, human: Corpus, size: Size, temperature: float, seed: int) -> tuple[Sequences, float]:
    """Sequences written from the start token alone, and the model's own nats per token of them."""
    (drawn,) = sample(
        model,
        [[human.start]],
        [[derive(seed, i) for i in range(size.sequences)]],
        temperature=temperature,
        max_new_tokens=size.length,
        stop_ids=[human.tokenizer.eos_token_id],
        pad_id=human.tokenizer.pad_token_id,
    )
    nll = -sum(sum(s.logprobs) for s in drawn) / sum(len(s.logprobs) for s in drawn)
    return [(human.start, *s.token_ids) for s in drawn], nll


def measure(model: Any, human: Corpus, written: Sequences, self_nll: float) -> Row:
    """Cross-entropy on unseen human code (nats per token; overall and by stratum), and variety."""
    texts = [Text(token_ids=s, start=1) for s in human.test]
    row: Row = {"self": self_nll}
    for name, types in human.strata.items():
        scores = score((model,), texts, rare=types)
        row["ce"] = float(scores.nll[0].sum() / scores.tokens.sum())
        row[name] = float(scores.rare_nll[0].sum() / scores.rare_tokens.sum())
    grams = [s[i : i + 4] for s in written for i in range(1, len(s) - 3)]
    grams = grams[: len(written) * 20]  # the same number in every generation
    return row | {"distinct4": len(set(grams)) / len(grams)}


def play_arm(seed: int, name: str, size: Size, path: Path) -> None:
    """All generations of one arm; generation 0 is the same in every arm of a seed but for T."""
    torch.set_num_threads(1)
    human, arm = corpus(seed, size), ARMS[name]
    sets, now, rows = [human.first], human.first, []
    for generation in range(size.generations + 1):
        owner = "shared" if generation == 0 else name
        model = learn(human, now, size, derive(seed, owner, generation, "train"))
        words = derive(seed, owner, generation, "write")
        written, self_nll = write(model, human, size, arm.temperature, words)
        rows.append(measure(model, human, written, self_nll))
        rng = random.Random(derive(seed, name, generation, "choose"))
        if generation < size.generations:
            now = training_set(arm, human, sets, written, generation + 1, rng)
    write_json(path, {"size": list(size), "rows": rows})


def from_scratch(request: Request) -> Outcome:
    """E1: plays what is not on the disk yet, two processes at once on two cores, and judges it."""
    size = QUICK if request.quick else Size()
    jobs = {
        (seed, name): request.folder / f"seed-{seed}" / f"{list(ARMS).index(name)}.json"
        for seed in size.seeds
        for name in ARMS
    }
    for job, path in jobs.items():
        if path.exists() and read_json(path)["size"] != json.loads(json.dumps(size)):
            raise ValueError(f"{path} is of another size than {job}; choose another folder with --out")
    left = {job: path for job, path in jobs.items() if not path.exists()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(left) or 1), mp_context=context) as pool:
        futures = {pool.submit(play_arm, *job, size, path): job for job, path in left.items()}
        for future, (seed, name) in futures.items():
            future.result()
            request.say(f"seed {seed}: {name} finished")
    curves: Curves = {
        name: {seed: read_json(jobs[seed, name])["rows"] for seed in size.seeds} for name in ARMS
    }
    return judge(curves, size)


def judge(curves: Curves, size: Size) -> Outcome:
    """The criteria, over what each generation scored."""

    def gain(name: str, key: str = "ce") -> list[float]:
        return [rows[-1][key] - rows[0][key] for rows in curves[name].values()]

    trends = [
        float(spearmanr(range(len(rows)), [r["ce"] for r in rows]).statistic)
        for rows in curves["replace"].values()
    ]
    replace, accumulate = gain("replace"), gain("accumulate")
    apart = [a - b for a, b in zip(replace, accumulate, strict=True)]
    se = stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else float("inf")
    tail, head = fmean(gain("replace", "tail")), fmean(gain("replace", "head"))
    order = ["replace, T = 0.8", "replace", "keep_original 10 %", "accumulate"]
    gains = [fmean(gain(name)) for name in order]
    checks = (
        Check(
            criterion="replace: cross-entropy on human code rises throughout (Spearman >= .9 in every seed)",
            met=all(trend >= 0.9 for trend in trends),
            figures=", ".join(f"{trend:.2f}" for trend in trends),
        ),
        Check(
            criterion="replace loses at least 3 x what accumulate loses, and the difference exceeds "
            "3 standard errors over seeds",
            met=fmean(replace) >= 3 * fmean(accumulate) and fmean(apart) > 3 * se,
            figures=f"{fmean(replace):.3f} against {fmean(accumulate):.3f} nats; "
            f"difference {fmean(apart):.3f}, SE {se:.3f}",
        ),
        Check(
            criterion="replace: log-perplexity rises at least 1.5 x as much on tail tokens as on head tokens",
            met=tail >= 1.5 * head,
            figures=f"tail {tail:+.3f}, head {head:+.3f} nats",
        ),
        Check(
            criterion="loss: " + " > ".join(order),
            met=all(a > b for a, b in zip(gains, gains[1:], strict=False)),
            figures=" > ".join(f"{value:.3f}" for value in gains) + " nats",
        ),
    )
    return Outcome(
        checks=checks,
        table=tuple(_table(curves)),
        panels=tuple(_panels(curves)),
        seeds=size.seeds,
        notes=(
            f"one-layer Llama of 0.07 M parameters, {size.vocab} token types, {size.sequences} sequences of "
            f"{size.length} tokens a generation, {size.generations} generations: smaller than the sources",
            "every generation takes the same number of steps, in accumulate, too",
        ),
    )


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "ce": ("cross-entropy, nats", "{:.3f}".format),
    "head": ("head", "{:.2f}".format),
    "torso": ("torso", "{:.2f}".format),
    "tail": ("tail", "{:.2f}".format),
    "self": ("own writings, nats", "{:.2f}".format),
    "distinct4": ("distinct 4-grams", "{:.3f}".format),
}


def _table(curves: Curves) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("arm", *(title for title, _ in COLUMNS.values()))]
    for name, seeds in curves.items():
        ends = (
            " -> ".join(show(fmean(rows[place][key] for rows in seeds.values())) for place in (0, -1))
            for key, (_, show) in COLUMNS.items()
        )
        rows.append((name, *ends))
    return rows


def _panels(curves: Curves) -> list[Panel]:
    def line(name: str, key: str) -> Line:
        return banded(name, np.array([[row[key] for row in rows] for rows in curves[name].values()]))

    return [
        Panel(title=title, lines=tuple(line(name, key) for name in curves))
        for key, (title, _) in COLUMNS.items()
        if key != "torso"
    ]
