"""The metrics of variety: what a report and docs/metrics.md say of the values of `diversity`."""

import math
from functools import partial

from plateau_bench.results.metrics.diversity import DRAWS, diversity_metrics
from plateau_bench.results.metrics.metric import RATE, Family, Metric, Panel, Population, RoundData


def _variety(data: RoundData) -> Family:
    samples, reference, now = data.samples, data.reference, data.models.get("now")
    found = diversity_metrics(
        data.attempts,
        data.table,
        samples.texts if samples else (),
        samples.clusters if samples else (),
        reference.token_budget if reference else 0,
        seed=data.seed,
        base_attempts=data.base_attempts,
        vocabulary=now.config.vocab_size if now else 0,
        tail=reference.rare if reference else frozenset(),
    )
    return Family(*found)


_FOUR = (1.0, float(DRAWS))
_LEAST_0 = (0.0, math.inf)
_correct = partial(Metric, function=_variety, population=Population.CORRECT)
_graded = partial(Metric, function=_variety, population=Population.GRADED)
_free = partial(Metric, function=_variety, population=Population.FREE)
METRICS = (
    _correct(
        "hill1",
        "mean over tasks with at least 4 correct programs of the expected exp(entropy) of the classes of 4 "
        "of them, drawn without replacement. **The primary measure of collapse**",
        source="Hill 1973, rarefied exactly",
        unit="effective programs, 1–4",
        good="up",
        bounds=_FOUR,
        panels=(
            Panel(
                "variety",
                "Different correct programs (Hill-1)",
                "Effective number of different programs among four correct ones for the same "
                "task, over tasks with four: 1 means always the same program, 4 means four different "
                "ones. Higher means more variety.",
                min_span=0.3,
            ),
        ),
    ),
    _graded(
        "hill1_all",
        "`hill1` over all attempts; falls also because wrong answers are the varied ones",
        unit="effective programs, 1–4",
        good="unclear",
        bounds=_FOUR,
    ),
    _correct(
        "hill1_<text, layout, constants>",
        "`hill1` with other classes: equal text; equal but for layout, comments, docstrings; equal but for "
        "those, own names and the values of constants. `hill1` lies between the last two",
        unit="effective programs, 1–4",
        good="up",
        bounds=_FOUR,
    ),
    _graded(
        "effective@<k>",
        "expected number of different correct classes among k attempts, k = min(8, n): Σ over classes of "
        "1 − C(n−nᵢ,k)/C(n,k)",
        source="Shypula et al. 2025 (2504.12522)",
        unit="programs, 0–k",
        good="up",
        bounds=_LEAST_0,
        panels=(
            Panel(
                "variety",
                "Different correct programs in eight attempts",
                "How many programs out of eight attempts are both correct and different from each "
                "other. Higher is better: it counts success and variety at once.",
                metric="effective@8",
                min_span=0.3,
            ),
        ),
    ),
    _graded(
        "utility@<k>",
        "(1−p)/(1−p^k) Σ p^(i−1) [i-th class is new and right], p = 0.8, in the order of sampling",
        source="NoveltyBench (2504.05228)",
        unit="share",
        good="up",
        bounds=RATE,
    ),
    _correct(
        "simpson",
        "chance that two correct programs of a task are of one class, Σ nᵢ(nᵢ−1)/(n(n−1)); tasks with at "
        "least 4",
        source="Simpson 1949",
        unit="share",
        good="down",
        bounds=RATE,
    ),
    _correct(
        "chao1",
        "classes seen and unseen, S + (n−1)/n · f₁²/(2f₂); tasks with at least 4. A lower bound, and noisy "
        "for n of 4 to 16",
        source="Chao 1984",
        unit="programs",
        good="up",
        bounds=(1.0, math.inf),
    ),
    _correct(
        "class_coverage",
        "probability that the next correct program is of a class already seen",
        source="Chao & Jost 2012",
        unit="share",
        good="unclear",
        bounds=RATE,
    ),
    _correct(
        "vendi",
        "mean over tasks of exp(entropy of the eigenvalues of K/m), K the cosines of hashed character 3- to "
        "5-gram TF-IDF vectors (weights from round 0's attempts) of m = 4 correct texts",
        source="Friedman & Dieng 2023 (2210.02410)",
        unit="effective texts, 1–m",
        good="up",
        bounds=_LEAST_0,
    ),
    _graded(
        "vendi_all",
        "`vendi` of n texts, right or wrong",
        unit="effective texts, 1–m",
        good="unclear",
        bounds=_LEAST_0,
    ),
    _correct(
        "embedding_distance",
        "mean 1 − cosine over pairs of the texts of `vendi`",
        unit="0–1",
        good="up",
        bounds=_LEAST_0,
    ),
    _graded(
        "embedding_distance_all",
        "mean 1 − cosine over pairs of the texts of `vendi_all`",
        unit="0–1",
        good="unclear",
        bounds=_LEAST_0,
    ),
    _graded(
        "compression_ratio",
        "bytes of all programs over their deflated bytes",
        unit="ratio",
        good="down",
        bounds=_LEAST_0,
    ),
    _free(
        "distinct4",
        "different 4-grams over all, in exactly the run's token budget; none if a round wrote fewer tokens",
        source="Li et al. 2016 (N16-1014)",
        unit="share",
        good="up",
        bounds=RATE,
        panels=(
            Panel(
                "variety",
                "Distinct 4-grams",
                "Share of four-token sequences that differ from each other, over equally many "
                "generated tokens in every round. Higher means more variety; a steady fall means the "
                "model repeats itself.",
            ),
        ),
    ),
    _free(
        "<distinct1, distinct2>",
        "as `distinct4`, for tokens and pairs",
        unit="share",
        good="up",
        bounds=RATE,
    ),
    _free(
        "unique4",
        "number of different 4-grams in the token budget",
        unit="4-grams",
        good="up",
        bounds=_LEAST_0,
    ),
    _free(
        "ngram_entropy",
        "entropy of the 4-grams of `distinct4`, Miller–Madow corrected",
        source="Miller 1955",
        unit="bits",
        good="up",
        bounds=_LEAST_0,
        panels=(
            Panel(
                "variety",
                "n-gram entropy",
                "How evenly the model spreads its writing over token sequences, in bits. Higher "
                "means more variety.",
                min_span=0.5,
            ),
        ),
    ),
    _free(
        "ead",
        "different tokens over their number expected from as many uniform draws, U / (V (1 − (1 − 1/V)^C)), "
        "V the model's vocabulary",
        source="Liu et al. 2022 (2202.13587)",
        unit="share",
        good="up",
        bounds=_LEAST_0,
    ),
    _free(
        "tail_vocabulary",
        "expected share of the rarest human token types (see `rare_ppl`) met in one token budget, rarefied",
        unit="share",
        good="up",
        bounds=RATE,
    ),
    _free(
        "self_bleu",
        "mean BLEU-4 of each completion against the others of its task cluster (first 8), smoothing method 1",
        source="Zhu et al. 2018; Chen & Cherry 2014",
        unit="0–1",
        good="down",
        bounds=RATE,
    ),
)
