import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.claims.arms import compare_arms
from plateau_bench.results.claims.significance import holm
from plateau_bench.results.records import Estimate, RoundRecord, RunResults
from plateau_bench.results.report.content import build_report, report_bytes, terminal_table, write_report
from tests.results.synthetic import DRIFT, level, make_results, rise_then_fall, rise_then_level

ESTIMATE_KEYS = {"value", "low", "high", "n"}


@pytest.fixture(scope="module")
def results() -> RunResults:
    return make_results(seeds=(1, 2, 3, 4, 5), rounds=9)


@pytest.fixture(scope="module")
def report(results: RunResults) -> dict:
    return build_report(results)


def test_other_tools_find_what_they_read(report: dict) -> None:
    assert report["sandbox"] == "bubblewrap"
    assert report["arm_order"] == ["replace", "fresh_human"]
    assert set(report["arms"]) == set(report["silent_collapse"])
    for arm in report["arms"].values():
        assert arm["seeds"] == [1, 2, 3, 4, 5]
        assert [row["round"] for row in arm["rounds"]] == list(range(9))
        for row in arm["rounds"]:
            assert set(row["metrics"]["pass@1"]) == ESTIMATE_KEYS
        assert {"pass@1", "pass@8", "hill1"} == set(arm["phases"])
        assert {"label", "level", "mde", "peak_rounds", "delta"} <= set(arm["phases"]["pass@1"])


def test_a_planted_fall_is_found_and_a_planted_plateau_has_none(report: dict) -> None:
    labels = {arm: facts["phases"]["pass@1"]["label"] for arm, facts in report["arms"].items()}
    assert labels["replace"] == "rise->decline"
    assert labels["fresh_human"] in ("rise", "rise->plateau")


def test_equal_results_give_equal_strict_bytes(results: RunResults, report: dict) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} in report.json")

    data = report_bytes(report)
    assert json.loads(data, parse_constant=refuse) == report
    assert report_bytes(build_report(results)) == data


def test_absent_values_are_null_in_every_kind_of_hole(report: dict) -> None:
    rounds = report["arms"]["replace"]["rounds"]
    assert rounds[0]["metrics"]["kl_prev"] is None
    assert rounds[1]["metrics"]["kl_prev"] is not None
    holed = _with_value(
        make_results(seeds=(1, 2), rounds=2, tasks=20), seed=2, at=1, name="rare_ppl", value=None
    )
    at = build_report(holed)["arms"]["replace"]["rounds"]
    assert at[0]["metrics"]["rare_ppl"] is not None
    assert at[1]["metrics"]["rare_ppl"] is None, "a mean over the seeds at hand would mean something else"


def test_infinite_and_nan_numbers_become_null() -> None:
    endless = Estimate(3.0, -math.inf, math.inf, 1)
    results = make_results(rounds=2, tasks=20)
    results = _with_value(results, seed=0, at=1, name="rare_ppl", value=endless)
    results = _with_value(results, seed=0, at=1, name="human_ppl", value=Estimate(math.nan, 0.0, 1.0, 1))
    metrics = build_report(results)["arms"]["replace"]["rounds"][1]["metrics"]
    assert metrics["rare_ppl"] == {"value": 3.0, "low": None, "high": None, "n": 1}
    assert metrics["human_ppl"] is None


def test_one_seed_speaks_of_checkpoints_and_five_of_the_strategy(report: dict) -> None:
    one = build_report(make_results(rounds=5))["arms"]["replace"]
    assert one["phases"]["pass@1"]["level"] == "checkpoint"
    assert report["arms"]["replace"]["phases"]["pass@1"]["level"] == "strategy"


def test_one_seed_keeps_the_estimate_of_its_round() -> None:
    results = make_results(rounds=3)
    ours = results.rounds["replace"][0][2].metrics.values["pass@1"]
    told = build_report(results)["arms"]["replace"]["rounds"][2]["metrics"]["pass@1"]
    assert told == pytest.approx(ours._asdict(), rel=1e-5)


