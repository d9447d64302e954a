"""What a round records, by hand: perplexities by frequency, and which names a round has."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from plateau_bench.results.metrics.calibration import calibration_metrics
from plateau_bench.results.metrics.diversity import variety
from plateau_bench.results.metrics.drift import Scores, Text
from plateau_bench.results.metrics.drift_values import DriftSamples, Reference, frequency_perplexities
from plateau_bench.results.metrics.metric import RoundData
from plateau_bench.results.metrics.pass_table import pass_table
from plateau_bench.results.metrics.registry import find
from plateau_bench.results.metrics.success import pass_metrics, retention_metrics
from tests.results.attempts import task_attempts
from tests.results.metrics_table import renewed

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_perplexity_by_frequency_by_hand() -> None:
    """Token 1 is head, 2 torso, 3 tail; the base finds the torso token likely and one tail token unlikely."""
    texts = (Text(token_ids=(0, 1, 2), start=1), Text(token_ids=(0, 3, 3, 2), start=1))
    now = np.log([2.0, 4.0, 8.0, 32.0, 16.0])
    base = -np.log([0.5, 0.5, 0.001, 0.5, 0.5])
    nothing = np.zeros((2, 2))
    human = Scores(
        tokens=np.array([2, 3]),
        rare_tokens=np.array([0, 2]),
        nll=nothing,
        rare_nll=nothing,
        entropy=nothing,
        kl=nothing,
        token_nll=np.stack([base, now]),
    )
    reference = Reference(
        human=texts, bank=(), bank_clusters=(), rare=frozenset({3}), head=frozenset({1}), token_budget=0
    )
    # Head and tail lie in one text each, too few for an interval.
    values = frequency_perplexities(human, reference, seed=0)
    torso = values["ppl/torso"]
    assert torso is not None
    assert torso.value == pytest.approx(math.sqrt(4 * 16))
    assert values["ppl/head"] is None
    twice = Reference(
        human=texts * 8, bank=(), bank_clusters=(), rare=reference.rare, head=reference.head, token_budget=0
    )
    scores = Scores(
        tokens=np.tile([2, 3], 8),
        rare_tokens=np.tile([0, 2], 8),
        nll=nothing,
        rare_nll=nothing,
        entropy=nothing,
        kl=nothing,
        token_nll=np.tile(human.token_nll, 8) if human.token_nll is not None else None,
    )
    many = {name: e.value for name, e in frequency_perplexities(scores, twice, seed=0).items() if e}
    assert many == pytest.approx({"ppl/head": 2.0, "ppl/torso": 8.0, "context_rare_ppl": 8.0})


def test_every_value_of_a_round_is_explained() -> None:
    """Each value belongs to a metric, and docs/metrics.md has the metrics' tables as they are today."""
    attempts = [a for i in range(3) for a in task_attempts(f"t{i}", "11110000")]
    later = [a for i in range(3) for a in task_attempts(f"t{i}", "11110000", round=1)]
    table, base = pass_table(later), pass_table(attempts)
    texts = (Text(token_ids=tuple(range(60)), start=0),) * 2
    data = RoundData(
        attempts=later,
        base_attempts=attempts,
        seed=0,
        samples=DriftSamples(texts=texts, clusters=("x", "y")),
        reference=Reference(human=(), bank=(), bank_clusters=(), rare=frozenset({3}), token_budget=60),
        models={"now": SimpleNamespace(config=SimpleNamespace(vocab_size=99))},  # type: ignore[dict-item]
    )
    names = {
        *pass_metrics(table, seed=0)[0],
        *retention_metrics(table, base, seed=0),
        *variety(data).values,
        *calibration_metrics(later, seed=0),
    }
    unexplained = [name for name in names if find(name) is None]
    assert unexplained == []
    page = DOCS.read_text("utf-8")
    assert renewed(page) == page, "renew it with: python -m tests.results.metrics_table docs/metrics.md"
