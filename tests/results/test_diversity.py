"""Diversity by hand: classes of correct programs, n-grams at one budget, self-BLEU."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from plateau_bench.results.metrics.diversity import effective_distinct, hill1_correct, variety
from plateau_bench.results.metrics.drift import Text
from plateau_bench.results.metrics.drift_values import DriftSamples, Reference
from plateau_bench.results.metrics.lexical import compression_ratio, ead, lexical, self_bleu
from plateau_bench.results.metrics.metric import Family, RoundData
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome
from tests.results.attempts import attempt


def of_round(attempts: Sequence[Attempt], texts: Sequence[Text], budget: int) -> Family:
    return variety(
        RoundData(
            attempts=attempts,
            base_attempts=(),
            seed=0,
            samples=DriftSamples(texts=tuple(texts), clusters=("x", "y")[: len(texts)]),
            reference=Reference(human=(), bank=(), bank_clusters=(), rare=frozenset(), token_budget=budget),
        )
    )


def test_diversity_of_a_round() -> None:
    ways = ["def f(a): return a", "def g(b): return b", "def f(a): return -a", "def f(a): return a + 1"]
    attempts = [attempt("a", i, answer=way) for i, way in enumerate(ways)]
    attempts += [attempt("b", i, Outcome.FAILED, answer=way) for i, way in enumerate(ways)]
    texts = [Text(token_ids=(9, *range(30)), start=1)] * 2
    values, columns = of_round(attempts, texts, 60)
    hill = math.exp(0.5 * math.log(2) + 0.5 * math.log(4))  # classes of sizes 2, 1, 1
    assert columns["hill1"][0] == pytest.approx(hill)
    assert math.isnan(columns["hill1"][1])
    assert columns["hill1_all"].tolist() == pytest.approx([hill, hill])
    assert columns["effective@4"].tolist() == [3.0, 0.0]
    assert values["distinct4"] is not None
    assert values["distinct4"].value == 0.5  # both texts are the same 27 four-grams; prompts do not count
    short = of_round(attempts, texts, 61).values
    assert short["distinct4"] is None
    assert short["ngram_entropy"] is None


def test_attempts_without_program_text_have_no_classes() -> None:
    attempts = [attempt("a", i, answer="") for i in range(4)]
    values, columns = of_round(attempts, [], 0)
    assert math.isnan(columns["hill1"][0])
    assert values["hill1"] is None


def test_hill1_needs_enough_correct_programs() -> None:
    found = hill1_correct([["p"] * 4, ["p", "q", "r", "s"], ["p", "q", "r"], []])
    assert found[:2].tolist() == pytest.approx([1.0, 4.0])
    assert np.isnan(found[2:]).all()


def test_effective_distinct_counts_correct_classes_within_the_budget() -> None:
    # One correct program of two samples is met by one draw half of the time.
    assert effective_distinct([["p"], ["p", "q"], []], [2, 2, 2], 1).tolist() == pytest.approx(
        [0.5, 1.0, 0.0]
    )
    with pytest.raises(ValueError):
        effective_distinct([["p"]], [1], 2)


def test_n_grams_by_hand() -> None:
    found = lexical([[1, 2, 1, 2, 1], [1, 2, 7, 8, 9]], ["a", "b"], budget=10, n=2, groups=2)
    assert found is not None
    assert found.distinct is not None
    assert found.entropy_bits is not None
    # (1,2) twice and once, (2,1) twice, (2,7), (7,8), (8,9): eight pairs, five different; none crosses texts
    assert (found.unique, found.total) == (5, 8)
    assert found.distinct.value == 5 / 8
    p = np.array([3, 2, 1, 1, 1]) / 8
    assert found.entropy_bits.value == pytest.approx(-(p * np.log2(p)).sum() + 4 / (16 * math.log(2)))


def test_the_budget_is_exact_and_never_stretched() -> None:
    texts = [list(range(i, i + 50)) for i in range(20)]
    clusters = [f"c{i}" for i in range(20)]
    found = lexical(texts, clusters, budget=400)
    longer = lexical([[*text, *range(500)] for text in texts], clusters, budget=400)
    assert found == longer  # what lies beyond the budget is not read
    assert found is not None
    assert found.total == 400 - 3 * 10  # ten groups of 40 tokens, each from one text of its first cluster
    assert lexical(texts, clusters, budget=1001) is None
    with pytest.raises(ValueError, match="too small"):
        lexical(texts, clusters, budget=20)


def test_interval_of_distinct_n_covers_fresh_samples() -> None:
    """Two draws from one source differ by about what their intervals say."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 201) ** 1.1
    values, halves = [], []
    for _ in range(60):
        texts = [rng.choice(200, 40, p=weights / weights.sum()).tolist() for _ in range(60)]
        found = lexical(texts, [f"c{i}" for i in range(60)], budget=2000, n=2)
        assert found is not None
        assert found.distinct is not None
        values.append(found.distinct.value)
        halves.append(found.distinct.high - found.distinct.value)
    assert 0.6 < 2.26 * np.std(values) / np.median(halves) < 1.5


def test_self_bleu_runs_from_different_to_alike() -> None:
    same = self_bleu([[1, 2, 3, 4, 5]] * 3)
    mixed = self_bleu([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]])
    apart = self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    assert same == pytest.approx(1.0)
    assert mixed == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert apart == pytest.approx((0.1 / 5 * 0.1 / 4 * 0.1 / 3 * 0.1 / 2) ** 0.25)
    assert self_bleu([[1, 2], [1, 2, 3, 4]]) < self_bleu([[1, 2, 3, 4], [1, 2]] * 2)
    assert math.isnan(self_bleu([[1, 2, 3], []]))


def test_compression_and_ead() -> None:
    rng = np.random.default_rng(0)
    varied = ["".join(rng.choice(list("abcdefgh"), 50)) for _ in range(40)]
    assert compression_ratio(varied[:1] * 40) > 3 * compression_ratio(varied)
    assert math.isnan(compression_ratio([]))
    # Uniform draws have as many different words as expected, whatever their number.
    for total in (50, 5000):
        unique = np.mean([len(set(rng.integers(100, size=total).tolist())) for _ in range(100)])
        assert ead(int(round(unique)), total, 100) == pytest.approx(1.0, abs=0.02)
