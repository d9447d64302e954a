"""Criteria of the loop's reproductions, on made-up runs in which the truth is known."""

import math
from dataclasses import replace

import pytest

from experiments.reproduce import judges
from experiments.reproduce.loops import merged, renamed, settings
from experiments.reproduce.outcome import Outcome
from plateau_bench.harness.config import parse_config, to_plain
from plateau_bench.results.records import RunResults
from tests.results.truths import Truth, hump, made, narrow, rise


def met(outcome: Outcome) -> list[bool]:
    assert len(outcome.table) > 1
    assert outcome.panels
    return [check.met for check in outcome.checks]


def test_e2_of_a_run_that_shows_it() -> None:
    run = made(
        {
            "replace": Truth(lambda t: 0.15 * min(t, 4), narrow(0.3)),
            "dedupe_cap": Truth(rise, narrow(0.05)),
            "inverse_freq": Truth(rise, narrow(0.3)),
        }
    )
    rose, narrowed, covered, capped, weighted = met(judges.rise_and_narrowing(run))
    assert (rose, narrowed, capped, weighted) == (True, True, True, False)
    assert not covered  # success rose by the same logits everywhere, so pass@8 rose as well


def test_e2_of_a_run_in_which_nothing_happens() -> None:
    flat = Truth(lambda t: 0.0)
    run = made({"replace": flat, "dedupe_cap": flat, "inverse_freq": flat}, tasks=150)
    rose, narrowed, *_ = met(judges.rise_and_narrowing(run))
    assert not rose
    assert not narrowed


def test_e3_peaks_come_sooner_the_more_leaks() -> None:
    arms = {"leak_05": hump(6), "leak_10": hump(4), "leak_20": hump(2)}
    assert met(judges.leaky_verifier(made({k: Truth(v) for k, v in arms.items()}))) == [True] * 3
    backwards = {"leak_05": hump(2), "leak_10": hump(4), "leak_20": hump(6)}
    assert met(judges.leaky_verifier(made({k: Truth(v) for k, v in backwards.items()})))[2] is False


def test_e3_needs_a_decline_and_a_leak() -> None:
    arms = {name: Truth(rise, wrong=0.0) for name in judges.LEAKS}
    assert met(judges.leaky_verifier(made(arms))) == [False] * 3


def test_e4_counts_declines() -> None:
    run = made({"no_train": Truth(lambda t: 0.0), "fresh_human_only": Truth(hump(2))}, seeds=5)
    outcome = judges.controls(run)
    assert met(outcome) == [True, False]
    assert "5 of 5" in outcome.checks[1].figures


def test_e6_tail_first_and_the_gap_halved() -> None:
    falls = Truth(lambda t: -0.05 * t, tail=lambda t: -0.25 * t)
    spared = Truth(lambda t: 0.0, tail=lambda t: -0.02 * t)
    assert met(judges.tail_first(made({"replace": falls, "fresh_10": spared}))) == [True, True]
    assert met(judges.tail_first(made({"replace": falls, "fresh_10": falls}))) == [True, False]
    assert met(judges.tail_first(made({"replace": Truth(rise), "fresh_10": Truth(rise)}))) == [False, False]


def test_the_gap_in_retention_is_found_within_its_interval() -> None:
    run = made({"replace": Truth(lambda t: 0.0, tail=lambda t: -math.inf if t > 6 else 0.0)})
    gap = judges.retention_gap(run.rounds["replace"])
    assert gap.value == pytest.approx(1.0, abs=0.1)  # the tail is gone, the head as before
    assert gap.low < gap.value < gap.high
    assert judges.retained(run.rounds["replace"], "tail") == [0.0] * 3


@pytest.mark.parametrize(("rates", "expected"), [((0.4, 0.3, 0.2, 0.1), True), ((0.1, 0.2, 0.3, 0.4), False)])
def test_e8_speed_by_temperature(rates: tuple[float, ...], expected: bool) -> None:
    arms = {name: Truth(rise, narrow(rate / 2)) for name, rate in zip(judges.SAMPLERS, rates, strict=True)}
    assert met(judges.sampler(made(arms))) == [expected] * 2


def test_unfinished_runs_and_missing_arms_are_refused() -> None:
    run = made({"replace": Truth(rise)}, rounds=2)
    with pytest.raises(ValueError, match="replace is missing or not finished"):
        judges.tail_first(run)
    with pytest.raises(ValueError, match="T_0_6 is missing"):
        judges.sampler(made({"replace": Truth(rise)}))


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["loops", "controls"])
def test_configs_can_be_read(name: str, quick: bool) -> None:
    config = parse_config(settings(name, quick=quick), name)
    assert len(config.seeds) >= (2 if quick else 3)
    needed = {"replace", "dedupe_cap", "inverse_freq", "fresh_10", *judges.LEAKS, *judges.SAMPLERS}
    assert set(config.arms) == (needed if name == "loops" else {"no_train", "fresh_human_only"})


def test_runs_that_share_all_but_their_arms_are_judged_as_one() -> None:
    first, second = made({"replace": Truth(rise)}), made({"fresh_10": Truth(rise)})
    assert len(met(judges.tail_first(merged([first, second])))) == 2
    other = RunResults(name="other", config={"rounds": 3}, environment={}, rounds=second.rounds)
    with pytest.raises(ValueError, match="differ in rounds"):
        merged([first, other])


def test_an_arm_of_another_name_is_known_by_its_settings() -> None:
    data = settings("loops", ("replace", "fresh_10"))
    arms = to_plain(parse_config(data, "loops"))["arms"]
    config = {"arms": {"replace": arms["replace"], "tenth": arms["fresh_10"], "other": arms["replace"]}}
    results = replace(made({"replace": Truth(rise), "tenth": Truth(rise)}), config=config)
    found = renamed(results, data).rounds
    assert found["fresh_10"] is results.rounds["tenth"]
    assert found["replace"] is results.rounds["replace"]
