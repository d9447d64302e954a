"""How many different things a model still says: classes of programs, and n-grams at a fixed budget.

Diversity is told for three populations that can move in opposite directions: all samples, correct ones
at a fixed count, and correct-and-different ones per budget of samples. A fall over all samples alone is
partly mechanical, because wrong answers are the diverse ones.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import partial

import numpy as np

from plateau_bench.results.metrics.estimators import (
    Floats,
    Values,
    at_least_one,
    jackknife_interval,
    mean_interval,
)
from plateau_bench.results.metrics.lexical import compression_ratio, lexical_metrics, self_bleu
from plateau_bench.results.metrics.metric import RATE, Family, Metric, Panel, Population, RoundData
from plateau_bench.results.metrics.program_classes import ladder, program_key
from plateau_bench.results.metrics.richness import chao1, coverage, rarefied_hill1, simpson
from plateau_bench.results.metrics.similarity import (
    cosine_blocks,
    gram_counts,
    inverse_frequency,
    mean_distance,
    vendi,
)
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome

DRAWS = 4
"""Correct programs per task among which solutions are told apart."""


def variety(data: RoundData) -> Family:
    """The values of `METRICS`, and of some of them values per task.

    Program classes come from the graded attempts, those of round 0 fix the weights of the text embedding;
    n-grams from the samples at temperature 1, over exactly the budget of tokens that the model wrote. Without
    weights 'ead' is left out, without a reference 'tail_vocabulary'.
    """
    table, seed = data.table, data.seed
    programs = _by_task(data.attempts, table.task_ids)
    columns, tops = class_columns(programs, table.n)
    values: Values = {name: table.mean(column, seed, tops[name]) for name, column in columns.items()}
    before = [a.trajectory.code for a in data.base_attempts if a.trajectory.code.strip()]
    idf = inverse_frequency(gram_counts(before)) if before else None
    for name, column in likeness_columns(programs, idf, int(table.n.min())).items():
        values[name] = table.mean(column, seed, (0.0, math.inf))
    rows = [a for a in data.attempts if a.trajectory.code]
    values["compression_ratio"] = jackknife_interval(
        lambda kept: compression_ratio([rows[i].trajectory.code for i in kept]),
        [a.cluster or a.task_id for a in rows],
        bounds=(0.0, math.inf),
    )
    values |= _wording(data)
    return Family(values, {name: columns[name] for name in columns if name in _KEPT or "@" in name})


def _wording(data: RoundData) -> Values:
    """n-grams and self-BLEU of the samples at temperature 1; None where there are none."""
    samples, reference, now = data.samples, data.reference, data.models.get("now")
    written = [text.written for text in samples.texts] if samples else []
    clusters = samples.clusters if samples else ()
    values = lexical_metrics(
        written,
        clusters,
        reference.token_budget if reference else 0,
        vocabulary=now.config.vocab_size if now else 0,
        tail=reference.rare if reference else frozenset(),
    )
    by_cluster: dict[str, list[Sequence[int]]] = {}
    for ids, cluster in zip(written, clusters, strict=True):
        by_cluster.setdefault(cluster, []).append(ids)
    bleu = [self_bleu(group, limit=8) for group in by_cluster.values()]
    return values | {"self_bleu": mean_interval(bleu, list(by_cluster), seed=data.seed, bounds=(0.0, 1.0))}


_KEPT = ("hill1", "hill1_all")
"""Classes whose values per task are recorded: they are claimed on, or compared across arms."""


Solutions = Sequence[tuple[str, bool]]
"""One task's programs in order of sampling, and whether each passed."""


def _by_task(attempts: Sequence[Attempt], task_ids: Sequence[str]) -> list[Solutions]:
    """Per task; of what was left in a box, the changed modules."""
    found: dict[str, list[tuple[str, bool]]] = {task: [] for task in task_ids}
    for attempt in sorted(attempts, key=lambda a: a.sample):
        if attempt.trajectory.code.strip():
            passed = attempt.verdict.outcome is Outcome.PASSED
            found[attempt.task_id].append((attempt.trajectory.code, passed))
    return list(found.values())


