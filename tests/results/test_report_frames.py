import math

import pytest

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.results.frames import ATTEMPT_COLUMNS, METRIC_COLUMNS, attempts_frame, metrics_frame
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome, Split, Verdict
from tests.results.synthetic import make_results


def test_metrics_frame_holds_every_estimate_once() -> None:
    results = make_results(seeds=(1, 2), rounds=3, tasks=20)
    frame = metrics_frame(results)
    assert tuple(frame.columns) == METRIC_COLUMNS
    assert not frame.duplicated(["arm", "seed", "round", "metric"]).any()
    assert len(frame) == sum(
        len(r.metrics.values)
        for by_seed in results.rounds.values()
        for records in by_seed.values()
        for r in records
    )
    at = {"arm": "replace", "seed": 2, "round": 1, "metric": "pass@1"}
    (row,) = frame[(frame[list(at)] == list(at.values())).all(axis=1)].itertuples()
    assert (row.value, row.low, row.high, row.n) == results.rounds["replace"][2][1].metrics.values["pass@1"]


def test_metrics_without_a_value_are_nan() -> None:
    frame = metrics_frame(make_results(rounds=1, tasks=20))
    (row,) = frame.query("arm == 'replace' and metric == 'kl_prev'").itertuples()
    assert all(math.isnan(x) for x in (row.value, row.low, row.high, row.n))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_attempts_frame_has_a_row_per_attempt_and_only_passed_ones_pass(outcome: Outcome) -> None:
    attempt = Attempt(
        arm="replace",
        seed=1,
        round=2,
        split=Split.HELD_OUT,
        task_id="katas/1",
        task_digest="d",
        stratum="tail",
        cluster="katas/1",
        sample=0,
        temperature=0.7,
        trajectory=Trajectory(
            agent="oneshot", model="m", seed=5, answer="def f(a): ...", ending=Ending.SUBMITTED
        ),
        verdict=Verdict(outcome=outcome, verified=True),
    )
    frame = attempts_frame([attempt, attempt])
    assert tuple(frame.columns) == ATTEMPT_COLUMNS
    assert len(frame) == 2
    assert frame["passed"].tolist() == [outcome is Outcome.PASSED] * 2
    assert frame.loc[0, "split"] == "held_out"
    assert frame.loc[0, "sampling_seed"] == 5


def test_frames_of_nothing_keep_their_columns() -> None:
    assert tuple(attempts_frame([]).columns) == ATTEMPT_COLUMNS
