"""The detector's validation: simulated truths, exact figures on small cases, and the required error rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.claims.significance import wilson
from plateau_bench.results.validation.error_rates import (
    CLAIMS,
    Cell,
    Design,
    criteria,
    to_plain,
    truth,
    try_all,
    try_cell,
)
from plateau_bench.results.validation.simulate import CURVES, shape, simulate, true_rates


def test_a_named_fall_has_its_size() -> None:
    for points in (2, 5.2, 10):
        rates = true_rates(shape(f"fall-{points}", 10))
        assert max(rates) - np.mean(rates[-2:]) == pytest.approx(points / 100, abs=1e-6)
        assert int(np.argmax(rates)) == 3


@pytest.mark.parametrize("name", ["fall-", "fall-x", "fall-99", "jump", "rise->plateau"])
def test_an_unknown_curve_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="known: flat, rise"):
        shape(name, 10)


def test_what_is_true_of_each_curve() -> None:
    told = {name: {claim for claim, true in truth(name).items() if true} for name in CURVES}
    assert told["flat"] == told["dip-recover"] == {"plateau"}
    assert told["rise"] == {"rise"}
    assert told["rise-plateau"] == {"rise", "plateau"}
    for name in ("fall-2", "fall-5", "fall-10", "late-cliff"):
        assert told[name] == {"rise", "decline", "plateau"}


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_solves_its_equation(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6)


def test_clusters_share_their_luck() -> None:
    rng = np.random.default_rng(0)
    sizes = {"tasks": 400, "samples": 50, "seeds": 1, "sd_round": 0.0}
    (alone,) = simulate([0.0] * 3, rng=rng, **sizes)
    (grouped,) = simulate([0.0] * 3, rng=rng, cluster_size=5, **sizes)
    assert len(set(alone.clusters)) == 400
    assert len(set(grouped.clusters)) == 80

    def within(values: np.ndarray) -> float:
        groups = values[:, 0].reshape(80, 5)
        return float(groups.mean(axis=1).var() / values[:, 0].var())

    assert within(alone.values) < 0.3
    assert within(grouped.values) > 0.45


def test_figures_do_not_depend_on_the_number_of_processes() -> None:
    designs = [
        Design(curve=curve, tasks=40, samples=4, seeds=seeds, sd_round=0.1)
        for curve in ("flat", "fall-10")
        for seeds in (1, 3)
    ]
    seen: list[tuple[int, int]] = []
    one = try_all(designs, 4, progress=lambda done, total: seen.append((done, total)))
    two = try_all(designs, 4, processes=2)
    assert to_plain(one) == to_plain(two)
    assert [cell.p_decline["PDT-1"].tolist() for cell in one] == [
        cell.p_decline["PDT-1"].tolist() for cell in two
    ]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_json_has_a_row_per_cell_and_claim_and_names_clusters_only_where_there_are_some() -> None:
    plain = to_plain([try_cell(Design(curve="flat", tasks=40, samples=4, seeds=1), 3)])
    keys = {"curve", "tasks", "samples", "seeds", "sd_round", "claim", "rate", "low", "high"}
    assert list(plain) == ["cells"]
    assert [row["claim"] for row in plain["cells"]] == list(CLAIMS)
    assert all(set(row) == keys for row in plain["cells"])
    grouped = to_plain([try_cell(Design(curve="flat", tasks=40, seeds=1, cluster_size=5), 2)])
    assert {row["cluster_size"] for row in grouped["cells"]} == {5}


def test_a_refused_label_claims_nothing_and_ranks_last() -> None:
    cell = try_cell(Design(curve="fall-10", seeds=3, sd_round=0.8), 4)
    assert cell.rate("decline") == cell.rate("rise") == 0
    assert (cell.p_decline["PDT-1"] == 1).all()


def made(curve: str, reps: int, **shares: float) -> Cell:
    claimed = {name: np.arange(reps) < reps * shares.get(name, 0.0) for name in CLAIMS}
    return Cell(design=Design(curve=curve), claimed=claimed)


def test_criteria_are_met_or_missed_by_the_figures() -> None:
    good = [made("flat", 1000, decline=0.04), made("fall-10", 1000, decline=0.9)]
    assert [check.met for check in criteria(good)] == [True, True, True]
    bad = [
        made("flat", 1000, rise=0.09),
        made("rise", 1000, decline=0.07),
        made("fall-10", 1000, decline=0.7),
    ]
    assert [check.met for check in criteria(bad)] == [True, False, False, False]
    assert criteria([try_cell(Design(curve="flat", tasks=30, seeds=1), 1)]) == []


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        Design(curve="flat", tasks=0)


@pytest.mark.slow
def test_required_error_rates_at_the_default_design() -> None:
    """At most 5 % false claims on flat, rising and plateau curves, and 80 % power for ten points."""
    curves = ["flat", "rise", "rise-plateau", "fall-10"]
    cells = try_all([Design(curve=curve, sd_round=0.1) for curve in curves], 200)
    found = criteria(cells)
    assert len(found) == 5
    assert [check for check in found if not check.met] == []
