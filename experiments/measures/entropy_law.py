"""How success buys itself with entropy: R = -a exp(H) + b, and the ceiling that this foretells.

Cui et al. 2025 (arXiv 2505.22617) found this law within single reinforcement-learning runs; whether it
holds for rounds of fine-tuning is a question, so the fit comes with its error.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import linregress


class EntropyLaw(NamedTuple):
    """A fit of success R to token entropy H (nats)."""

    a: float
    b: float
    r2: float
    """Share of the variance of R that the fit explains; 1 for two points, however they lie."""
    ceiling: float
    """R at H = 0, where nothing is left to explore: b - a."""

    def at(self, entropy: float) -> float:
        """R that the law gives at an entropy."""
        return self.b - self.a * math.exp(entropy)


def fit_entropy_law(entropies: Sequence[float], successes: Sequence[float]) -> EntropyLaw:
    """Least squares for R = -a exp(H) + b, which is linear in exp(H).

    Raises ValueError for fewer than two different entropies, or sequences of different length.
    """
    if len(entropies) != len(successes):
        raise ValueError(f"{len(entropies)} entropies but {len(successes)} successes")
    x = np.exp(entropies)
    if np.unique(x).size < 2:
        raise ValueError("the entropy law needs rounds of at least two different entropies")
    fit = linregress(x, successes)
    r2 = float(fit.rvalue) ** 2 if len(set(successes)) > 1 else 1.0
    return EntropyLaw(
        a=-float(fit.slope), b=float(fit.intercept), r2=r2, ceiling=float(fit.intercept + fit.slope)
    )
