"""Delays: when an event happens, what is paired with what, and how often equal arms are told apart."""

import math
from dataclasses import replace
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.claims.delay import (
    EVENTS,
    Delay,
    delays,
    falling_fit,
    level_reached,
    success_lost,
    variety_lost,
)
from plateau_bench.results.records import RoundRecord
from plateau_bench.results.report.content import build_report
from plateau_bench.results.report.figures import draw_delays, standalone
from plateau_bench.results.report.remedies import delay_text, remedies, remedies_table
from tests.results.planted import record, run

ROUNDS = 11


def arm(
    name: str,
    falls_at: float,
    *,
    seeds: int = 5,
    tasks: int = 80,
    draw: int = 0,
    jitter: int = 1,
    shared: bool = False,
    **training: object,
) -> dict[int, tuple[RoundRecord, ...]]:
    """pass@1 and Hill-1 fall for good at `falls_at`, give or take `jitter` rounds per seed."""
    made = {}
    for seed in range(seeds):
        rng = np.random.default_rng([draw, seed, *map(ord, name)])
        difficulty = np.random.default_rng([draw, seed]).normal(0, 1.5, tasks)
        at = falls_at + int(rng.integers(-jitter, jitter + 1))
        made[seed] = tuple(
            record(
                name,
                seed,
                t,
                1 / (1 + np.exp(-(difficulty - 1.5 * (t >= at)))),
                8,
                {},
                rng,
                hill1=1.6 if t >= at else 2.6,
                training=training,
                tasks="t" if shared else f"s{seed}-",
            )
            for t in range(ROUNDS)
        )
    return made


def test_events_happen_where_the_fitted_course_crosses() -> None:
    assert variety_lost(np.array([2.0, 1.5, 2.0, 1.5, 1.5])) == 3, "what comes back does not count"
    assert variety_lost(np.array([2.0, 2.0, 1.7, 1.9, 1.5])) == 4, "the last round does"
    assert variety_lost(np.array([2.0] * 5)) == 5 == EVENTS[0].never(4)
    assert success_lost(np.array([0.5, 0.485, 0.47, 0.4])) == 2
    assert level_reached(np.array([0.1, 0.3, 0.4, 0.41, 0.41, 0.41])) == 2
    assert level_reached(np.arange(6) / 10) == 3 == EVENTS[2].never(5)
    both = variety_lost(np.array([[2.0, 1.5, 1.5], [2.0, 2.0, 2.0]]))
    assert both.tolist() == [1, 3]


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=12))
def test_the_falling_fit_falls_keeps_the_mean_and_cannot_be_bettered(values: list[float]) -> None:
    x = np.array(values)
    fit = falling_fit(x)
    assert (np.diff(fit) <= 1e-12).all()
    assert fit.mean() == pytest.approx(x.mean(), abs=1e-9)
    # The projection onto a cone: the residual is orthogonal to the fit, and no falling step improves it.
    assert float((x - fit) @ fit) == pytest.approx(0.0, abs=1e-9)
    assert (np.cumsum(x - fit) <= 1e-9).all()


def test_a_planted_delay_is_found_with_its_size() -> None:
    falls = {"replace": 4, "late": 8, "same": 4}
    found = delays({name: arm(name, at, tasks=300) for name, at in falls.items()}, "replace")
    for key in ("variety", "success"):
        late, same, base = (found[key][name] for name in ("late", "same", "replace"))
        assert late.significant
        assert late.gain is not None
        assert 3 <= late.gain <= 5
        assert late.mean is not None
        assert late.mean.low < 4 < late.mean.high
        assert not same.significant
        assert (base.gain, base.p, base.mean) == (None, None, None)
    assert found["variety"]["late"].happened != found["variety"]["same"].happened


def test_an_arm_without_the_loss_is_delayed_by_at_least_so_much() -> None:
    found = delays({"replace": arm("replace", 4, jitter=0), "never": arm("never", 99)}, "replace")["variety"]
    never = found["never"]
    assert never.happened == (None,) * 5
    assert never.median is None
    assert (never.gain, never.at_least) == (ROUNDS - 4, True)
    turned = delays({"replace": arm("replace", 99), "early": arm("early", 3)}, "replace")["variety"]["early"]
    assert (turned.gain, turned.p) == (None, None), "there is nothing to put off"


def test_equal_seeds_do_not_make_certainty() -> None:
    """All five seeds one round later: rounding to whole rounds alone leaves doubt."""
    found = delays({"replace": arm("replace", 5, jitter=0), "b": arm("b", 6, jitter=0)}, "replace")
    told = found["variety"]["b"]
    assert told.mean is not None
    assert told.mean.value == 1
    assert told.mean.high - told.mean.low > 0.9


