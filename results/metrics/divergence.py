"""Distances between distributions: exact, from samples, and from counts. Nats.

Sample estimators are unbiased only for samples drawn from p itself: at temperature 1, without top-p or
top-k, and scored by the same engine in the same precision under both models.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from plateau_bench.results.metrics.estimators import Floats


def kl(log_p: ArrayLike, log_q: ArrayLike) -> Floats:
    """KL(p||q) = sum_v p (log p - log q) over the last axis, which is the whole vocabulary."""
    p, q = np.asarray(log_p, dtype=np.float64), np.asarray(log_q, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
    return np.asarray(terms.sum(axis=-1))


def entropy(log_p: ArrayLike) -> Floats:
    """-sum_v p log p over the last axis."""
    return np.asarray(special.entr(np.exp(log_p)).sum(axis=-1))


def jsd(log_p: ArrayLike, log_q: ArrayLike) -> Floats:
    """Jensen-Shannon divergence, (KL(p||m) + KL(q||m)) / 2 with m = (p+q)/2; symmetric, 0..log 2."""
    p, q = np.asarray(log_p, dtype=np.float64), np.asarray(log_q, dtype=np.float64)
    middle = np.logaddexp(p, q) - math.log(2)
    return (kl(p, middle) + kl(q, middle)) / 2


def k1(log_p: ArrayLike, log_q: ArrayLike) -> float:
    """Mean of log p(x) - log q(x) over x drawn from p: unbiased for KL(p||q), can be negative."""
    return float((np.asarray(log_p, dtype=np.float64) - np.asarray(log_q)).mean())


def k2(log_p: ArrayLike, log_q: ArrayLike) -> float:
    """Mean of (log q - log p)^2 / 2 over x drawn from p: biased, low variance; for display only."""
    return float(((np.asarray(log_q, dtype=np.float64) - np.asarray(log_p)) ** 2).mean() / 2)


def k3(log_p: ArrayLike, log_q: ArrayLike) -> float:
    """Mean of exp(d) - 1 - d, d = log q(x) - log p(x), over x drawn from p: unbiased and never negative.

    Per token, never over whole texts: exp would overflow (Schulman 2020, "Approximating KL divergence").
    """
    d = np.asarray(log_q, dtype=np.float64) - np.asarray(log_p)
    return float((np.expm1(d) - d).mean())


def sampled_jsd(p_of_p: ArrayLike, q_of_p: ArrayLike, p_of_q: ArrayLike, q_of_q: ArrayLike) -> float:
    """`jsd` from log-probabilities of samples of p (first two) and of q (last two); unbiased.

    Each term log p(x)/m(x) is at most log 2, so nothing can blow up.
    """
    first, second = (np.asarray(x, dtype=np.float64) for x in (p_of_p, q_of_p))
    third, fourth = (np.asarray(x, dtype=np.float64) for x in (p_of_q, q_of_q))
    over_p = first - np.logaddexp(first, second) + math.log(2)
    over_q = fourth - np.logaddexp(third, fourth) + math.log(2)
    return float((over_p.mean() + over_q.mean()) / 2)


def excess_bits(nll_now: ArrayLike, nll_base: ArrayLike) -> Floats:
    """(nll now - nll base) / log 2 of human texts: over their tokens, the excess cross-entropy.

    KL(human||now) - KL(human||base): the entropy of the authors, unknown, cancels. 0 at round 0.
    """
    return (np.asarray(nll_now, dtype=np.float64) - np.asarray(nll_base)) / math.log(2)


def class_kl(p: Mapping[Hashable, int], q: Mapping[Hashable, int], smoothing: float = 0.5) -> float:
    """KL between two histograms of classes, add-`smoothing` over the union of their classes.

    A proxy where a model gives text only; biased upwards in small samples: see `class_kl_test`.
    """
    classes = sorted(set(p) | set(q), key=repr)
    return float(stats.entropy(*([counts.get(c, 0) + smoothing for c in classes] for counts in (p, q))))


def class_kl_test(
    p: Sequence[Hashable], q: Sequence[Hashable], *, draws: int = 999, seed: int = 0
) -> tuple[float, float]:
    """(`class_kl` minus its mean under random relabelling, p-value): the bias of small samples removed."""
    codes = {c: i for i, c in enumerate(dict.fromkeys([*p, *q]))}
    pooled = np.array([codes[c] for c in (*p, *q)])

    def value(order: np.ndarray) -> float:
        sides = np.split(pooled[order], [len(p)])
        return float(stats.entropy(*(np.bincount(side, minlength=len(codes)) + 0.5 for side in sides)))

    rng = np.random.default_rng(seed)
    observed = value(np.arange(pooled.size))
    null = np.array([value(rng.permutation(pooled.size)) for _ in range(draws)])
    return observed - float(null.mean()), float((1 + (null >= observed - 1e-12).sum()) / (1 + draws))
