"""Formulas against identities, full enumeration and known truths. Packages: test_oracles_packages.py."""

import itertools
import math
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, entropy

from plateau_bench.results.metrics.breadth import cover_at, forgotten, solved_sets
from plateau_bench.results.metrics.diversity import utility
from plateau_bench.results.metrics.drift_values import excess_bits
from plateau_bench.results.metrics.estimators import (
    at_least_one,
    clustered_se,
    jackknife_interval,
    ratio_interval,
)
from plateau_bench.results.metrics.lexical import compression_ratio, ead, lexical, survival
from plateau_bench.results.metrics.richness import chao1, coverage, hill, met_in, simpson


def zipf(types: int, exponent: float) -> np.ndarray:
    """Probabilities proportional to rank^-exponent."""
    shares = np.arange(1, types + 1, dtype=np.float64) ** -exponent
    return shares / shares.sum()


SPIDERS = [46, 22, 17, 15, 15, 9, 8, 6, 6, 4, *[2] * 4, *[1] * 12]
"""Girdled site of the spider data in iNEXT's manual: 168 individuals of 26 species."""


def test_coverage_and_chao1_of_inexts_spiders() -> None:
    """iNEXT prints SC = 0.9289; 26, 12.060, 7.840 of order 0, 1, 2; estimated 43.893, 8.175."""
    assert (sum(SPIDERS), len(SPIDERS)) == (168, 26)
    assert coverage(SPIDERS) == pytest.approx(0.9289, abs=5e-5)
    assert chao1(SPIDERS) == pytest.approx(43.893, abs=5e-4)
    assert [hill(SPIDERS, q) for q in (0.0, 1.0, 2.0)] == pytest.approx([26, 12.060, 7.840], abs=5e-4)
    assert 1 / simpson(SPIDERS) == pytest.approx(8.175, abs=5e-4)


def test_coverage_is_right_on_average() -> None:
    """Known probabilities: the mean estimate is the mean mass of the classes seen."""
    rng = np.random.default_rng(0)
    p = zipf(40, 1.0)
    drawn = rng.multinomial(60, p, size=3000)
    true = (p * (drawn > 0)).sum(axis=1)
    assert np.mean([coverage(row.tolist()) for row in drawn]) == pytest.approx(true.mean(), abs=0.005)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_simpson_is_the_share_of_equal_pairs(counts: list[int]) -> None:
    items = [label for label, count in enumerate(counts) for _ in range(count)]
    pairs = list(itertools.combinations(items, 2))
    assert simpson(counts) == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


@given(st.integers(1, 60), st.data())
def test_met_in_is_at_least_one_by_another_road(total: int, data: st.DataObject) -> None:
    draws, count = data.draw(st.integers(1, total)), data.draw(st.integers(0, total))
    assert met_in([count], total, draws)[0] == pytest.approx(at_least_one(total, count, draws), abs=1e-9)
    with pytest.raises(ValueError):
        met_in([count], total, total + 1)


def test_tail_types_survive_by_rarefaction() -> None:
    """Every subset of 3 of these 6 tokens; the tail types are 7 and 8, of which 8 never occurs."""
    tokens = [7, 7, 1, 2, 3, 4]
    subsets = list(itertools.combinations(tokens, 3))
    expected = np.mean([len({7, 8} & set(s)) / 2 for s in subsets])
    assert survival([2, 0], 6, 3) == pytest.approx(expected)
    assert at_least_one(6, [2, 1, 1, 1, 1], 3).sum() == pytest.approx(np.mean([len(set(s)) for s in subsets]))


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 3)), min_size=2, max_size=15))
def test_clustered_error_is_millers_double_sum(rows: list[tuple[float, int]]) -> None:
    x, n = [r[0] for r in rows], len(rows)
    mean = sum(x) / n
    total = sum((v - mean) ** 2 for v in x) / (n * (n - 1))
    for (i, (a, g)), (j, (b, h)) in itertools.product(enumerate(rows), repeat=2):
        if i != j and g == h:
            total += (a - mean) * (b - mean) / n**2
    expected = math.sqrt(max(0.0, total))
    assert clustered_se(x, [str(r[1]) for r in rows]) == pytest.approx(expected, abs=1e-7)


def test_clustered_error_is_the_spread_of_means() -> None:
    rng = np.random.default_rng(0)
    clusters = [str(i // 5) for i in range(200)]
    draws = np.repeat(rng.normal(0, 1, (1500, 40)), 5, axis=1) + rng.normal(0, 1, (1500, 200))
    reported = math.sqrt(np.mean([clustered_se(x, clusters) ** 2 for x in draws]))
    assert reported == pytest.approx(draws.mean(axis=1).std(), rel=0.06)


def test_a_model_that_never_changes_has_forgotten_nothing() -> None:
    rng = np.random.default_rng(2)
    rates = rng.beta(0.5, 0.5, 400)
    found, naive = [], []
    for _ in range(100):
        halves = rng.binomial(4, np.broadcast_to(rates[None, :, None], (6, 400, 2))) / 4
        found.append(forgotten(halves[:5], halves[5]).mean())
        whole = halves.mean(axis=2)
        naive.append((whole[:5].max(axis=0) - whole[5]).clip(0).mean())
    assert abs(np.mean(found)) < 0.004
    assert np.mean(naive) > 0.08


def test_a_real_loss_is_found_in_full() -> None:
    earlier = np.array([[[0.0, 0.0], [0.5, 0.5]], [[1.0, 1.0], [0.5, 0.5]]])
    assert forgotten(earlier, np.array([[0.25, 0.25], [1.0, 1.0]])).tolist() == [0.75, 0.0]
    assert np.isnan(forgotten(earlier, np.array([[0.25, np.nan], [1.0, 1.0]]))).tolist() == [True, False]


def test_cover_and_sets_by_hand() -> None:
    assert cover_at([4, 4, 10], [1, 2, 3], 0.5).tolist() == [0, 1, 0]
    assert cover_at([10], [3], 0.3).tolist() == [1]  # 0.3 is not exact in binary
    found = solved_sets([2, 1, 0, 0], [3, 0, 1, 0])
    assert [found[name].tolist() for name in ("both", "only_base", "only_now", "neither")] == np.eye(
        4
    ).tolist()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8))
