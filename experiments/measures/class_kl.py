"""How far two samples of classes lie apart, for where only text is known; in no report yet."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import entropy


def class_kl_test(
    p: Sequence[Hashable], q: Sequence[Hashable], *, draws: int = 999, seed: int = 0
) -> tuple[float, float]:
    """How far two samples of classes lie apart: (KL divergence without its bias, p-value).

    The divergence in nats is that of the two histograms with 1/2 added to every class, minus its mean under
    random relabelling of the items, which is what small samples of one distribution show. The p-value is
    the share of relabellings, the observed labels included, with as large a divergence.
    """
    codes = {c: i for i, c in enumerate(dict.fromkeys([*p, *q]))}
    pooled = np.array([codes[c] for c in (*p, *q)])

    def value(order: np.ndarray) -> float:
        sides = np.split(pooled[order], [len(p)])
        return float(entropy(*(np.bincount(side, minlength=len(codes)) + 0.5 for side in sides)))

    rng = np.random.default_rng(seed)
    observed = value(np.arange(pooled.size))
    null = np.array([value(rng.permutation(pooled.size)) for _ in range(draws)])
    return observed - float(null.mean()), float((1 + (null >= observed - 1e-12).sum()) / (1 + draws))
