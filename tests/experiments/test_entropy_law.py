"""The entropy law against numpy's own straight line."""

import numpy as np
import pytest

from experiments.measures.entropy_law import fit_entropy_law


def test_entropy_law_is_a_straight_line_in_exp_entropy() -> None:
    rng = np.random.default_rng(0)
    h = np.linspace(2.0, 0.2, 8)
    r = 0.9 - 0.05 * np.exp(h) + rng.normal(0, 0.01, 8)
    slope, intercept = np.polyfit(np.exp(h), r, 1)
    found = fit_entropy_law(h.tolist(), r.tolist())
    assert (found.a, found.b) == pytest.approx((-slope, intercept))
    assert found.r2 == pytest.approx(np.corrcoef(np.exp(h), r)[0, 1] ** 2)
    assert found.ceiling == pytest.approx(0.85, abs=0.03) == found.at(0.0)
    with pytest.raises(ValueError, match="two different entropies"):
        fit_entropy_law([1.0, 1.0], [0.1, 0.2])
