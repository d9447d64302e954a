"""The diversity panel over very many solutions, in time that grows with their number and not its square.

Tasks are dealt into parts of about a thousand solutions. Each part is measured in a process of its own:
syntax trees to classes, n-grams and classes to sorted (code, count) pairs, likeness within tasks by one
block-diagonal product. What spans all tasks is merged by sorting; where a measure grows with the number
of solutions it is rarefied to a fixed number of draws, in closed form, instead of resampled.
"""

import hashlib
import math
import multiprocessing
import random
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plateau_bench.results.metrics.diversity import Solutions, class_columns, likeness_columns
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.metrics.lexical import entropy_bits, self_bleu
from plateau_bench.results.metrics.program_classes import program_key
from plateau_bench.results.metrics.richness import chao1, coverage, hill, met_in
from plateau_bench.results.metrics.similarity import gram_counts, inverse_frequency
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.render import render_any

PART = 1024
"""Solutions in one part: fixed, so that no result depends on the number of processes."""
SAMPLES = 16
"""Generated solutions per task."""
GRAMS = (1, 2, 4)
TOKENS, PROGRAMS = 10_000, 500
"""Draws to which n-grams and classes over all tasks are rarefied."""
_WORD = re.compile(r"\w+|[^\w\s]")

Coded = tuple[NDArray[np.uint64], NDArray[np.int64]]
"""Sorted different 64-bit codes, and how often each occurs. Of 10^6 different ones, two share a code with a
chance of 3e-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one process found out about some tasks."""

    columns: dict[str, Floats]
    """Measure -> value per task."""
    grams: dict[int, Coded]
    classes: Coded
    correct: Coded
    """Classes of correct programs."""
    raw_bytes: int
    packed_bytes: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleResult:
    """The panel over all solutions, and what it took."""

    solutions: int
    values: dict[str, float]
    seconds: float
    """Wall time from solutions in memory to values, without starting processes."""
    cpu_s: float

    @property
    def microseconds(self) -> float:
        """Wall time per solution."""
        return 1e6 * self.seconds / self.solutions


def diversity_at_scale(tasks: Sequence[Solutions], pool: ProcessPoolExecutor | None = None) -> ScaleResult:
    """The diversity panel of `tasks`, all with programs. Without a pool everything runs in this process.

    Means over tasks of the per-task measures of `results.diversity`; `distinct<n>` and `ngram_entropy` over
    all words (self_bleu: words, too), rarefied to TOKENS; classes over all tasks, rarefied to PROGRAMS.
    """
    started, cpu = time.perf_counter(), time.process_time()
    reference = tuple(program for rows in tasks[:16] for program, _ in rows)
    jobs = ((part, reference) for part in _parts(tasks))
    found = list((pool.map if pool else map)(_measure_part, jobs))
    values = _merge(found)
    return ScaleResult(
        solutions=sum(len(rows) for rows in tasks),
        values=values,
        seconds=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu + (sum(part.cpu_s for part in found) if pool else 0.0),
    )


def _parts(tasks: Sequence[Solutions]) -> Iterator[list[Solutions]]:
    """Whole tasks, until a part holds PART solutions."""
    part: list[Solutions] = []
    size = 0
    for rows in tasks:
        part.append(rows)
        size += len(rows)
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part


@lru_cache(maxsize=1)
def _weights(reference: tuple[str, ...]) -> Floats:
    """Computed in each process: smaller to send than the weights themselves."""
    return inverse_frequency(gram_counts(reference))


def _measure_part(job: tuple[list[Solutions], tuple[str, ...]]) -> Part:
    cpu = time.process_time()
    part, reference = job
    n = np.array([len(rows) for rows in part], dtype=np.float64)
    columns, _ = class_columns(part, n)
    columns |= likeness_columns(part, _weights(reference), int(n.min()))
    words = [[_WORD.findall(program) for program, _ in rows] for rows in part]
    columns["self_bleu"] = np.array([self_bleu(texts, limit=8) for texts in words])
    flat = [np.array([_code(word) for word in text], dtype=np.uint64) for texts in words for text in texts]
    keys = [(program_key(program) or "", passed) for rows in part for program, passed in rows]
    raw = "\n".join(program for rows in part for program, _ in rows).encode("utf-8", "surrogatepass")
    return Part(
        columns=columns,
        grams={size: _grams(flat, size) for size in GRAMS},
        classes=_coded([_code(key) for key, _ in keys]),
        correct=_coded([_code(key) for key, passed in keys if passed]),
        raw_bytes=len(raw),
        packed_bytes=len(zlib.compress(raw, 6)),
        cpu_s=time.process_time() - cpu,
    )


