"""Likeness of texts: worked examples, and the block product against the plain one."""

import math

import numpy as np
import pytest

from plateau_bench.results.metrics.similarity import (
    cosine_blocks,
    embed,
    gram_counts,
    inverse_frequency,
    mean_distance,
    vendi,
)


def test_vendi_of_the_authors_example_and_its_bounds() -> None:
    points = np.array([0, 0, 10, 10, 20, 20.0])
    near = np.exp(-np.abs(points[:, None] - points))
    assert vendi(near) == pytest.approx(2.9999, abs=1.1e-4)  # printed with four digits cut off
    assert vendi(np.ones((5, 5))) == pytest.approx(1.0)
    assert vendi(np.eye(5)) == pytest.approx(5.0)
    assert vendi([np.eye(5), np.ones((5, 5))]).tolist() == pytest.approx([5.0, 1.0])
    with pytest.raises(ValueError, match="not positive semi-definite"):
        vendi([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 1.0]])


def test_blocks_are_the_cosines_of_tf_idf_vectors() -> None:
    groups = [["def f(x): return x", "def g(y): return y", "print(1)"], [], ["a", "naïve naïve"]]
    idf = inverse_frequency(gram_counts(["def f(x): return x", "return 1", "na"]))
    blocks = cosine_blocks(groups, idf)
    assert [b.shape for b in blocks] == [(3, 3), (0, 0), (2, 2)]
    for group, block in zip(groups, blocks, strict=True):
        if group:
            rows = embed(gram_counts(group), idf)
            assert block == pytest.approx((rows @ rows.T).toarray())
    assert blocks[2][0].tolist() == [0.0, 0.0]  # too short for a single 3-gram: no direction
    assert blocks[0][0, 1] > blocks[0][0, 2]


def test_grams_never_cross_texts_and_count_repeats() -> None:
    together, alone = gram_counts(["abc", "abcabc"]).toarray(), gram_counts(["abc"]).toarray()
    assert (together[0] == alone[0]).all()
    assert alone.sum() == 1
    assert together[1].sum() == 4 + 3 + 2
    assert together[1].max() == 2  # "abc" twice


def test_mean_distance_by_hand() -> None:
    near = np.array([[[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]]])
    assert mean_distance(near).tolist() == pytest.approx([1 - 0.25])
    assert math.isnan(mean_distance(np.ones((1, 1, 1)))[0])
