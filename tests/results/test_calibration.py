"""Calibration by hand, and against the definitions written another way."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.metrics.calibration import auroc, calibration_metrics, ece, modal_confidence
from plateau_bench.tasks.base import Outcome
from tests.results.attempts import attempt

pairs = st.lists(
    st.tuples(st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2, max_size=40
)


def test_confidence_is_the_share_of_the_most_frequent_class() -> None:
    confidence, right = modal_confidence([["a", "b", "a"], ["x", "y"], []], [[1, 0, 1], [0, 1], []])
    assert confidence[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert right[:2].tolist() == [1.0, 0.0]
    assert math.isnan(confidence[2])


def test_a_sure_and_wrong_model_is_overconfident() -> None:
    sure = [attempt("a", i, Outcome.FAILED) for i in range(4)]
    honest = [
        attempt("b", i, Outcome.PASSED if i < 2 else Outcome.FAILED, answer="xyzw"[i]) for i in range(4)
    ]
    values = calibration_metrics(sure + honest, seed=0)
    over, score = values["overconfidence"], values["brier"]
    assert over is not None
    assert score is not None
    assert over.value == pytest.approx(((1 - 0) + (0.25 - 1)) / 2)
    assert score.value == pytest.approx((1 + 0.75**2) / 2)
    assert values["ece/text"] is None  # nothing is known of the texts' probabilities


def test_a_texts_confidence_is_the_geometric_mean_over_its_tokens() -> None:
    attempts = []
    for i in range(20):
        one = attempt(f"t{i}", 0, Outcome.PASSED if i % 2 else Outcome.FAILED)
        logs = (math.log(0.9), math.log(0.4)) if i % 2 else (math.log(0.1),) * 5
        attempts.append(replace(one, trajectory=replace(one.trajectory, logprobs=logs)))
    values = calibration_metrics(attempts, seed=0)
    over, rank = values["overconfidence/text"], values["auroc/text"]
    assert over is not None
    assert rank is not None
    assert over.value == pytest.approx((0.6 + 0.1) / 2 - 0.5)  # 0.6 is the geometric mean of 0.9 and 0.4
    assert rank.value == 1.0


@given(pairs)
def test_auroc_is_the_share_of_ordered_pairs(rows: list[tuple[float, bool]]) -> None:
    p, y = [r[0] for r in rows], [float(r[1]) for r in rows]
    scores = [(a > b) + (a == b) / 2 for a, ya in rows if ya for b, yb in rows if not yb]
    if not scores:
        assert math.isnan(auroc(p, y))
        return
    assert auroc(p, y) == pytest.approx(np.mean(scores))


def test_fractional_rights_count_by_weight() -> None:
    whole = auroc([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1])
    assert auroc([0.2, 0.8, 0.8], [0.5, 1, 1]) == pytest.approx(1 * (1 + 1 + 0.25) / 2.5)
    assert whole == pytest.approx((1 + 1 + 0.5) / 3)


@given(pairs, st.randoms())
def test_calibration_does_not_depend_on_order(rows: list[tuple[float, bool]], rng: object) -> None:
    shuffled = rng.sample(rows, len(rows))  # type: ignore[attr-defined]
    first, second = (ece([r[0] for r in x], [float(r[1]) for r in x]) for x in (rows, shuffled))
    assert first == pytest.approx(second)
    assert abs(np.mean([p - right for p, right in rows])) <= first + 1e-12


def test_ece_of_bins_of_equal_mass() -> None:
    confidence, right = np.repeat([0.1, 0.5, 0.9], 10), np.repeat([0.0, 1.0, 1.0], 10)
    assert ece(confidence, right, bins=3) == pytest.approx((0.1 + 0.5 + 0.1) / 3)
    assert ece(confidence, right, bins=1) == pytest.approx(abs(2 / 3 - 0.5))
    rng = np.random.default_rng(0)
    drawn = rng.random(200_000)
    assert ece(drawn, rng.random(200_000) < drawn) < 0.01  # a calibrated model
    assert ece(drawn, rng.random(200_000) < drawn**2) == pytest.approx(1 / 6, abs=0.01)