def class_columns(
    programs: Sequence[Solutions], n: Floats
) -> tuple[dict[str, Floats], dict[str, tuple[float, float]]]:
    """Per task what classes of programs tell, and the range of each measure. `n`: samples per task."""
    keyed = [[(program_key(p) or "", ok) for p, ok in rows] for rows in programs]
    correct = [[key for key, ok in rows if ok] for rows in keyed]
    rungs = [[ladder(p) for p, ok in rows if ok] for rows in programs]
    counts = [list(Counter(keys).values()) for keys in correct]
    enough = [c if sum(c) >= DRAWS else [] for c in counts]
    k = min(8, int(n.min()))
    draws = (1.0, DRAWS)
    found: dict[str, tuple[Floats, tuple[float, float]]] = {
        "hill1": (hill1_correct(correct, DRAWS), draws),
        "hill1_all": (hill1_correct([[key for key, _ in rows] for rows in keyed], DRAWS), draws),
        "hill1_text": (hill1_correct([[p for p, ok in r if ok] for r in programs], DRAWS), draws),
        "hill1_layout": (hill1_correct([[g.layout for g in r if g] for r in rungs], DRAWS), draws),
        "hill1_constants": (hill1_correct([[g.constants for g in r if g] for r in rungs], DRAWS), draws),
        f"effective@{k}": (effective_distinct(correct, n, k), (0.0, k)),
        f"utility@{k}": (np.array([utility(rows[:k]) for rows in keyed]), (0.0, 1.0)),
        "simpson": (np.array([simpson(c) for c in enough]), (0.0, 1.0)),
        "chao1": (np.array([chao1(c) for c in enough]), (1.0, math.inf)),
        "class_coverage": (np.array([coverage(c) for c in enough]), (0.0, 1.0)),
    }
    return {n: column for n, (column, _) in found.items()}, {n: bounds for n, (_, bounds) in found.items()}


def likeness_columns(programs: Sequence[Solutions], idf: Floats | None, n: int) -> dict[str, Floats]:
    """Vendi score and mean cosine distance of each task's texts: n of all, and DRAWS correct ones."""
    blocks = cosine_blocks([[p for p, _ in rows] for rows in programs], idf)
    right = [[i for i, (_, ok) in enumerate(rows) if ok] for rows in programs]
    everyone = [list(range(len(rows))) for rows in programs]
    found: dict[str, Floats] = {}
    for suffix, size, members in (("_all", n, everyone), ("", DRAWS, right)):
        fit = np.array([len(who) >= size >= 2 for who in members])
        parts = [block[np.ix_(who[:size], who[:size])] for block, who in zip(blocks, members, strict=True)]
        near = np.array([part for part, ok in zip(parts, fit, strict=True) if ok]).reshape(-1, size, size)
        for name, measure in (("vendi", vendi), ("embedding_distance", mean_distance)):
            column = np.full(len(members), math.nan)
            column[fit] = measure(near)
            found[name + suffix] = column
    return found


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


