"""The exact law of refitting a distribution to its own draws, by enumeration and by simulation."""

import math

import numpy as np
import pytest

from experiments.reproduce.categorical import gini_simpson, law, refit, zipf


@pytest.mark.parametrize("accumulate", [False, True])
def test_law_of_refits_by_enumerating_every_draw(accumulate: bool) -> None:
    """Two types, three draws a generation, three generations: all 4^3 histories with their chances."""

    def expected(share: float, generation: int) -> float:
        if generation == 4:
            return float(gini_simpson(np.array([share, 1 - share])))
        total = 0.0
        for k in range(4):
            chance = math.comb(3, k) * share**k * (1 - share) ** (3 - k)
            after = (generation * share + k / 3) / (generation + 1) if accumulate else k / 3
            total += chance * expected(after, generation + 1)
        return total

    start = float(gini_simpson(np.array([0.3, 0.7])))
    assert law(start, 3, 3, accumulate=accumulate)[-1] == pytest.approx(expected(0.3, 1))


@pytest.mark.parametrize("accumulate", [False, True])
def test_law_of_refits_against_the_simulation(accumulate: bool) -> None:
    p = zipf(200)
    found = refit(p, 100, 5, 400, seed=9, accumulate=accumulate)[:, -1]
    predicted = law(float(gini_simpson(p)), 100, 5, accumulate=accumulate)[-1]
    assert abs(found.mean() - predicted) < 3 * found.std(ddof=1) / 20
