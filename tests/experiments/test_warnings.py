"""Early warnings: planted signs are found, absent ones are not, and neither time nor luck passes for one."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from experiments.warnings.alarms import best_versus_last, declines, means_of, threshold_guard
from experiments.warnings.early_warnings import EarlyWarnings, Score, early_warnings, to_plain, warnings_table
from plateau_bench.results.records import RoundRecord, RunResults
from tests.results.planted import planted, record

DRIFTING = ["omen", "clock", *(f"noise-{j}" for j in range(6))]


@pytest.fixture(scope="module")
def run() -> RunResults:
    return planted()


@pytest.fixture(scope="module")
def found(run: RunResults) -> EarlyWarnings:
    return early_warnings(run.rounds)


def named(found: EarlyWarnings, name: str, form: str) -> Score:
    return next(s for s in found.candidates if (s.name, s.form) == (name, form))


def test_a_planted_omen_comes_first_and_is_chosen_without_the_scored_seed(found: EarlyWarnings) -> None:
    best = found.candidates[0]
    assert (best.name, best.warns) == ("omen", "low")
    assert best.p is not None
    assert best.p <= 0.01
    assert best.auc is not None
    assert best.auc.low > 0.6
    assert found.selected is not None
    assert found.selected.auc == best.auc
    assert set(found.chosen) == {"omen, over 2 rounds"}
    assert best.recall is not None
    assert best.false_alarm_rate is not None
    assert best.recall > 3 * best.false_alarm_rate


def test_counts_add_up(found: EarlyWarnings) -> None:
    assert found.moments == 12 * 5 * 7
    for score in (*found.candidates, *found.rules):
        assert score.hits + score.misses == found.declines
        assert score.hits + score.misses + score.false_alarms + score.quiet == found.moments


def test_what_grows_with_time_in_every_arm_is_not_significant(found: EarlyWarnings) -> None:
    clock = named(found, "clock", "now")
    assert clock.p is not None
    assert clock.p > 0.2


@pytest.mark.slow
def test_no_planted_omen_gives_no_significant_candidate() -> None:
    p_values = []
    for draw in range(6):
        none = early_warnings(planted(lead=None, draw=draw, tasks=40, arms=10).rounds, metrics=DRIFTING)
        p_values.append(min(score.p for score in none.candidates if score.p is not None))
    assert sum(p <= 0.05 for p in p_values) <= 2  # 5 % each: 3 or more of 6 has a chance of 0.2 %


def test_luck_of_a_round_does_not_foretell_a_fall() -> None:
    """In level arms with few tasks, high pass@1 would 'precede' falls if it shared samples with them."""
    lean = []
    for draw in range(3):
        level = planted(lead=None, cliff=0.0, tasks=30, samples=4, draw=draw, noise=0)
        arms = level.rounds
        honest = [
            (means_of(records[t])["pass@1"], declines(records, t))
            for by_seed in arms.values()
            for records in by_seed.values()
            for t in range(2, 9)
        ]
        lean.append(_correlation(honest))
    assert abs(float(np.mean(lean))) < 0.1
    shared = [
        (float(np.mean(records[t].metrics.per_task["pass@1/odd"])), declines(records, t))
        for by_seed in arms.values()
        for records in by_seed.values()
        for t in range(2, 9)
    ]
    assert _correlation(shared) > 0.3, "the trap is real: on the same samples it does"


def _correlation(pairs: list[tuple[float, bool]]) -> float:
    return float(np.corrcoef(np.array(pairs, float).T)[0, 1])


def test_measures_that_cannot_be_split_are_marked_and_never_chosen() -> None:
    level = planted(lead=None, noise=0, tasks=40, arms=6, seeds=3)
    found = early_warnings(level.rounds, metrics=["hill1", "pass@1", "clock"])
    assert {s.name for s in found.candidates if s.shared} == {"hill1"}
    assert not any("hill1" in chosen for chosen in found.chosen)


def test_one_seed_few_arms_and_no_decline_are_said() -> None:
    one = early_warnings(planted(seeds=1, arms=4, tasks=60).rounds)
    assert one.selected is None
    assert all(score.p is None for score in one.candidates)
    assert any("one training seed" in note for note in one.notes)
    assert any("too few for p-values" in note for note in one.notes)
    calm = early_warnings(planted(arms=2, seeds=2, cliff=0.0, tasks=400, samples=32).rounds)
    if calm.declines == 0:
        assert all(score.auc is None for score in calm.candidates)
        assert "no decline among the moments" in calm.notes


def test_unfinished_arms_are_left_out_and_short_runs_refused(run: RunResults) -> None:
    cut = {**run.rounds, "arm-3": {0: run.rounds["arm-3"][0][:4]}, "late": {0: ()}}
    found = early_warnings(cut, metrics=["omen"])
    assert found.arms == 11
    assert found.notes[0] == "unfinished, left out: arm-3, late"
    short = {arm: {s: r[:4] for s, r in by_seed.items()} for arm, by_seed in run.rounds.items()}
    with pytest.raises(ValueError, match="at least 5 measured rounds, this run has 4"):
        early_warnings(short)
    with pytest.raises(ValueError, match="at least 5 measured rounds, this run has 0"):
        early_warnings({})


def test_a_metric_with_holes_is_used_or_left_out(run: RunResults) -> None:
    def hide(record: RoundRecord, name: str) -> RoundRecord:
        values = {**record.metrics.values, name: None}
        return replace(record, metrics=replace(record.metrics, values=values))

    few = {
        arm: {
            s: tuple(
                hide(r, "omen") if arm == "arm-1" and s == 0 and t == 5 else hide(r, "clock")
                for t, r in enumerate(records)
            )
            for s, records in by_seed.items()
        }
        for arm, by_seed in run.rounds.items()
    }
    names = {score.name for score in early_warnings(few, metrics=["omen", "clock"]).candidates}
    assert names == {"omen"}


def rounds_of(*means: float, **values: list[float]) -> list[RoundRecord]:
    rng = np.random.default_rng(0)
    return [
        record("a", 0, t, np.full(60, mean), 200, {k.replace("_", ""): v[t] for k, v in values.items()}, rng)
        for t, mean in enumerate(means)
    ]


def test_a_decline_is_material_lasting_and_beyond_luck() -> None:
    assert declines(rounds_of(0.5, 0.5, 0.4, 0.4), 0)
    assert not declines(rounds_of(0.5, 0.5, 0.495, 0.495), 0), "less than 2 points"
    assert not declines(rounds_of(0.5, 0.5, 0.4, 0.6), 0), "it comes back at once"
    rng = np.random.default_rng(1)
    noisy = [record("a", 0, t, np.full(8, 0.5 - 0.03 * (t > 1)), 2, {}, rng) for t in range(4)]
    assert not declines(noisy, 0), "8 tasks of 2 samples cannot show 3 points"


def test_rules_that_people_use() -> None:
    falling = rounds_of(0.4, 0.6, 0.5)
    means = [means_of(r) for r in falling]
    assert best_versus_last(falling, means, 2)
    assert not best_versus_last(falling, means, 1)
    quarter = rounds_of(0.5, 0.5, 0.5, completion_tokens=[100, 90, 74], distinct4=[0.4, 0.4, 0.29])
    means = [
        {**means_of(r), "completion_tokens": r.metrics.values["completiontokens"].value} for r in quarter
    ]
    assert threshold_guard(quarter, means, 2)
    assert not threshold_guard(quarter, [*means[:2], {**means[2], "distinct4": 0.31}], 2), "one sign alone"


def test_strata_are_read_on_the_even_samples() -> None:
    (first,) = rounds_of(0.5)
    with_strata = replace(first, metrics=replace(first.metrics, values={**first.metrics.values}))
    told = means_of(with_strata)
    even = np.array(first.metrics.per_task["pass@1/even"])
    assert told["pass@1"] == pytest.approx(even.mean())
    assert told["pass@1/tail"] == pytest.approx(even[2::3].mean())


def test_output_for_people_and_machines(found: EarlyWarnings) -> None:
    plain = json.loads(json.dumps(to_plain(found), allow_nan=False))
    assert plain["candidates"][0]["auc"]["n"] == 5
    assert set(plain["rules"][0]) >= {"precision", "recall", "false_alarm_rate", "p", "hits"}
    assert plain["selected"]["name"] == "best of the other seeds"
    assert warnings_table(found, top=3).row_count == 3 + 1 + 2
    assert not any(isinstance(v, float) and math.isnan(v) for v in plain.values())
