"""The detector's trial at length: ranking, rival rules, the page; the rates are in test_validation.py."""

import numpy as np
import pytest

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
from experiments.detector.rates import auc, grid, rankings, roc, try_all
from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.validation.error_rates import CLAIMS, Cell, Design, to_plain, truth, try_cell


def made(curve: str, reps: int, **shares: float) -> Cell:
    claimed = {name: np.arange(reps) < reps * shares.get(name, 0.0) for name in (*CLAIMS, "naive")}
    p = np.where(claimed["decline"], 0.01, 0.5)
    return Cell(design=Design(curve=curve), claimed=claimed, p_decline={"PDT-1": p, "naive": p})


def test_area_is_the_chance_of_a_smaller_p_value() -> None:
    fallen, other = np.array([0.01, 0.2]), np.array([0.2, 0.5])
    assert auc(fallen, other) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    points = roc(fallen, other)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False))
    assert area == pytest.approx(auc(fallen, other))


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


def test_rules_do_not_depend_on_the_number_of_processes() -> None:
    designs = grid(["flat", "fall-10"], [40], [4], [1, 3], [0.1], [1])
    one = try_all(designs, 3, with_rivals=True)
    two = try_all(designs, 3, with_rivals=True, processes=2)
    assert to_plain(one) == to_plain(two)
    assert [cell.p_decline["naive"].tolist() for cell in one] == [
        cell.p_decline["naive"].tolist() for cell in two
    ]


def test_a_rival_claims_a_decline() -> None:
    (cell,) = try_all([Design(curve="fall-10", tasks=30, seeds=1)], 2)
    assert truth("fall-10")["decline"]
    assert not cell.is_false("naive")
    assert set(cell.claimed) == {*CLAIMS, "naive"}


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        grid(["flat"], [0], [1], [1], [0.0], [1])


@pytest.mark.slow
def test_p_values_tell_a_fall_from_a_plateau_at_the_default_design() -> None:
    cells = try_all(grid(["flat", "rise", "rise-plateau", "fall-10"], [150], [8], [5], [0.1], [1]), 200)
    against = [r for r in rankings(cells) if r.negative.curve == "rise-plateau"]
    assert all(r.ours > 0.95 for r in against)
