"""How varied the wording is: n-grams at a fixed token budget, self-BLEU, compression.

Every measure here depends on the amount of text, so rounds are compared at one budget only.
"""

import math
import zlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plateau_bench.results.metrics.estimators import cluster_codes, jackknife_interval, spread
from plateau_bench.results.metrics.richness import met_in
from plateau_bench.results.records import Estimate


def lexical_metrics(
    written: Sequence[Sequence[int]],
    clusters: Sequence[str],
    budget: int,
    *,
    vocabulary: int = 0,
    tail: frozenset[int] = frozenset(),
) -> dict[str, Estimate | None]:
    """n-gram measures over exactly `budget` written tokens; values are None where fewer were written."""
    grams = {n: lexical(written, clusters, budget=budget, n=n) if budget >= 40 else None for n in (1, 2, 4)}
    one, four = grams[1], grams[4]
    values: dict[str, Estimate | None] = {
        **{f"distinct{n}": found.distinct if found else None for n, found in grams.items()},
        "unique4": scaled(four.distinct, four.total) if four and four.distinct else None,
        "ngram_entropy": four.entropy_bits if four else None,
    }
    if vocabulary:
        one_of = ead(1, one.total, vocabulary) * one.total if one else math.nan
        values["ead"] = scaled(one.distinct, one_of) if one and one.distinct else None
    if tail:
        values["tail_vocabulary"] = _survival_interval(written, clusters, tail, budget)
    return values


def _survival_interval(
    written: Sequence[Sequence[int]], clusters: Sequence[str], tail: frozenset[int], budget: int
) -> Estimate | None:
    types = np.array(sorted(tail))
    per_text = np.zeros((len(written), types.size), dtype=np.int64)
    for row, ids in enumerate(written):
        ids_array = np.asarray(ids, dtype=np.int64)
        rare = ids_array[np.isin(ids_array, types)]
        np.add.at(per_text[row], np.searchsorted(types, rare), 1)
    lengths = np.array([len(ids) for ids in written], dtype=np.int64)

    def share(kept: NDArray[np.intp]) -> float:
        # A part of the texts is asked for the same part of the budget.
        total = int(lengths[kept].sum())
        draws = round(budget * kept.size / max(len(written), 1))
        return survival(per_text[kept].sum(axis=0), total, draws) if 0 < draws <= total else math.nan

    return jackknife_interval(share, clusters, bounds=(0.0, 1.0))


