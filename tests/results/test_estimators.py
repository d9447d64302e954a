"""Estimators against brute force, published formulas written a second way, and simulated coverage."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.metrics.estimators import (
    all_of,
    at_least_one,
    clustered_se,
    mean_interval,
    ratio_interval,
    seeds_interval,
)
from plateau_bench.results.metrics.richness import chao1, coverage, hill, rarefied_hill1

class_counts = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@given(n=st.integers(1, 9), data=st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([1] * c + [0] * (n - c), k))
    assert at_least_one(n, c, k) == pytest.approx(sum(any(s) for s in subsets) / len(subsets))
    assert all_of(n, c, k) == pytest.approx(sum(all(s) for s in subsets) / len(subsets))


@given(n=st.integers(1, 200), data=st.data())
def test_pass_at_k_equals_the_product_over_failures(n: int, data: st.DataObject) -> None:
    """The usual numerically stable form multiplies over the c passes, ours over the k draws."""
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    expected = 1.0 if n - c < k else 1.0 - math.prod(1.0 - k / m for m in range(n - c + 1, n + 1))
    assert at_least_one(n, c, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_broadcasts_over_tasks_with_different_numbers_of_samples() -> None:
    assert at_least_one([4, 8], [1, 1], 2).tolist() == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(("n", "c", "k"), [([8, 4], [0, 4], 5), ([4], [5], 1), ([4], [1], 0)])
def test_impossible_counts_are_refused(n: list[int], c: list[int], k: int) -> None:
    for estimator in (at_least_one, all_of):
        with pytest.raises(ValueError):
            estimator(n, c, k)


@given(counts=class_counts, draws=st.integers(1, 4))
def test_rarefaction_is_the_mean_over_all_subsets(counts: list[int], draws: int) -> None:
    items = [label for label, count in enumerate(counts) for _ in range(count)]
    if len(items) < draws:
        assert math.isnan(rarefied_hill1(counts, draws))
        return
    samples = [Counter(s) for s in combinations(items, draws)]
    assert at_least_one(sum(counts), counts, draws).sum() == pytest.approx(np.mean([len(s) for s in samples]))
    assert rarefied_hill1(counts, draws) == pytest.approx(np.mean([hill(list(s.values())) for s in samples]))


def test_rarefied_hill_does_not_depend_on_the_number_of_samples() -> None:
    """Twelve or forty samples of one distribution estimate the same number; the plug-in value does not."""
    rng = np.random.default_rng(0)
    p = [0.5, 0.2, 0.1, 0.1, 0.1]
    few, many = (rng.multinomial(n, p, size=1500) for n in (12, 40))
    rarefied = [np.mean([rarefied_hill1(row.tolist()) for row in rows]) for rows in (few, many)]
    plug_in = [np.mean([hill(row.tolist()) for row in rows]) for rows in (few, many)]
    assert rarefied[0] == pytest.approx(rarefied[1], abs=0.03)
    assert plug_in[1] - plug_in[0] > 0.2


@given(classes=st.integers(1, 20), each=st.integers(1, 5), order=st.sampled_from([0.0, 1.0, 2.0]))
def test_equal_classes_count_fully_at_every_order(classes: int, each: int, order: float) -> None:
    assert hill([each] * classes, order) == pytest.approx(classes)


@given(counts=class_counts)
def test_hill_numbers_fall_with_the_order(counts: list[int]) -> None:
    assert hill(counts, 0.0) >= hill(counts) - 1e-9 >= hill(counts, 2.0) - 2e-9


def test_richness_and_coverage_of_worked_examples() -> None:
    assert chao1([5, 3, 1, 1, 2]) == pytest.approx(5 + 11 / 12 * 2**2 / (2 * 1))
    assert chao1([5, 1, 1, 1]) == pytest.approx(4 + 7 / 8 * 3)  # no doubletons: the bias-corrected form
    assert coverage([5, 3, 1, 1, 2]) == pytest.approx(1 - 2 / 12 * (11 * 2) / (11 * 2 + 2))
    assert coverage([4, 4]) == 1.0
    assert math.isnan(hill([]))
    assert math.isnan(chao1([]))
    assert math.isnan(coverage([]))


def test_clustered_error_of_a_worked_example() -> None:
    """Mean 0.5, deviations +-.5; two clusters of two equal tasks: 1/(4*3) + (0.5 + 0.5)/16."""
    values = [1.0, 1.0, 0.0, 0.0]
    assert clustered_se(values, ["a", "a", "b", "b"]) == pytest.approx(math.sqrt(1 / 12 + 1 / 16))
    assert clustered_se(values, ["a", "b", "c", "d"]) == pytest.approx(math.sqrt(1 / 12))
    assert clustered_se([*values, math.nan], ["a", "a", "b", "b", "c"]) == clustered_se(
        values, ["a", "a", "b", "b"]
    )
    assert math.isnan(clustered_se([1.0], ["a"]))


def _names(n: int) -> list[str]:
    return [f"t{i}" for i in range(n)]


def test_intervals_are_a_function_of_their_arguments() -> None:
    values = np.random.default_rng(1).random(40)
    first = mean_interval(values, _names(40), seed=7)
    assert first == mean_interval(values, _names(40), seed=7)
    assert first != mean_interval(values, _names(40), seed=8)


def test_nan_values_drop_out() -> None:
    values = np.random.default_rng(1).random(40)
    with_holes = mean_interval([*values, math.nan], [*_names(40), "zz"], seed=7)
    assert with_holes == mean_interval(values, _names(40), seed=7)
    assert mean_interval([math.nan], ["a"], seed=7) is None
    assert mean_interval([], [], seed=7) is None


def test_repeated_tasks_of_a_cluster_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).random(30)
    single = mean_interval(values, _names(30), seed=0)
    tenfold = mean_interval(np.repeat(values, 10), np.repeat(_names(30), 10).tolist(), seed=0)
    assert single is not None
    assert tenfold is not None
    assert tenfold == pytest.approx(single)


def test_all_tasks_at_a_bound_still_leave_doubt() -> None:
    estimate = mean_interval([0.0] * 10, _names(10), seed=0, bounds=(0.0, 1.0))
    assert estimate is not None
    assert estimate[:2] == (0.0, 0.0)
    assert estimate.high == pytest.approx(1 - 0.025**0.1)
    one = mean_interval([0.3], ["a"], seed=0, bounds=(0.0, 1.0))
    assert one == (0.3, 0.0, 1.0, 1)
    assert mean_interval([0.3], ["a"], seed=0) is None  # nothing bounds it
    assert mean_interval([1.0] * 10, _names(10), seed=0, bounds=(1.0, math.inf)) is None


def test_mean_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(3)
    hits, runs = 0, 400
    for run in range(runs):
        rates = np.repeat(rng.beta(1, 2, 30), 3)
        estimate = mean_interval(rng.binomial(4, rates) / 4, np.repeat(_names(30), 3).tolist(), seed=run)
        assert estimate is not None
        hits += estimate.low <= 1 / 3 <= estimate.high
    assert 0.90 <= hits / runs <= 0.98


def test_retention_is_a_ratio_of_means_paired_by_task() -> None:
    base = np.random.default_rng(4).random(50)
    exact = ratio_interval(base / 2, base, _names(50), seed=0)
    assert exact is not None
    assert exact[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert ratio_interval([1.0, 0.0], [0.0, 0.0], ["a", "b"], seed=0) is None
    # A task that was never solved before still counts above the line.
    gained = ratio_interval([1.0] * 20, [1.0] * 10 + [0.0] * 10, _names(20), seed=0)
    assert gained is not None
    assert gained.value == 2.0
    # With one known task a resample may hold none, so the ratio has no finite upper bound.
    assert ratio_interval([1.0] * 20, [1.0] + [0.0] * 19, _names(20), seed=0) is None


def test_seeds_interval_covers_the_mean_over_training_seeds() -> None:
    rng = np.random.default_rng(5)
    hits, runs = 0, 200
    for run in range(runs):
        by_seed = [np.clip(rng.normal(0.5, 0.2, 60) + rng.normal(0, 0.03), 0, 1) for _ in range(5)]
        estimate = seeds_interval(by_seed, [_names(60)] * 5, run)
        assert estimate is not None
        assert estimate.n == 5
        hits += estimate.low <= 0.5 <= estimate.high
    assert hits / runs >= 0.90


def test_one_seed_falls_back_to_its_tasks() -> None:
    values = np.random.default_rng(6).random(40)
    alone = seeds_interval([values], [_names(40)], 7)
    assert alone == mean_interval(values, _names(40), seed=7)
    assert alone == seeds_interval([values, [math.nan]], [_names(40), ["a"]], 7)
    assert seeds_interval([], [], 7) is None
