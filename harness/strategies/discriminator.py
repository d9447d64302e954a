"""A classifier that tells this round's successes from earlier ones; what it finds new is kept."""

import ast
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from plateau_bench.harness.learning.ledger import written_tokens
from plateau_bench.harness.strategies.base import Material
from plateau_bench.harness.strategies.choices import Filtered, top_share
from plateau_bench.harness.strategies.verifiers import visible_tests
from plateau_bench.results.metrics.program_classes import MAX_PROGRAM_CHARS
from plateau_bench.results.records import Attempt

WIDTH = 2048
"""Hashed features."""
STEPS, RATE, DECAY = 60, 2.0, 1e-3
"""Gradient descent on the mean logistic loss, with weight decay."""


def least_seen(material: Material, pool: list[Attempt], params: Filtered) -> list[Attempt]:
    """The `share` of the pool with the lowest probability of coming from an earlier round.

    Logistic regression on hashed character 3- to 5-grams and syntax-tree edges, cross-fitted in two halves
    so that no program is scored by a classifier that has seen it. As many earlier successes as current
    ones are drawn. In round 0 there is nothing to tell apart and all are kept.
    """
    before = [attempt for attempt in material.earlier() if visible_tests(attempt, params)]
    if len(pool) < 2 or not before:
        return pool
    import numpy as np

    before = material.rng.sample(before, min(len(before), len(pool)))
    # An upper bound on the classifier's cost: as if the model itself read every program once.
    material.ledger.extra_tokens += written_tokens(pool) + written_tokens(before)
    now, then = features(pool), features(before)
    half = np.array(material.rng.sample([i % 2 for i in range(len(pool))], len(pool)))
    seen_before = np.zeros(len(pool))
    for side in (0, 1):
        weights = fit(np.concatenate([now[half != side], then]), len(then))
        seen_before[half == side] = with_one(now[half == side]) @ weights
    return top_share(pool, [-float(score) for score in seen_before], params.share)


def fit(rows: Any, positives: int) -> Any:
    """Weights (WIDTH + 1, the last is the constant); the last `positives` rows are 'earlier'.

    Both classes weigh the same, however many rows they have.
    """
    import numpy as np

    rows = with_one(rows)
    target = np.zeros(len(rows))
    target[len(rows) - positives :] = 1
    share = np.where(target == 1, 0.5 / positives, 0.5 / max(len(rows) - positives, 1))
    weights = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        error = 1 / (1 + np.exp(-(rows @ weights))) - target
        weights -= RATE * (rows.T @ (share * error) + DECAY * weights)
    return weights


def with_one(rows: Any) -> Any:
    """The rows, each with a 1 for the constant at its end."""
    import numpy as np

    return np.hstack([rows, np.ones((len(rows), 1))])


def features(attempts: Sequence[Attempt]) -> Any:
    """(attempts, WIDTH): which hashed features a program has, each row of length 1."""
    import numpy as np

    rows = np.zeros((len(attempts), WIDTH))
    for row, attempt in zip(rows, attempts, strict=True):
        for piece in pieces(attempt.trajectory.answer[:MAX_PROGRAM_CHARS]):
            row[zlib.crc32(piece.encode("utf-8", "surrogatepass")) % WIDTH] = 1
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, 1)


def pieces(program: str) -> Iterator[str]:
    """Character 3- to 5-grams, and parent > child pairs of the syntax tree where it parses."""
    for n in (3, 4, 5):
        yield from (program[i : i + n] for i in range(len(program) - n + 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            yield f"{type(node).__name__}>{type(child).__name__}"