def test_utility_is_the_expected_gain_of_a_reader_who_may_stop(rows: list[tuple[str, bool]]) -> None:
    """After each answer the reader goes on with chance 0.8; normalised by what new, right answers give."""
    gain = best = 0.0
    for i, (key, passed) in enumerate(rows):
        gain += 0.8**i * (passed and key not in [k for k, _ in rows[:i]])
        best += 0.8**i
    assert utility(rows) == pytest.approx(gain / best)


def test_ead_divides_by_the_exact_expectation() -> None:
    """All 3^4 texts of four tokens over three types: the mean of EAD over uniform texts is 1."""
    texts = list(itertools.product(range(3), repeat=4))
    assert np.mean([ead(len(set(t)), 4, 3) for t in texts]) == pytest.approx(1.0)


def test_compression_ratio_is_bytes_over_bytes_that_unpack_again() -> None:
    texts = ["def f(x):\n    return x + 1"] * 20
    raw = "\n".join(texts).encode()
    packed = zlib.compress(raw)
    assert zlib.decompress(packed) == raw
    assert compression_ratio(texts) == pytest.approx(len(raw) / len(packed))


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=12), min_size=4, max_size=8))
def test_n_grams_are_those_of_a_counter(texts: list[list[int]]) -> None:
    texts = [text[:4] for text in texts]
    found = lexical(texts, [str(i) for i in range(len(texts))], budget=4 * len(texts), n=2, groups=2)
    grams = Counter(pair for text in texts for pair in itertools.pairwise(text))
    if found is None:  # an odd number of texts fills the two groups unevenly
        assert len(texts) % 2
        return
    p = np.array(list(grams.values())) / grams.total()
    bits = -(p * np.log2(p)).sum() + (len(grams) - 1) / (2 * grams.total() * math.log(2))
    assert (found.unique, found.total) == (len(grams), grams.total())
    assert found.distinct is not None
    assert found.distinct.value == pytest.approx(len(grams) / grams.total())
    assert found.entropy_bits is not None
    assert found.entropy_bits.value == pytest.approx(bits)


def test_miller_madow_takes_most_of_the_bias_away() -> None:
    rng = np.random.default_rng(3)
    p = zipf(30, 0.5)
    truth = float(-(p * np.log2(p)).sum())
    corrected, plain = [], []
    for _ in range(200):
        text = rng.choice(30, 200, p=p).tolist()
        found = lexical([text[:100], text[100:]], ["a", "b"], budget=200, n=1)
        assert found is not None
        assert found.entropy_bits is not None
        share = np.array(list(Counter(text).values())) / 200
        corrected.append(found.entropy_bits.value - truth)
        plain.append(-(share * np.log2(share)).sum() - truth)
    assert abs(np.mean(corrected)) < 0.25 * abs(np.mean(plain))


def test_bca_interval_is_scipys_over_cluster_sums() -> None:
    rng = np.random.default_rng(6)
    for groups in (12, 60):
        clusters = [f"c{i // 3:02d}" for i in range(3 * groups)]
        top, bottom = rng.binomial(4, 0.3, 3 * groups) / 4, rng.random(3 * groups)
        ours = ratio_interval(top, bottom, clusters, seed=1, boot=20_000)
        sums = tuple(x.reshape(-1, 3).sum(axis=1) for x in (top, bottom))
        theirs = bootstrap(
            sums, lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, n_resamples=20_000, rng=2
        ).confidence_interval
        assert ours is not None
        # Two draws of 20,000 resamples; the ends of one differ from the other's by some 2 % of the width.
        width = theirs.high - theirs.low
        assert ours[1:3] == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    x = np.random.default_rng(4).normal(size=10)
    found = jackknife_interval(lambda i: float(x[i].mean()), [str(i) for i in range(10)], groups=10)
    assert found is not None
    half = 2.2621571628 * x.std(ddof=1) / math.sqrt(10)
    assert found[:3] == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))
    assert jackknife_interval(lambda i: float(x[i].mean()), ["a"] * 10) is None


distributions = st.lists(st.floats(0.02, 1.0), min_size=4, max_size=4).map(lambda w: np.array(w) / sum(w))


def test_excess_cross_entropy_is_a_difference_of_kls() -> None:
    """Weighted by the human distribution, H cancels: CE_t - CE_0 = KL(human||t) - KL(human||0)."""
    human, now, base = np.array([0.7, 0.3]), np.array([0.2, 0.8]), np.array([0.6, 0.4])
    found = excess_bits(-np.log(now) * human, -np.log(base) * human).sum() / human.sum()
    expected = (entropy(human, now) - entropy(human, base)) / math.log(2)
    assert found == pytest.approx(expected)