def test_several_seeds_are_averaged_with_seeds_as_units(results: RunResults, report: dict) -> None:
    for name in ("pass@1", "distinct4"):
        values = [records[4].metrics.values[name] for records in results.rounds["replace"].values()]
        told = report["arms"]["replace"]["rounds"][4]["metrics"][name]
        assert told["value"] == pytest.approx(sum(v.value for v in values if v) / 5, rel=1e-4)
        assert told["n"] == 5
        assert told["low"] < told["value"] < told["high"]


def test_student_interval_matches_a_hand_computed_one() -> None:
    results = make_results(seeds=(1, 2, 3), rounds=2, tasks=20)
    for seed, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
        results = _with_value(results, seed=seed, at=0, name="distinct4", value=Estimate(value, 0.0, 9.0, 7))
    told = build_report(results)["arms"]["replace"]["rounds"][0]["metrics"]["distinct4"]
    half = 4.302653 / math.sqrt(3)
    assert told == pytest.approx({"value": 2.0, "low": 2 - half, "high": 2 + half, "n": 3}, rel=1e-5)


def test_only_rounds_that_every_seed_has_are_used_and_this_is_said() -> None:
    results = make_results(seeds=(1, 2), rounds=4, tasks=20)
    short = {**results.rounds["replace"], 2: results.rounds["replace"][2][:3], 7: ()}
    report = build_report(replace(results, rounds={**results.rounds, "replace": short}))
    assert [row["round"] for row in report["arms"]["replace"]["rounds"]] == [0, 1, 2]
    assert report["arms"]["replace"]["seeds"] == [1, 2]
    assert len(report["notes"]) == 2
    assert all("replace" in note for note in report["notes"])
    assert {row["round"] for row in report["comparisons"] if row["at"] == "final"} == {2}


def test_a_run_without_rounds_is_refused_by_name() -> None:
    results = make_results(rounds=2, tasks=20)
    with pytest.raises(ValueError, match="'late' has no finished round"):
        build_report(replace(results, rounds={**results.rounds, "late": {0: ()}}))
    with pytest.raises(ValueError, match="no arms"):
        build_report(replace(results, rounds={}))


def test_a_single_round_is_reported_without_a_claim() -> None:
    report = build_report(make_results(rounds=1, tasks=20))
    assert report["arms"]["replace"]["phases"] == {"pass@1": None, "pass@8": None, "hill1": None}
    assert report["silent_collapse"]["replace"] == {"shown": None, "p": None}


def test_a_base_without_variety_leaves_variety_unjudged() -> None:
    results = make_results(rounds=4, tasks=30)
    records = results.rounds["replace"][0]
    nothing = (math.nan,) * 30
    first = replace(
        records[0],
        metrics=replace(records[0].metrics, per_task={**records[0].metrics.per_task, "hill1": nothing}),
    )
    report = build_report(replace(results, rounds={"replace": {0: (first, *records[1:])}}))
    assert report["arms"]["replace"]["phases"]["hill1"] is None
    assert report["silent_collapse"]["replace"]["shown"] is None


def test_training_totals_leave_out_what_was_not_recorded() -> None:
    results = make_results(rounds=4, tasks=20)
    told = build_report(results)["arms"]["fresh_human"]["training"]
    assert told["human_examples"] == 3 * 50
    assert told["tokens"] == 4000 + 4001 + 4002
    bare = {
        arm: {seed: tuple(replace(r, training={}) for r in records) for seed, records in by_seed.items()}
        for arm, by_seed in results.rounds.items()
    }
    told = build_report(replace(results, rounds=bare))["arms"]["fresh_human"]["training"]
    assert set(told.values()) == {None}


def test_precision_of_the_training_set_is_shown_without_an_interval(report: dict) -> None:
    one = build_report(make_results(rounds=2, tasks=20))["arms"]["replace"]["rounds"]
    assert one[0]["metrics"]["selected_precision"] == {"value": 0.9, "low": None, "high": None, "n": 1}
    assert one[1]["metrics"]["selected_precision"] is None
    assert report["arms"]["replace"]["rounds"][0]["metrics"]["selected_precision"]["n"] == 5


def test_a_run_without_a_sandbox_says_none() -> None:
    results = make_results(rounds=1, tasks=10)
    assert build_report(replace(results, environment={}))["sandbox"] is None


