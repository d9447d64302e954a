"""Two rounds, and two samples of classes, against each other."""

import math

import numpy as np
import pytest
from scipy.stats import entropy

from experiments.measures.class_kl import class_kl_test
from experiments.measures.crossover import crossover


def test_crossover_of_a_model_that_gained_at_one_and_lost_at_many() -> None:
    """The base solves every task a third of the time, the later round two thirds of the tasks always."""
    n = np.full(60, 12)
    now = np.where(np.arange(60) < 40, 12, 0)
    found = crossover((n, np.full(60, 4)), (n, now), [f"t{i}" for i in range(60)])
    curve = [2 / 3 - (1 - math.comb(8, k) / math.comb(12, k)) for k in range(1, 13)]
    assert found.differences == pytest.approx(curve)
    assert found.k == next(k for k, d in enumerate(curve, 1) if d < 0) == 3
    assert found.confirmed == 4
    assert found.share == 1.0
    same = crossover((n, now), (n, now), [f"t{i}" for i in range(60)])
    assert (same.k, same.confirmed, same.share) == (None, None, 0.0)


def test_class_histograms_and_their_null() -> None:
    # Three items of which one is q: "b" in one relabelling of three, as observed, and "a" in the others.
    seen, other = entropy([2.5, 0.5], [0.5, 1.5]), entropy([1.5, 1.5], [1.5, 0.5])
    value, p = class_kl_test("aa", "b", draws=4000)
    assert value == pytest.approx(seen - (seen + 2 * other) / 3, abs=0.02)
    assert p == pytest.approx(1 / 3, abs=0.03)
    rng = np.random.default_rng(5)
    same = [class_kl_test(rng.integers(20, size=60), rng.integers(20, size=60), draws=40) for _ in range(25)]
    assert abs(np.mean([value for value, _ in same])) < 0.03  # the raw value is about 0.3
    assert np.mean([p <= 0.05 for _, p in same]) < 0.2
    moved = class_kl_test(rng.integers(20, size=60), rng.integers(5, size=60), draws=40)
    assert moved[0] > 0.3
    assert moved[1] < 0.05
