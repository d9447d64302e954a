"""How many different things a model still says: classes of programs, and n-grams at a fixed budget.

Diversity is told for three populations that can move in opposite directions: all samples, correct ones
at a fixed count, and correct-and-different ones per budget of samples. A fall over all samples alone is
partly mechanical, because wrong answers are the diverse ones.
"""

import math
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.estimators import (
    Floats,
    at_least_one,
    cluster_codes,
    jackknife_interval,
    mean_interval,
    spread,
)
from results.programs import canonical as canonical
from results.programs import ladder, program_key
from results.records import Attempt, Estimate
from results.richness import chao1, coverage, met_in, rarefied_hill1, simpson
from results.similarity import cosine_blocks, gram_counts, inverse_frequency, mean_distance, vendi_batch
from tasks.base import Outcome

if TYPE_CHECKING:
    from results.metrics import PassTable

DRAWS = 4
"""Correct programs per task among which solutions are told apart."""


class Written(Protocol):
    """A tokenised text of which the model wrote the tokens from `start` on."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...

    @property
    def start(self) -> int: ...


def diversity_metrics(
    attempts: Sequence[Attempt],
    table: "PassTable",
    texts: Sequence[Written],
    text_clusters: Sequence[str],
    budget: int,
    *,
    seed: int,
    base_attempts: Sequence[Attempt] = (),
    vocabulary: int = 0,
    tail: frozenset[int] = frozenset(),
) -> tuple[dict[str, Estimate | None], dict[str, Floats]]:
    """Diversity of one round: metric name -> estimate, and metric name -> value per task of `table`.

    Program classes come from the graded `attempts`; n-grams from `texts`, samples at temperature 1, over
    exactly `budget` of the tokens that the model wrote. `base_attempts` (round 0) fix the weights of the
    text embedding. `vocabulary` is the number of token types and `tail` the rare ones; without them
    'ead' and 'tail_vocabulary' are left out. Names and populations: docs/metrics.md.
    """
    programs = _by_task(attempts, table.task_ids)
    columns, tops = _class_columns(programs, table)
    values: dict[str, Estimate | None] = {
        name: mean_interval(column, table.clusters, seed=seed, bounds=tops[name])
        for name, column in columns.items()
    }
    for name, column in _likeness(programs, base_attempts, int(table.n.min())).items():
        values[name] = mean_interval(column, table.clusters, seed=seed, bounds=(0.0, math.inf))
    rows = [a for a in attempts if a.trajectory.answer]
    values["compression_ratio"] = jackknife_interval(
        lambda kept: compression_ratio([rows[i].trajectory.answer for i in kept]),
        [a.cluster or a.task_id for a in rows],
        bounds=(0.0, math.inf),
    )
    written = [text.token_ids[text.start :] for text in texts]
    values |= lexical_metrics(written, text_clusters, budget, vocabulary=vocabulary, tail=tail)
    by_cluster: dict[str, list[Sequence[int]]] = {}
    for ids, cluster in zip(written, text_clusters, strict=True):
        by_cluster.setdefault(cluster, []).append(ids)
    bleu = [self_bleu(samples, limit=8) for samples in by_cluster.values()]
    values["self_bleu"] = mean_interval(bleu, list(by_cluster), seed=seed, bounds=(0.0, 1.0))
    return values, {name: columns[name] for name in columns if name in _KEPT or "@" in name}


_KEPT = ("hill1", "hill1_all")
"""Classes whose values per task are recorded: they are claimed on, or compared across arms."""


def _by_task(attempts: Sequence[Attempt], task_ids: Sequence[str]) -> dict[str, list[tuple[str, bool]]]:
    """Task -> (program, passed) in order of samples; work that lies in a box has no program text."""
    found: dict[str, list[tuple[str, bool]]] = {task: [] for task in task_ids}
    for attempt in sorted(attempts, key=lambda a: a.sample):
        if attempt.trajectory.answer.strip():
            passed = attempt.verdict.outcome is Outcome.PASSED
            found[attempt.task_id].append((attempt.trajectory.answer, passed))
    return found


def _class_columns(
    programs: Mapping[str, list[tuple[str, bool]]], table: "PassTable"
) -> tuple[dict[str, Floats], dict[str, tuple[float, float]]]:
    """Per task what classes of programs tell, and the range of each measure."""
    keyed = [[(program_key(p) or "", ok) for p, ok in rows] for rows in programs.values()]
    correct = [[key for key, ok in rows if ok] for rows in keyed]
    rungs = [[ladder(p) for p, ok in rows if ok] for rows in programs.values()]
    counts = [list(Counter(keys).values()) for keys in correct]
    enough = [c if sum(c) >= DRAWS else [] for c in counts]
    k = min(8, int(table.n.min()))
    draws = (1.0, DRAWS)
    found: dict[str, tuple[Floats, tuple[float, float]]] = {
        "hill1": (hill1_correct(correct, DRAWS), draws),
        "hill1_all": (hill1_correct([[key for key, _ in rows] for rows in keyed], DRAWS), draws),
        "hill1_text": (hill1_correct([[p for p, ok in r if ok] for r in programs.values()], DRAWS), draws),
        "hill1_layout": (hill1_correct([[g.layout for g in r if g] for r in rungs], DRAWS), draws),
        "hill1_constants": (hill1_correct([[g.constants for g in r if g] for r in rungs], DRAWS), draws),
        f"effective@{k}": (effective_distinct(correct, table.n, k), (0.0, k)),
        f"utility@{k}": (np.array([utility(rows[:k]) for rows in keyed]), (0.0, 1.0)),
        "simpson": (np.array([simpson(c) for c in enough]), (0.0, 1.0)),
        "chao1": (np.array([chao1(c) for c in enough]), (1.0, math.inf)),
        "class_coverage": (np.array([coverage(c) for c in enough]), (0.0, 1.0)),
    }
    return {n: column for n, (column, _) in found.items()}, {n: bounds for n, (_, bounds) in found.items()}


def _likeness(
    programs: Mapping[str, list[tuple[str, bool]]], base_attempts: Sequence[Attempt], n: int
) -> dict[str, Floats]:
    """Vendi score and mean cosine distance of each task's texts: n of all, and DRAWS correct ones."""
    reference = [a.trajectory.answer for a in base_attempts if a.trajectory.answer.strip()]
    idf = inverse_frequency(gram_counts(reference)) if reference else None
    blocks = cosine_blocks([[p for p, _ in rows] for rows in programs.values()], idf)
    right = [[i for i, (_, ok) in enumerate(rows) if ok] for rows in programs.values()]
    everyone = [list(range(len(rows))) for rows in programs.values()]
    found: dict[str, Floats] = {}
    for suffix, size, members in (("_all", n, everyone), ("", DRAWS, right)):
        fit = np.array([len(who) >= size >= 2 for who in members])
        parts = [block[np.ix_(who[:size], who[:size])] for block, who in zip(blocks, members, strict=True)]
        near = np.array([part for part, ok in zip(parts, fit, strict=True) if ok]).reshape(-1, size, size)
        for name, measure in (("vendi", vendi_batch), ("embedding_distance", mean_distance)):
            column = np.full(len(members), math.nan)
            column[fit] = measure(near)
            found[name + suffix] = column
    return found


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
    one, two, four = grams[1], grams[2], grams[4]
    values: dict[str, Estimate | None] = {
        "distinct1": one.distinct if one else None,
        "distinct2": two.distinct if two else None,
        "distinct4": four.distinct if four else None,
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


def utility(rows: Sequence[tuple[Hashable, bool]], patience: float = 0.8) -> float:
    """(1-p)/(1-p^k) * sum_i p^(i-1) [i-th class is new] u_i, with u = passed; NaN for no rows.

    What a user with patience p gets from reading k answers in order (NoveltyBench, 2504.05228): repeats
    and wrong answers are worth nothing. 1 if all are new and right.
    """
    if not rows:
        return math.nan
    seen: set[Hashable] = set()
    total = 0.0
    for i, (key, passed) in enumerate(rows):
        total += patience**i * (key not in seen) * passed
        seen.add(key)
    return total * (1 - patience) / (1 - patience ** len(rows))


def hill1_correct(keys_by_task: Iterable[Sequence[Hashable]], draws: int = 4) -> Floats:
    """Per task: rarefied Hill-1 of its correct programs' classes, 1..draws; NaN below `draws` correct ones.

    At a fixed number of correct programs, because a model that passes more often would otherwise seem
    more diverse for that alone.
    """
    return np.array([rarefied_hill1(list(Counter(keys).values()), draws) for keys in keys_by_task])


def effective_distinct(keys_by_task: Iterable[Sequence[Hashable]], n: Iterable[int], k: int) -> Floats:
    """Per task: expected number of different correct classes among k of its n samples, 0..k.

    Valid and distinct per budget (Shypula et al. 2025, arXiv 2504.12522): falls both when fewer samples
    pass and when those that pass are alike. Raises ValueError if k > n.
    """
    counts = [list(Counter(keys).values()) for keys in keys_by_task]
    return np.array([at_least_one(m, np.array(c), k).sum() for c, m in zip(counts, n, strict=True)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexical:
    """n-gram statistics of exactly `budget` tokens."""

    n: int
    budget: int
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
        n=n,
        budget=budget,
        unique=unique,
        total=total,
        distinct=spread(_distinct(full), [_distinct(r) for r in rest], (0.0, 1.0)),
        entropy_bits=spread(_entropy_bits(full), [_entropy_bits(r) for r in rest], (0.0, math.inf)),
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


def _entropy_bits(counts: NDArray[np.int64]) -> float:
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