def test_silent_collapse_needs_a_held_pass_rate_and_lost_variety(report: dict) -> None:
    assert report["silent_collapse"]["fresh_human"]["shown"] is True
    assert report["silent_collapse"]["replace"]["shown"] is False, "its pass rate fell too: not silent"


def test_comparison_is_the_arm_minus_the_first_arm(report: dict) -> None:
    final, best = report["comparisons"]
    assert (final["arm"], final["minus"], final["at"], final["round"]) == (
        "fresh_human",
        "replace",
        "final",
        8,
    )
    assert final["difference"]["low"] > 0
    assert final["p_holm"] < 0.05
    assert best["round"] is None
    assert abs(best["difference"]["value"]) < 0.05, "both arms peak at the same height"


def test_equal_arms_are_rarely_told_apart() -> None:
    alarms = 0
    for attempt in range(20):
        arms = {f"a{attempt}": level, f"b{attempt}": level}
        results = make_results(arms, seeds=(attempt,), rounds=3, tasks=60)
        alarms += any(row["p_holm"] <= 0.05 for row in compare_arms(results.rounds))
    assert alarms <= 4  # 5 % each: 5 or more of 20 has a chance of 0.3 %


def test_best_rounds_are_not_flattered_by_picking() -> None:
    """An arm with many flat rounds beats one with a single round, if picked and scored on the same tasks."""
    gaps = []
    for seed in range(100):
        results = make_results({"one": level, "many": level}, seeds=(seed,), rounds=6, tasks=40, samples=2)
        base = results.rounds["one"][seed][0]
        frozen = tuple(replace(base, metrics=replace(base.metrics, round=t)) for t in range(6))
        rows = compare_arms({"one": {seed: frozen}, "many": results.rounds["many"]})
        gaps.append(rows[1]["difference"].value)
    # Picking and scoring on the same tasks gives +5.5 points here; the standard error is 0.8 points.
    assert abs(sum(gaps) / len(gaps)) < 0.03


def test_arms_without_a_common_seed_are_not_compared() -> None:
    results = make_results(rounds=2, tasks=20)
    other = make_results(seeds=(9,), rounds=2, tasks=20)
    rows = compare_arms({"replace": results.rounds["replace"], "fresh_human": other.rounds["fresh_human"]})
    assert {row["difference"] for row in rows} == {row["p_holm"] for row in rows} == {None}


def test_arms_without_any_success_are_not_called_equal() -> None:
    hopeless = make_results({"a": lambda t: -60.0, "b": lambda t: -60.0}, rounds=3, tasks=24)
    for row in compare_arms(hopeless.rounds):
        assert row["difference"].value == 0
        # 12 clusters without a difference leave room for one in up to a quarter of the clusters.
        assert row["difference"].low == pytest.approx(-(1 - 0.025 ** (1 / 12)))
        assert row["difference"].high == -row["difference"].low
        assert row["p_holm"] == 1


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_makes_a_p_value_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    ranked = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_files_are_written_whole_and_repeatably(tmp_path) -> None:
    results = make_results(rounds=2, tasks=20, without=DRIFT)
    page = write_report(results, tmp_path)
    assert page == tmp_path / "report.html"
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"report.html", "report.json"}, "no temporary file may be left"
    write_report(results, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_terminal_table_has_a_line_per_arm_and_takes_names_literally(report: dict) -> None:
    from rich.console import Console

    odd = make_results({"[red]x": rise_then_fall, "fine": rise_then_level}, rounds=2, tasks=20)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(build_report(odd)))
    console.print(terminal_table(report))
    text = console.export_text()
    assert "[red]x" in text
    assert "rise->decline" in text


def _with_value(
    results: RunResults, *, seed: int, at: int, name: str, value: Estimate | None, arm: str = "replace"
) -> RunResults:
    def change(record: RoundRecord) -> RoundRecord:
        if record.metrics.round != at:
            return record
        return replace(record, metrics=replace(record.metrics, values={**record.metrics.values, name: value}))

    by_seed = results.rounds[arm]
    changed = {**by_seed, seed: tuple(change(record) for record in by_seed[seed])}
    return replace(results, rounds={**results.rounds, arm: changed})
