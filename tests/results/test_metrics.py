"""Pass rates from attempts: what counts, what stays in the denominator, and what is kept of old abilities."""

import random

import numpy as np
import pytest

from plateau_bench.agents.base import Ending
from plateau_bench.results.metrics.pass_table import PassTable, pass_table
from plateau_bench.results.metrics.success import pass_metrics, retention, retention_metrics
from plateau_bench.results.records import Attempt, Estimate
from plateau_bench.tasks.base import Outcome
from tests.results.attempts import attempt, task_attempts


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.value


def test_broken_and_tampered_attempts_stay_in_the_denominator() -> None:
    values, columns = pass_metrics(
        pass_table(task_attempts("a", "1x!0") + task_attempts("b", "1111")), seed=0
    )
    assert columns["pass@1"].tolist() == [0.25, 1.0]
    assert value(values["pass@1"]) == 0.625
    assert value(values["infra"]) == 0.125
    assert value(values["hack_rate"]) == 0.125
    assert value(values["pass^k"]) == 0.5


def test_order_of_attempts_does_not_matter_and_tasks_are_sorted() -> None:
    attempts = task_attempts("b", "1010") + task_attempts("a", "0001")
    shuffled = random.Random(0).sample(attempts, len(attempts))
    first, second = pass_table(attempts), pass_table(shuffled)
    assert first.task_ids == second.task_ids == ("a", "b")
    assert first.half_c.tolist() == second.half_c.tolist() == [[0, 1], [2, 0]]
    assert pass_metrics(first, seed=1)[0] == pass_metrics(second, seed=1)[0]


def test_ks_default_to_what_the_samples_allow_and_more_is_refused() -> None:
    table = pass_table(task_attempts("a", "1000") + task_attempts("b", "00000000"))
    values, _ = pass_metrics(table, seed=0)
    assert "pass@1" in values
    assert "pass@8" not in values
    with pytest.raises(ValueError, match="k = 8 needs at least 8 samples"):
        pass_metrics(table, ks=(1, 8), seed=0)


def test_strata_are_separate_and_absent_ones_have_no_value() -> None:
    table = pass_table(task_attempts("a", "11") + task_attempts("b", "00", stratum="tail"))
    values, _ = pass_metrics(table, seed=0)
    assert value(values["pass@1/head"]) == 1.0
    assert value(values["pass@1/tail"]) == 0.0
    assert "pass@1/torso" not in values


def test_endings_tokens_and_verifier() -> None:
    attempts = [
        attempt("a", 0, Outcome.FAILED, verified=True, ending=Ending.TOKEN_LIMIT, tokens=64),
        attempt("a", 1, Outcome.PASSED, tokens=6),
        attempt("b", 0, Outcome.FAILED, tokens=10),
        attempt("b", 1, Outcome.PASSED, verified=True, tokens=20),
    ]
    values, _ = pass_metrics(pass_table(attempts), seed=0)
    assert value(values["verified_precision"]) == pytest.approx(2 / 3)
    assert value(values["completion_tokens"]) == 25
    assert value(values["truncated"]) == value(values["ending/token_limit"]) == 0.25
    assert value(values["ending/submitted"]) == 0.75


def test_precision_of_a_verifier_that_accepted_nothing_is_unknown() -> None:
    assert pass_metrics(pass_table(task_attempts("a", "00")), seed=0)[0]["verified_precision"] is None


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        ([], "no attempts"),
        (task_attempts("a", "1") + task_attempts("a", "1"), "task a: some sample is recorded twice"),
        (task_attempts("a", "1") + task_attempts("b", "1", round=1), "one arm, seed, round and split"),
    ],
)
def test_tables_that_make_no_sense_are_refused(attempts: list[Attempt], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_table(attempts)


def test_retention_per_stratum() -> None:
    def table(head: str, tail: str, round: int) -> PassTable:
        heads = [a for i in range(10) for a in task_attempts(f"h{i}", head, round=round)]
        tails = [a for i in range(10) for a in task_attempts(f"t{i}", tail, stratum="tail", round=round)]
        return pass_table(heads + tails)

    base = table("1111", "1100", 0)
    values = retention_metrics(table("1111", "1000", 3), base, seed=0)
    assert value(values["retention_head"]) == 1.0
    assert value(values["retention_tail"]) == 0.5
    assert value(values["keep_tail"]) == 0.25
    assert value(values["retention"]) == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="rounds 0 and 0 were not measured on the same tasks"):
        retention(base, pass_table(task_attempts("a", "1")), seed=0)


def test_luck_at_round_0_is_not_read_as_forgetting() -> None:
    """A model that never changes keeps what it knew, although single tasks look lost and won."""
    kept_less, looks_lost = [], []
    for draw in range(8):
        rng = np.random.default_rng(draw)
        rates = rng.beta(0.5, 1.0, 300)
        passes = ["".join("01"[int(u < p)] for u in rng.random(8)) for p in rates]
        base = pass_table([a for i, p in enumerate(passes) for a in task_attempts(f"{i:03}", p[:4])])
        later = pass_table(
            [a for i, p in enumerate(passes) for a in task_attempts(f"{i:03}", p[4:], round=1)]
        )
        at_start, after = retention(base, base, seed=0), retention(later, base, seed=0)
        assert value(at_start["retention"]) == 1.0
        kept_less.append(value(at_start["keep"]) - value(after["keep"]))
        chosen = base.c > 0
        looks_lost.append((base.c / base.n)[chosen].mean() - (later.c / later.n)[chosen].mean())
    assert abs(np.mean(kept_less)) < 0.02
    assert np.mean(looks_lost) > 0.04  # choosing and scoring on the same samples
