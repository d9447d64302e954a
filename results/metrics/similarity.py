"""Variety by likeness instead of classes: Vendi score and mean cosine distance of texts.

Texts are embedded offline by hashing their character n-grams, so nothing that is being trained judges
its own output. Both measures depend on the number of texts: compare equal numbers only.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plateau_bench.results.metrics.estimators import Floats

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BUCKETS = 1 << 18
SIZES = (3, 4, 5)
_PRIME = 1_000_003


def vendi(similarity: ArrayLike) -> Floats:
    """Effective number of different items, exp(-sum l log l) over eigenvalues l of K/n (2210.02410).

    K may be a stack, (..., n, n) -> (...); each is positive semi-definite with ones on the diagonal. 1 for
    equal items, n for items with nothing in common. Raises ValueError for a matrix that is clearly not
    positive semi-definite, as edit-distance similarities can be.
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    n = similarity.shape[-1]
    values = np.linalg.eigvalsh(similarity / n)
    if values.size and values.min() < -1e-6:
        raise ValueError(f"a similarity matrix is not positive semi-definite: eigenvalue {values.min():.3g}")
    values = np.maximum(values, 0.0)
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    return np.asarray(np.exp(-(values * logs).sum(axis=-1)))


def mean_distance(similarity: Floats) -> Floats:
    """2/(m(m-1)) sum over pairs of 1 - similarity, for each of a stack (stack, m, m); NaN for m < 2."""
    m = similarity.shape[-1]
    if m < 2:
        return np.full(similarity.shape[0], math.nan)
    total = similarity.sum(axis=(-2, -1)) - np.trace(similarity, axis1=-2, axis2=-1)
    return 1.0 - total / (m * (m - 1))


def gram_counts(texts: Sequence[str]) -> "csr_array":
    """Sparse (texts, BUCKETS): how often each hashed 3-, 4- and 5-gram of UTF-8 bytes occurs."""
    from scipy.sparse import csr_array

    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    data = np.frombuffer(b"".join(raw), dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    sizes = np.array([len(r) for r in raw], dtype=np.int64)
    owner, ends = np.repeat(np.arange(len(raw)), sizes), np.repeat(np.cumsum(sizes), sizes)
    codes: list[NDArray[np.int64]] = []
    rolling: NDArray[np.uint64] = np.zeros(data.size, dtype=np.uint64)
    for size in range(1, max(SIZES) + 1):
        width = max(data.size - size + 1, 0)
        rolling = rolling[:width] * np.uint64(_PRIME) + data[size - 1 :]  # wraps at 2^64 by design
        if size in SIZES:
            whole = np.flatnonzero(np.arange(width) + size <= ends[:width])  # no gram crosses texts
            mixed = (rolling[whole] ^ (rolling[whole] >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
            codes.append(owner[whole] * BUCKETS + (mixed >> np.uint64(33)).astype(np.int64) % BUCKETS)
    flat, counts = np.unique(np.concatenate(codes), return_counts=True)
    starts = np.searchsorted(flat, np.arange(len(raw) + 1) * BUCKETS)
    return csr_array((counts.astype(np.float64), flat % BUCKETS, starts), shape=(len(raw), BUCKETS))


def inverse_frequency(counts: "csr_array") -> Floats:
    """(BUCKETS,): smoothed idf log((1+N)/(1+texts with the gram)) + 1 of a fixed reference corpus."""
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.log((1 + counts.shape[0]) / (1 + texts)) + 1.0


def embed(counts: "csr_array", idf: Floats | None = None) -> "csr_array":
    """Rows of unit length: (1 + log count) * idf. An empty text has no direction and stays 0."""
    rows = counts.copy()
    rows.data = np.log(rows.data) + 1.0
    if idf is not None:
        rows.data *= idf[rows.indices]
    per_row = np.diff(rows.indptr)
    owner = np.repeat(np.arange(rows.shape[0]), per_row)
    length = np.sqrt(np.bincount(owner, rows.data**2, rows.shape[0]))
    rows.data /= length[owner]
    return rows


def cosine_blocks(groups: Sequence[Sequence[str]], idf: Floats | None = None) -> list[Floats]:
    """One (m, m) matrix of cosine similarities per group of m texts; time grows with the groups' sizes.

    Every group gets columns of its own, so one sparse product yields all blocks and nothing between them.
    """
    from scipy.sparse import csr_array

    if not any(groups):
        return [np.zeros((0, 0)) for _ in groups]
    rows = embed(gram_counts([text for group in groups for text in group]), idf)
    sizes = np.array([len(group) for group in groups])
    group_of = np.repeat(np.arange(len(groups)), sizes)
    wide = rows.indices.astype(np.int64) + np.repeat(group_of, np.diff(rows.indptr)) * BUCKETS
    _, columns = np.unique(wide, return_inverse=True)
    apart = csr_array((rows.data, columns.reshape(-1), rows.indptr))
    near = (apart @ apart.T).tocoo()
    first = np.cumsum(sizes) - sizes
    flat = np.zeros(int((sizes**2).sum()))
    offset = np.cumsum(sizes**2) - sizes**2
    g = group_of[near.row]
    flat[offset[g] + (near.row - first[g]) * sizes[g] + near.col - first[g]] = near.data
    return [flat[start : start + m * m].reshape(m, m) for start, m in zip(offset, sizes, strict=True)]
