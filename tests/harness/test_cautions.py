"""What a run says of itself when its figures mean less than they seem to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.harness.rounds.cautions import cautions
from plateau_bench.results.records import Estimate, RoundMetrics, RoundRecord
from plateau_bench.results.report.sentences import lead
from plateau_bench.results.store import SHARED, RunStore, record_to_json, write_json


def record(store: RunStore, arm: str, index: int, cut: float, training: Mapping[str, Any]) -> None:
    metrics = RoundMetrics(round=index, values={"truncated": Estimate(cut, 0.0, 1.0, 10)})
    made = RoundRecord(
        arm=arm, seed=1, metrics=metrics, checkpoint_in="base", checkpoint_out=None, training=training
    )
    write_json(store.round(1, arm, index).record, record_to_json(made))


@pytest.mark.parametrize(("cut", "said"), [(0.04, ""), (0.96, "96.0\u00a0% of the attempts of round 0")])
def test_a_base_model_that_is_cut_off_is_said_at_once(tmp_path: Path, cut: float, said: str) -> None:
    store = RunStore(tmp_path)
    record(store, SHARED, 0, cut, {})
    assert said in " ".join(cautions(store, 1, SHARED))
    assert bool(cautions(store, 1, SHARED)) == bool(said)


def test_rounds_that_trained_nothing_are_named(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for index, training in enumerate(({"examples": 0}, {"examples": 7}, {"examples": 0}, {})):
        record(store, "replace", index, 0.0, training)
        record(store, "fixed", index, 0.0, {})
    assert cautions(store, 1, "replace") == [
        "seed 1 replace: nothing passed in practice of rounds 0, 2, so nothing was trained there"
    ]
    assert cautions(store, 1, "fixed") == []


@pytest.mark.parametrize(
    ("examples", "cut", "said"),
    [
        (0.0, 0.0, "Nothing passed in practice, so nothing was trained in replace."),
        (5.0, 0.5, "50.0\u00a0% of the attempts of round 0 ended at their token limit"),
        (5.0, 0.0, "replace could not be judged."),
        (None, 0.0, "replace could not be judged."),
    ],
)
def test_the_first_sentence_of_a_report_says_so(examples: float | None, cut: float, said: str) -> None:
    rounds = [{"round": 0, "metrics": {"truncated": {"value": cut}}}]
    arm = {"phases": {}, "rounds": rounds, "training": {"examples": examples}}
    text = lead({"arm_order": ["replace"], "arms": {"replace": arm}})
    assert said in text
    assert ("Nothing" in text, "limit" in text) == (examples == 0, cut > 0.05)
