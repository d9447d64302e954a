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
from numpy.typing import NDArray
from scipy.stats import t as student

from results.estimators import Floats, at_least_one, cluster_codes, mean_interval, rarefied_hill1
from results.programs import canonical as canonical
from results.programs import program_key
from results.records import Attempt, Estimate
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
) -> tuple[dict[str, Estimate | None], dict[str, Floats]]:
    """Diversity of one round: metric name -> estimate, and metric name -> value per task of `table`.

    Program classes come from the graded `attempts`; n-grams from `texts`, samples at temperature 1, over
    exactly `budget` of the tokens that the model wrote. Names and populations: docs/metrics.md.
    """
    keys = _keys(attempts, table.task_ids, correct_only=False)
    correct = _keys(attempts, table.task_ids, correct_only=True)
    k = min(8, int(table.n.min()))
    columns = {
        "hill1": hill1_correct(correct, DRAWS),
        "hill1_all": hill1_correct(keys, DRAWS),
        f"effective@{k}": effective_distinct(correct, table.n, k),
    }
    tops = {"hill1": (1.0, DRAWS), "hill1_all": (1.0, DRAWS), f"effective@{k}": (0.0, k)}
    values: dict[str, Estimate | None] = {
        name: mean_interval(column, table.clusters, seed=seed, bounds=tops[name])
        for name, column in columns.items()
    }
    written = [text.token_ids[text.start :] for text in texts]
    grams = lexical(written, text_clusters, budget=budget) if budget >= 40 else None
    values["distinct4"] = grams.distinct if grams else None
    values["ngram_entropy"] = grams.entropy_bits if grams else None
    by_cluster: dict[str, list[Sequence[int]]] = {}
    for ids, cluster in zip(written, text_clusters, strict=True):
        by_cluster.setdefault(cluster, []).append(ids)
    bleu = [self_bleu(samples, limit=8) for samples in by_cluster.values()]
    values["self_bleu"] = mean_interval(bleu, list(by_cluster), seed=seed, bounds=(0.0, 1.0))
    return values, columns


def _keys(attempts: Sequence[Attempt], task_ids: Sequence[str], *, correct_only: bool) -> list[list[str]]:
    """Class keys per task; an attempt without program text (its work lies in a box) has none."""
    found: Mapping[str, list[str]] = {task: [] for task in task_ids}
    for attempt in attempts:
        if attempt.verdict.outcome is Outcome.PASSED or not correct_only:
            key = program_key(attempt.trajectory.answer)
            if key is not None:
                found[attempt.task_id].append(key)
    return list(found.values())


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
        distinct=_jackknife(_distinct(full), [_distinct(r) for r in rest], (0.0, 1.0)),
        entropy_bits=_jackknife(_entropy_bits(full), [_entropy_bits(r) for r in rest], (0.0, math.inf)),
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


def _jackknife(value: float, left_out: list[float], bounds: tuple[float, float]) -> Estimate | None:
    g = len(left_out)
    if g < 2:
        return None
    x = np.asarray(left_out)
    half = float(student.ppf(0.975, g - 1) * math.sqrt((g - 1) / g * ((x - x.mean()) ** 2).sum()))
    return Estimate(value, max(bounds[0], value - half), min(bounds[1], value + half), g)


def ead(unique: int, total: int, vocabulary: int) -> float:
    """Expectation-adjusted distinct (Liu et al. 2022): unique over its expectation under uniform draws."""
    if total == 0:
        return math.nan
    return unique / (vocabulary * -math.expm1(total * math.log1p(-1.0 / vocabulary)))


def compression_ratio(texts: Sequence[str]) -> float:
    """Raw bytes over deflated bytes; higher means more repetition. NaN for no text."""
    raw = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw, 9)) if raw else math.nan


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