_FOUR = (1.0, float(DRAWS))
_LEAST_0 = (0.0, math.inf)
_correct = partial(Metric, function=variety, population=Population.CORRECT)
_graded = partial(Metric, function=variety, population=Population.GRADED)
_free = partial(Metric, function=variety, population=Population.FREE)
METRICS = (
    _correct("hill1", "mean over tasks with at least 4 correct programs of the expected exp(entropy) of the "
        "classes of 4 of them, drawn without replacement. **The primary measure of collapse**",
        source="Hill 1973, rarefied exactly", unit="effective programs, 1–4", good="up", bounds=_FOUR,
        panels=(Panel("variety", "Different correct programs (Hill-1)",
            "Effective number of different programs among four correct ones for the same task, over tasks "
            "with four: 1 means always the same program, 4 means four different ones. Higher means more "
            "variety.", min_span=0.3),)),
    _graded("hill1_all", "`hill1` over all attempts; falls also because wrong answers are the varied ones",
        unit="effective programs, 1–4", good="unclear", bounds=_FOUR),
    _correct("hill1_<text, layout, constants>", "`hill1` with other classes: equal text; equal but for "
        "layout, comments, docstrings; equal but for those, own names and the values of constants. `hill1` "
        "lies between the last two", unit="effective programs, 1–4", good="up", bounds=_FOUR),
    _graded("effective@<k>", "expected number of different correct classes among k attempts, k = min(8, n): "
        "Σ over classes of 1 − C(n−nᵢ,k)/C(n,k)", source="Shypula et al. 2025 (2504.12522)",
        unit="programs, 0–k", good="up", bounds=_LEAST_0,
        panels=(Panel("variety", "Different correct programs in eight attempts",
            "How many programs out of eight attempts are both correct and different from each other. Higher "
            "is better: it counts success and variety at once.", metric="effective@8", min_span=0.3),)),
    _graded("utility@<k>", "(1−p)/(1−p^k) Σ p^(i−1) [i-th class is new and right], p = 0.8, in the order of "
        "sampling", source="NoveltyBench (2504.05228)", unit="share", good="up", bounds=RATE),
    _correct("simpson", "chance that two correct programs of a task are of one class, Σ nᵢ(nᵢ−1)/(n(n−1)); "
        "tasks with at least 4", source="Simpson 1949", unit="share", good="down", bounds=RATE),
    _correct("chao1", "classes seen and unseen, S + (n−1)/n · f₁²/(2f₂); tasks with at least 4. A lower "
        "bound, and noisy for n of 4 to 16", source="Chao 1984", unit="programs", good="up",
        bounds=(1.0, math.inf)),
    _correct("class_coverage", "probability that the next correct program is of a class already seen",
        source="Chao & Jost 2012", unit="share", good="unclear", bounds=RATE),
    _correct("vendi", "mean over tasks of exp(entropy of the eigenvalues of K/m), K the cosines of hashed "
        "character 3- to 5-gram TF-IDF vectors (weights from round 0's attempts) of m = 4 correct texts",
        source="Friedman & Dieng 2023 (2210.02410)", unit="effective texts, 1–m", good="up", bounds=_LEAST_0),
    _graded("vendi_all", "`vendi` of n texts, right or wrong", unit="effective texts, 1–m", good="unclear",
        bounds=_LEAST_0),
    _correct("embedding_distance", "mean 1 − cosine over pairs of the texts of `vendi`", unit="0–1",
        good="up", bounds=_LEAST_0),
    _graded("embedding_distance_all", "mean 1 − cosine over pairs of the texts of `vendi_all`", unit="0–1",
        good="unclear", bounds=_LEAST_0),
    _graded("compression_ratio", "bytes of all programs over their deflated bytes", unit="ratio",
        good="down", bounds=_LEAST_0),
    _free("distinct4", "different 4-grams over all, in exactly the run's token budget; none if a round wrote "
        "fewer tokens", source="Li et al. 2016 (N16-1014)", unit="share", good="up", bounds=RATE,
        panels=(Panel("variety", "Distinct 4-grams", "Share of four-token sequences that differ from each "
            "other, over equally many generated tokens in every round. Higher means more variety; a steady "
            "fall means the model repeats itself."),)),
    _free("<distinct1, distinct2>", "as `distinct4`, for tokens and pairs", unit="share", good="up",
        bounds=RATE),
    _free("unique4", "number of different 4-grams in the token budget", unit="4-grams", good="up",
        bounds=_LEAST_0),
    _free("ngram_entropy", "entropy of the 4-grams of `distinct4`, Miller–Madow corrected",
        source="Miller 1955", unit="bits", good="up", bounds=_LEAST_0,
        panels=(Panel("variety", "n-gram entropy", "How evenly the model spreads its writing over token "
            "sequences, in bits. Higher means more variety.", min_span=0.5),)),
    _free("ead", "different tokens over their number expected from as many uniform draws, U / (V (1 − (1 − "
        "1/V)^C)), V the model's vocabulary", source="Liu et al. 2022 (2202.13587)", unit="share", good="up",
        bounds=_LEAST_0),
    _free("tail_vocabulary", "expected share of the rarest human token types (see `rare_ppl`) met in one "
        "token budget, rarefied", unit="share", good="up", bounds=RATE),
    _free("self_bleu", "mean BLEU-4 of each completion against the others of its task cluster (first 8), "
        "smoothing method 1", source="Zhu et al. 2018; Chen & Cherry 2014", unit="0–1", good="down",
        bounds=RATE),
)  # fmt: skip