def test_seeds_that_share_their_tasks_are_worth_less() -> None:
    def width(shared: bool) -> float:
        arms = {name: arm(name, at, shared=shared) for name, at in (("replace", 4), ("b", 8))}
        told = delays(arms, "replace")["success"]["b"].mean
        assert told is not None
        return told.high - told.low

    assert width(True) > 1.2 * width(False)


def test_few_or_noisy_seeds_claim_nothing() -> None:
    two = delays({"replace": arm("replace", 4, seeds=2), "b": arm("b", 8, seeds=2)}, "replace")["variety"][
        "b"
    ]
    assert two.gain is not None
    assert (two.mean, two.p, two.significant) == (None, None, False)
    noisy = {
        name: {s: tuple(_shaken(r, s) for r in records) for s, records in arm(name, at, seeds=3).items()}
        for name, at in (("replace", 4), ("b", 8))
    }
    told = delays(noisy, "replace")["variety"]["b"]
    assert told.mean is not None
    assert told.p is None


def _shaken(record: RoundRecord, seed: int) -> RoundRecord:
    """With training noise: one shift for all tasks of a round."""
    shift = np.random.default_rng([seed, record.metrics.round]).normal(0, 0.2)
    column = tuple(float(np.clip(x + shift, 0, 1)) for x in record.metrics.per_task["pass@1"])
    per_task = {**record.metrics.per_task, "pass@1": column}
    return replace(record, metrics=replace(record.metrics, per_task=per_task))


def test_arms_without_a_metric_or_a_base_are_told() -> None:
    with pytest.raises(ValueError, match="no arm 'replace' to compare with; arms: a"):
        delays({"a": arm("a", 4)}, "replace")
    bare = {
        s: tuple(
            replace(r, metrics=replace(r.metrics, per_task={"pass@1": r.metrics.per_task["pass@1"]}))
            for r in records
        )
        for s, records in arm("b", 4).items()
    }
    assert set(delays({"replace": arm("replace", 4), "b": bare}, "replace")) == {"success", "plateau"}


@pytest.mark.slow
def test_equal_arms_are_rarely_told_apart() -> None:
    """Any significant delay among four arms like the base: at most 5 % of experiments, plus chance."""
    reps, wrong = 60, 0
    for draw in range(reps):
        arms = {
            name: arm(name, 5, draw=draw, tasks=30, jitter=2, seeds=5)
            for name in ("replace", "a", "b", "c", "d")
        }
        wrong += any(d.significant for d in delays(arms, "replace")["variety"].values())
    assert wrong / reps <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / reps)


@pytest.fixture(scope="module")
def report() -> dict:
    late = arm("late", 8, human_examples=20, human_drawn_total=20, compute_multiplier=1.5)
    return build_report(run({"replace": arm("replace", 4), "late": late, "never": arm("never", 99)}))


def test_leaderboard_holds_delay_cost_and_end(report: dict) -> None:
    content = report["remedies"]
    rows = {row["arm"]: row for row in content["rows"]}
    assert content["base"] == "replace"
    assert list(content["events"]) == ["variety", "success", "plateau"]
    assert rows["late"]["human_examples"] == 20, "a set drawn once is paid for once"
    assert rows["replace"]["human_examples"] is None
    assert rows["late"]["compute"] == 1.5
    assert rows["replace"]["compute"] is None
    assert rows["late"]["variety_drop"] == pytest.approx(1 - 1.6 / 2.6, abs=0.03)
    assert rows["late"]["end"]["value"] < rows["never"]["end"]["value"]
    assert delay_text(rows["never"]["delays"]["variety"]).startswith("≥ +")
    assert rows["late"]["delays"]["variety"]["significant"] is True
    assert remedies_table(content).row_count == 3


def test_figure_and_page_show_the_delays(report: dict) -> None:
    from plateau_bench.results.report.page import render_page

    svg = draw_delays(report["remedies"])
    assert svg is not None
    assert 'aria-label="Delays against replace in rounds. never: variety lost +' in svg, "the longest first"
    assert "1.50 ×" in svg
    alone = fromstring(standalone(svg))
    assert alone.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme" in (alone[0].text or "")
    page = render_page(report)
    assert 'id="figure-delays"' in page
    assert "≥ +" in page


def test_a_single_arm_has_no_leaderboard() -> None:
    lone = arm("replace", 4, seeds=1)
    assert remedies({"replace": lone}, {}) is None
    nothing = Delay(happened=(), median=None, gain=None, at_least=False, mean=None, p=None, p_holm=None)
    assert not nothing.significant