@lru_cache(maxsize=1 << 18)
def _code(text: str) -> int:
    """64 bits of a strong hash; Python's own differs between processes."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _coded(codes: Sequence[int]) -> Coded:
    return np.unique(np.array(codes, dtype=np.uint64), return_counts=True)


def _grams(texts: Sequence[NDArray[np.uint64]], size: int) -> Coded:
    """n-grams within texts, each mixed into one code."""
    lengths = np.array([text.size for text in texts])
    joined = np.concatenate(texts) if texts else np.zeros(0, dtype=np.uint64)
    width = max(joined.size - size + 1, 0)
    code = np.zeros(width, dtype=np.uint64)
    for i in range(size):  # 64-bit products wrap by design
        code = (code ^ joined[i : i + width]) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(32)
    ends = np.repeat(np.cumsum(lengths), lengths)[:width]
    return np.unique(code[np.arange(width) + size <= ends], return_counts=True)


def _union(parts: Sequence[Coded]) -> NDArray[np.int64]:
    """Counts of every different code over all parts, by sorting."""
    codes = np.concatenate([codes for codes, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    if not codes.size:
        return counts
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    return np.add.reduceat(counts[order], starts)


def _merge(parts: Sequence[Part]) -> dict[str, float]:
    values = {}
    for name in parts[0].columns:
        column = np.concatenate([part.columns[name] for part in parts])
        values[name] = float(np.nanmean(column)) if not np.isnan(column).all() else math.nan
    for size in GRAMS:
        counts = _union([part.grams[size] for part in parts])
        values[f"distinct{size}"] = _rarefied(counts, TOKENS) / TOKENS
    values["ngram_entropy"] = entropy_bits(counts)
    for name, coded in (("all", [p.classes for p in parts]), ("correct", [p.correct for p in parts])):
        counts = _union(coded)
        values[f"programs/{name}"] = _rarefied(counts, PROGRAMS)
        listed = counts.tolist()
        values[f"programs/{name}/hill1"] = hill(listed)
        values[f"programs/{name}/chao1"] = chao1(listed)
        values[f"programs/{name}/coverage"] = coverage(listed)
    values["compression_ratio"] = sum(p.raw_bytes for p in parts) / sum(p.packed_bytes for p in parts)
    return values


def _rarefied(counts: NDArray[np.int64], draws: int) -> float:
    """Expected number of different things in `draws` of them; NaN with fewer."""
    total = int(counts.sum())
    return float(met_in(counts.astype(np.float64), total, draws).sum()) if total >= draws else math.nan


def kata_solutions(seed: int, count: int, *, right: float = 0.6) -> list[Solutions]:
    """About `count` solutions from the katas' grammar, SAMPLES per task; a share `right` passes.

    The others are solutions of a mutated pipeline, so they fail for what they compute and not for their form.
    """
    rng = random.Random(f"diversity at scale/{seed}")
    tasks: list[Solutions] = []
    for _ in range(max(1, count // SAMPLES)):
        pipeline = grammar.draw(rng, held_out=False)
        rows = []
        for _ in range(SAMPLES):
            passed = rng.random() < right
            rows.append((render_any(pipeline if passed else grammar.mutate(pipeline, rng), rng)[1], passed))
        tasks.append(rows)
    return tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleBench:
    """The panel over growing numbers of solutions."""

    results: tuple[ScaleResult, ...]
    workers: int

    @property
    def exponent(self) -> float:
        """Slope of log CPU time over log solutions; 1 is linear, 2 quadratic. NaN for one size."""
        if len(self.results) < 2:
            return math.nan
        sizes, cpu = ([float(getattr(r, f)) for r in self.results] for f in ("solutions", "cpu_s"))
        return float(np.polyfit(np.log(sizes), np.log(cpu), 1)[0])


def bench_diversity(sizes: Sequence[int], *, workers: int = 2, seed: int = 1) -> Iterator[ScaleResult]:
    """Measure each size on fresh solutions, with `workers` warm processes."""
    if min(sizes) < SAMPLES or workers < 1:
        raise ValueError(f"--sizes must be at least {SAMPLES} and --workers at least 1")
    # Not forked: the parent's numpy may have threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_measure_part, [([[("pass", True)] * 4], ("pass",))] * workers * 2))
        for size in sizes:
            yield diversity_at_scale(kata_solutions(seed + size, size), pool)
