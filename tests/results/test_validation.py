"""The detector's validation: simulated truths, exact figures on small cases, and the required error rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.detector.other_rules import (
    bonferroni,
    left_out_seed,
    mann_kendall,
    naive,
    pooled,
    rivals,
    segmented,
)
from experiments.detector.page import terminal_table, write_page
from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.claims.significance import wilson
from plateau_bench.results.validation.error_rates import (
    CLAIMS,
    Cell,
    Design,
    auc,
    checks,
    grid,
    rankings,
    roc,
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
        assert told[name] == {"rise", "decline", "naive", "plateau"}


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_solves_its_equation(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6)


def test_area_is_the_chance_of_a_smaller_p_value() -> None:
    fallen, other = np.array([0.01, 0.2]), np.array([0.2, 0.5])
    assert auc(fallen, other) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    points = roc(fallen, other)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False))
    assert area == pytest.approx(auc(fallen, other))


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
    designs = grid(["flat", "fall-10"], [40], [4], [1, 3], [0.1], [1])
    seen: list[tuple[int, int]] = []
    one = try_all(designs, 4, progress=lambda done, total: seen.append((done, total)))
    two = try_all(designs, 4, processes=2)
    assert to_plain(one) == to_plain(two)
    assert [cell.p_fall.tolist() for cell in one] == [cell.p_fall.tolist() for cell in two]
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
    assert (cell.p_fall == 1).all()


def made(curve: str, reps: int, **shares: float) -> Cell:
    claimed = {name: np.arange(reps) < reps * shares.get(name, 0.0) for name in CLAIMS}
    p = np.where(claimed["decline"], 0.01, 0.5)
    return Cell(design=Design(curve=curve), claimed=claimed, p_fall=p, p_naive=p)


def test_criteria_are_met_or_missed_by_the_figures() -> None:
    good = [made("flat", 1000, decline=0.04), made("fall-10", 1000, decline=0.9)]
    assert [check.met for check in checks(good)] == [True, True, True]
    bad = [
        made("flat", 1000, rise=0.09),
        made("rise", 1000, decline=0.07),
        made("fall-10", 1000, decline=0.7),
    ]
    assert [check.met for check in checks(bad)] == [True, False, False, False]
    assert checks([try_cell(Design(curve="flat", tasks=30, seeds=1), 1)]) == []


def test_only_cells_of_one_design_are_ranked() -> None:
    cells = [made("fall-10", 10, decline=1.0), made("flat", 10)]
    assert [(r.positive.curve, r.negative.curve, r.ours) for r in rankings(cells)] == [
        ("fall-10", "flat", 1.0)
    ]
    elsewhere = try_cell(Design(curve="flat", tasks=30, seeds=1), 1)
    assert rankings([cells[0], elsewhere]) == []


def test_page_shows_every_cell_and_needs_nothing_from_outside(tmp_path) -> None:
    cells = [made("flat", 50, decline=0.04), made("fall-10", 50, decline=0.9, naive=1.0)]
    page = write_page(cells, tmp_path).read_text()
    assert "<svg" in page
    assert "90.0" in page
    assert "http" not in page
    assert (tmp_path / "detector.json").exists()
    assert terminal_table(cells).row_count == 2


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        grid(["flat"], [0], [1], [1], [0.0], [1])


def line(means: list[float], seeds: int = 3, tasks: int = 60) -> list[Curve]:
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(tasks)))
    return [Curve(values=rng.normal(means, 0.05, (tasks, len(means))), clusters=names) for _ in range(seeds)]


def test_rival_rules_find_a_clear_fall_and_no_fall_in_a_clear_rise() -> None:
    falling = line([0.0, 0.3, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    rising = line([0.1 * t for t in range(9)])
    for seeds in (1, 3):
        for name, rule in rivals(seeds).items():
            assert rule(falling[:seeds], 0) < 0.05, name
            assert rule(rising[:seeds], 0) > 0.5, name
    assert naive(falling) < 1e-6
    assert naive(rising) > 0.4


def test_rival_rules_on_hand_made_numbers() -> None:
    one = [Curve(values=np.array([[0.0, 1.0, 0.5], [0.0, 0.8, 0.5]]), clusters=("a", "b"))]
    # Differences .5 and .3: mean .4, standard error .1, so z = 4.
    assert naive(one) == pytest.approx(3.167e-5, rel=1e-3)
    assert bonferroni(one) == pytest.approx(2 * 3.167e-5, rel=1e-3)
    assert len(pooled(one * 3).values) == 6
    assert len(set(pooled(one * 3).clusters)) == 6
    means = [Curve(values=np.array([[0.0, x, 0.1, 0.1]]), clusters=("a",)) for x in (0.3, 0.4, 0.5)]
    # Falls .2, .3, .4: mean .3, standard error .1/sqrt(3), t = 5.196 on 2 degrees.
    assert left_out_seed(means) == pytest.approx(0.01755, rel=1e-3)
    straight = [Curve(values=np.array([[5.0, 4.0, 3.0, 2.0, 1.0]]), clusters=("a",))]
    # Kendall's S = -10 of 10 pairs, sd sqrt(50/3): z = -9/4.082.
    assert mann_kendall(straight) == pytest.approx(0.01374, rel=1e-3)
    assert mann_kendall([Curve(values=np.array([[0.0, 1.0, 2.0]]), clusters=("a",))]) == 1.0
    assert segmented(straight) < 1e-6


@pytest.mark.slow
def test_required_error_rates_at_the_default_design() -> None:
    """At most 5 % false claims on flat, rising and plateau curves, and 80 % power for ten points."""
    cells = try_all(grid(["flat", "rise", "rise-plateau", "fall-10"], [150], [8], [5], [0.1], [1]), 200)
    found = checks(cells)
    assert len(found) == 5
    assert [check for check in found if not check.met] == []
    against = [r for r in rankings(cells) if r.negative.curve == "rise-plateau"]
    assert all(r.ours > 0.95 for r in against)