def survival(counts: ArrayLike, total: int, budget: int) -> float:
    """Expected share of given token types that occur at least once in `budget` of `total` written tokens.

    `counts`: how often each type occurs among all `total`. Rarefied (Hurlbert 1971), so that a round that
    wrote more does not seem to know more. Raises ValueError for a budget above `total`.
    """
    return float(met_in(np.asarray(counts, dtype=np.float64), total, budget).mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexical:
    """n-gram statistics of exactly a budget of tokens."""

    unique: int
    total: int
    distinct: Estimate | None
    """unique / total (Li et al. 2016, N16-1014). None, like the entropy, with a single cluster."""
    entropy_bits: Estimate | None
    """Entropy of the n-grams with the Miller-Madow correction."""


def lexical(
    sequences: Sequence[Sequence[int]], clusters: Sequence[str], *, budget: int, n: int = 4, groups: int = 10
) -> Lexical | None:
    """distinct-n and n-gram entropy at a fixed token budget; None if the sequences hold fewer tokens.

    Both grow or shrink with length alone, so rounds are only comparable at one budget. Task clusters are
    dealt into `groups` groups in order, each giving its first budget/groups tokens; n-grams never cross
    sequences. A bootstrap would repeat texts and so find too few different n-grams, hence the interval
    is a delete-a-group jackknife (t, groups-1 degrees of freedom). Raises ValueError for budget < groups*n.
    """
    if budget < groups * n:
        raise ValueError(f"a budget of {budget} tokens is too small for {groups} groups of {n}-grams")
    codes, number = cluster_codes(clusters)
    groups = min(groups, number)
    pieces: list[list[NDArray[np.int64]]] = [[] for _ in range(groups)]
    left = [budget // groups + (g < budget % groups) for g in range(groups)]
    for ids, code in zip(sequences, codes, strict=True):
        g = int(code) % groups
        pieces[g].append(np.asarray(ids[: left[g]], dtype=np.int64))
        left[g] -= pieces[g][-1].size
    if any(left):
        return None
    table = _gram_counts(pieces, n)
    unique, total = int((table.sum(axis=1) > 0).sum()), int(table.sum())
    rest = [np.delete(table, g, axis=1).sum(axis=1) for g in range(groups)] if groups > 1 else []
    full = table.sum(axis=1)
    return Lexical(
        unique=unique,
        total=total,
        distinct=spread(_distinct(full), [_distinct(r) for r in rest], (0.0, 1.0)),
        entropy_bits=spread(entropy_bits(full), [entropy_bits(r) for r in rest], (0.0, math.inf)),
    )


def _gram_counts(pieces: list[list[NDArray[np.int64]]], n: int) -> NDArray[np.int64]:
    """Different n-grams x groups: how often each n-gram occurs in each group."""
    grams, owner = [], []
    for g, sequences in enumerate(pieces):
        for ids in sequences:
            if ids.size >= n:
                grams.append(np.lib.stride_tricks.sliding_window_view(ids, n))
                owner.append(np.full(ids.size - n + 1, g))
    if not grams:
        return np.zeros((0, len(pieces)), dtype=np.int64)
    rows, groups = np.concatenate(grams), np.concatenate(owner)
    code = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:  # exact: renumber prefix by prefix, no hash that could collide
        _, token = np.unique(column, return_inverse=True)
        _, code = np.unique(code * (int(token.max()) + 1) + token.reshape(-1), return_inverse=True)
        code = code.reshape(-1)
    flat = code * len(pieces) + groups
    return np.bincount(flat, minlength=(int(code.max()) + 1) * len(pieces)).reshape(-1, len(pieces))


def _distinct(counts: NDArray[np.int64]) -> float:
    total = int(counts.sum())
    return float((counts > 0).sum()) / total if total else math.nan


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Miller-Madow corrected (Miller 1955); NaN for no counts."""
    counts = counts[counts > 0]
    total = int(counts.sum())
    if not total:
        return math.nan
    p = counts / total
    return float(-(p * np.log2(p)).sum() + (counts.size - 1) / (2 * total * math.log(2)))


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in other units."""
    value, low, high, n = estimate
    return Estimate(value * factor, low * factor, high * factor, n)


def ead(unique: int, total: int, vocabulary: int) -> float:
    """Expectation-adjusted distinct (Liu et al. 2022): unique over its expectation under uniform draws."""
    if total == 0:
        return math.nan
    return unique / (vocabulary * -math.expm1(total * math.log1p(-1.0 / vocabulary)))


def compression_ratio(texts: Sequence[str]) -> float:
    """Raw bytes over deflated bytes (zlib's level 6); higher means more repetition. NaN for no text.

    Grows with the amount of text: compare equal amounts.
    """
    raw = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw, 6)) if raw else math.nan


def self_bleu(samples: Sequence[Sequence[Hashable]], order: int = 4, limit: int = 32) -> float:
    """Mean BLEU of each sample against the others, 0..1 (Zhu et al. 2018); higher means LESS diverse.

    Smoothing method 1 of Chen & Cherry 2014: a count of 0 becomes 0.1. The first `limit` samples count.
    NaN below two non-empty samples.
    """
    kept = [tuple(s) for s in samples if len(s)][:limit]
    if len(kept) < 2:
        return math.nan
    logs = [0.0] * len(kept)
    for m in range(1, order + 1):
        grams = [Counter(zip(*(sample[i:] for i in range(m)), strict=False)) for sample in kept]
        for i, hits in enumerate(_hits(grams)):
            logs[i] += math.log((hits or 0.1) / max(grams[i].total(), 1)) / order
    lengths = [len(sample) for sample in kept]
    scores = []
    for i, own in enumerate(lengths):
        nearest = min(lengths[:i] + lengths[i + 1 :], key=lambda other: (abs(other - own), other))
        scores.append(math.exp(logs[i] + min(0.0, 1.0 - nearest / own)))
    return float(np.mean(scores))


def _hits(grams: Sequence[Counter[Any]]) -> list[int]:
    """Per sample: its n-grams that some other sample has, each at most as often as there."""
    top: dict[Any, tuple[int, int, int]] = {}  # n-gram -> highest count, whose, and the next highest
    for j, counts in enumerate(grams):
        for gram, count in counts.items():
            best, owner, second = top.get(gram, (0, -1, 0))
            top[gram] = (count, j, best) if count > best else (best, owner, max(second, count))
    return [
        sum(min(count, top[gram][2] if top[gram][1] == i else top[gram][0]) for gram, count in counts.items())
        for i, counts in enumerate(grams)
    ]
