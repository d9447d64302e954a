"""How success buys itself with entropy: R = -a exp(H) + b, and the ceiling that this foretells.

Cui et al. 2025 (arXiv 2505.22617) found this law within single reinforcement-learning runs; whether it
holds for rounds of fine-tuning is a question, so the fit comes with its error.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


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
    x, y = np.exp(np.asarray(entropies, dtype=np.float64)), np.asarray(successes, dtype=np.float64)
    if np.unique(x).size < 2:
        raise ValueError("the entropy law needs rounds of at least two different entropies")
    dev = x - x.mean()
    slope = float((dev * (y - y.mean())).sum() / (dev**2).sum())
    b = float(y.mean() - slope * x.mean())
    left, total = float(((y - b - slope * x) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    r2 = 1 - left / total if total > 0 else 1.0
    return EntropyLaw(a=-slope, b=b, r2=r2, ceiling=b + slope)
