import re

import pytest

from plateau_bench.results.claims.pdt1 import Label
from plateau_bench.results.report.content import build_report
from plateau_bench.results.report.sentences import arm_findings, lead, round_names, summarise
from tests.results.synthetic import level, make_results, rise_then_fall, rise_then_level

NO_FALL = [label for label in Label if "decline" not in label]


@pytest.fixture(scope="module")
def report() -> dict:
    arms = {"down": rise_then_fall, "up": rise_then_level, "same": level}
    return build_report(make_results(arms, seeds=(1, 2, 3, 4, 5), rounds=9))


def relabelled(report: dict, label: str, level: str = "strategy", **more: object) -> dict:
    """The report with another claim for the arm 'up', whose numbers stay as they are."""
    arm = report["arms"]["up"]
    fall = report["arms"]["down"]["phases"]["pass@1"]["fall"] if "decline" in label else None
    phase = arm["phases"]["pass@1"] | {"label": label, "level": level, "fall": fall} | more
    return report | {"arms": report["arms"] | {"up": arm | {"phases": arm["phases"] | {"pass@1": phase}}}}


def told(report: dict, topic: str, arm: str = "up") -> str:
    return " ".join(finding.text for finding in arm_findings(report, arm) if finding.topic == topic)


@pytest.mark.parametrize("label", NO_FALL)
def test_no_fall_is_told_of_an_arm_whose_label_has_none(report: dict, label: str) -> None:
    changed = relabelled(report, label, plateau_from=3)
    sentences = [lead(changed)] + [s for s in summarise(changed) if s.startswith("up")]
    text = told(changed, "Pass rate")
    assert not any("decline" in sentence for sentence in sentences)
    assert "and then fell" not in text
    assert "fell by" not in text
    assert (
        f"{100 * report['arms']['up']['phases']['pass@1']['mde']:.1f} points would have been noticed" in text
    )


@pytest.mark.parametrize("label", [label for label in Label if "rise" not in label])
def test_no_rise_is_told_of_an_arm_whose_label_has_none(report: dict, label: str) -> None:
    text = told(relabelled(report, label, plateau_from=3), "Pass rate")
    assert "rose by" not in text


@pytest.mark.parametrize("label", list(Label))
def test_every_label_gives_whole_sentences(report: dict, label: str) -> None:
    for sentence in summarise(relabelled(report, label, plateau_from=3)):
        assert re.search(r"[.]$", sentence)
        assert not re.search(r"None|nan|\{|\}|\.\.|  |at least -|at least −", sentence), sentence


def test_the_fall_is_told_by_its_lower_bound(report: dict) -> None:
    fall = report["arms"]["down"]["phases"]["pass@1"]["fall"]
    assert f"fell by at least {100 * fall['low']:.1f} points" in told(report, "Pass rate", "down")


def test_reach_follows_the_level(report: dict) -> None:
    assert "about the method, from 5 training seeds" in told(report, "Reach")
    alone = told(relabelled(report, "rise", level="checkpoint"), "Reach")
    assert "about these weights only" in alone
    assert "method, from" not in alone


def test_end_against_base_is_open_where_the_interval_holds_zero(report: dict) -> None:
    open_end = {"value": 0.01, "low": -0.02, "high": 0.04, "n": 5}
    text = told(relabelled(report, "flat", final_minus_base=open_end), "Pass rate")
    assert "cannot be told apart from the base (+1.0 points, 95\u00a0% interval −2.0 to +4.0)" in text
    below = {"value": -0.05, "low": -0.08, "high": -0.02, "n": 5}
    text = told(relabelled(report, "decline", final_minus_base=below), "Pass rate")
    assert "5.0 points below the base" in text


def test_an_end_without_any_spread_is_not_given_an_interval(report: dict) -> None:
    same = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1}
    text = told(relabelled(report, "inconclusive", final_minus_base=same), "Pass rate")
    assert "too few successes for an interval" in text
    assert "0.0 to 0.0" not in text


def test_a_difference_that_is_not_significant_is_not_called_one(report: dict) -> None:
    row = report["comparisons"][0]
    weak = row | {"p_holm": 0.2}
    text = summarise(report | {"comparisons": [weak]})
    assert any("no difference between up and down was established" in sentence for sentence in text)
    strong = summarise(report | {"comparisons": [row]})
    assert any(sentence.startswith("At round 8, up is ") and "above down" in sentence for sentence in strong)


def test_lost_variety_comes_with_the_warning_not_to_overread_it(report: dict) -> None:
    assert any("does not foretell" in sentence for sentence in summarise(report))
    same = build_report(make_results({"same": level}, rounds=5))
    assert not any("does not foretell" in sentence for sentence in summarise(same))


def test_attempts_that_could_not_be_graded_are_told(report: dict) -> None:
    assert not any("could not be graded" in sentence for sentence in report["summary"])
    rounds = [
        row
        | {
            "metrics": row["metrics"]
            | {"infra": {"value": 0.03 * (row["round"] == 4), "low": 0, "high": 1, "n": 9}}
        }
        for row in report["arms"]["up"]["rounds"]
    ]
    broken = report | {"arms": report["arms"] | {"up": report["arms"]["up"] | {"rounds": rounds}}}
    assert any("In round 4 of up, 3.0\u00a0% of the attempts" in sentence for sentence in summarise(broken))


def test_an_unjudged_arm_is_told_as_such() -> None:
    report = build_report(make_results(rounds=1, tasks=20))
    assert "could not be judged" in lead(report)
    assert "nothing is claimed" in told(report, "Pass rate", "replace")


@pytest.mark.parametrize(
    ("rounds", "text"),
    [
        ([3], "round 3"),
        ([2, 3], "rounds 2 and 3"),
        ([2, 3, 4], "rounds 2 to 4"),
        ([1, 3, 4], "rounds 1, 3 and 4"),
    ],
)
def test_round_names(rounds: list[int], text: str) -> None:
    assert round_names(rounds) == text
