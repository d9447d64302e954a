"""PDT-1: labels on curves with a known truth, error rates, and the facts beside the label."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from plateau_bench.results.claims.maxt import Curve
from plateau_bench.results.claims.pdt1 import Label, Phase, classify, curve_of, silent_collapse
from plateau_bench.results.claims.training_noise import training_noise
from plateau_bench.results.records import RoundMetrics, RoundRecord
from plateau_bench.results.validation.simulate import CURVES, simulate

LAST = 10


def run(
    shape: list[float],
    *,
    seeds: int = 1,
    tasks: int = 200,
    samples: int = 8,
    sd_round: float = 0.0,
    draw: int = 0,
) -> list[Curve]:
    rng = np.random.default_rng(draw)
    return simulate(shape, tasks=tasks, samples=samples, seeds=seeds, sd_round=sd_round, rng=rng)


def exact(rows: list[list[float]]) -> Curve:
    return Curve(values=np.array(rows), clusters=tuple(f"t{i}" for i in range(len(rows))))


def found(phase: Phase) -> str:
    parts = [
        "rise" if phase.rise and phase.rise.low > 0 else "",
        "decline" if phase.fall and phase.fall.low > 0 else "",
        "plateau" if phase.plateau_from is not None else "",
    ]
    return "+".join(filter(None, parts))


def label_rates(
    curve: Sequence[float],
    *,
    reps: int,
    tasks: int = 150,
    samples: int = 4,
    seeds: int = 5,
    sd_round: float = 0.0,
    boot: int = 1000,
    seed: int = 0,
    judge: Callable[[Phase], str] = lambda phase: phase.label.value,
) -> dict[str, float]:
    """Share of `reps` simulated runs that get each label."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for rep in range(reps):
        curves = simulate(curve, tasks=tasks, samples=samples, seeds=seeds, sd_round=sd_round, rng=rng)
        found[judge(classify(curves, boot=boot, seed=rep))] += 1
    return {label: count / reps for label, count in sorted(found.items())}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("shape", "label"),
    [
        ([0.0, 0.4, 0.8, 1.2, 1.2, 0.9, 0.6, 0.3, 0.2, 0.0, 0.0], Label.RISE_DECLINE),
        ([0.0, -0.2, -0.4, -0.6, -0.8, -1.0, -1.2, -1.2, -1.2, -1.2, -1.2], Label.DECLINE),
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8], Label.RISE),
    ],
)
def test_labels_of_clear_curves(shape: list[float], label: Label, seeds: int) -> None:
    phase = classify(run(shape, seeds=seeds), seed=1, boot=500)
    assert phase.label is label
    assert phase.level == ("checkpoint" if seeds == 1 else "strategy")
    assert any("training seed" in note for note in phase.notes) == (seeds == 1)


def test_equivalence_needs_data_and_then_gives_plateau_and_flat() -> None:
    level = [0.0] * (LAST + 1)
    risen = [0.0, 0.6, 0.9] + [1.2] * (LAST - 2)
    plenty = {"tasks": 4000, "samples": 32}
    assert classify(run(level, tasks=50), seed=0, boot=400).label is Label.INCONCLUSIVE
    assert classify(run(level, **plenty), seed=0, boot=400).label is Label.FLAT
    phase = classify(run(risen, **plenty), seed=0, boot=400)
    assert phase.label is Label.RISE_PLATEAU
    assert phase.plateau_from == 3
    assert phase.plateau_margin is not None
    assert phase.plateau_margin < 0.02
    # A margin that only just fails, or is only just met, is the reported one.
    tight = classify(run(risen, **plenty), seed=0, boot=400, delta=phase.plateau_margin - 1e-6)
    assert tight.label is Label.RISE


@pytest.mark.parametrize("name", ["flat", "rise-plateau"])
def test_no_decline_is_invented(name: str) -> None:
    reps = 150
    rates = label_rates(CURVES[name](LAST), reps=reps, tasks=100, seeds=1, boot=400, judge=found)
    wrong = sum(
        rate for label, rate in rates.items() if "decline" in label or (name == "flat" and "rise" in label)
    )
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / reps)


def test_a_fall_of_ten_points_is_found() -> None:
    rates = label_rates(CURVES["fall-10"](LAST), reps=60, tasks=100, seeds=1, boot=400)
    assert rates["rise->decline"] >= 0.8


def test_a_steady_rise_is_not_called_a_plateau() -> None:
    rates = label_rates(CURVES["rise"](LAST), reps=60, tasks=100, seeds=1, boot=300)
    assert rates["rise"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(5, 0.0), (5, 0.1), (5, 0.2), (3, 0.0), (3, 0.1)])
@pytest.mark.parametrize("name", ["flat", "rise", "rise-plateau", "fall-10"])
def test_operating_characteristics_of_strategy_claims(name: str, cell: tuple[int, float]) -> None:
    seeds, sd_round = cell
    reps = 150
    rates = label_rates(CURVES[name](LAST), reps=reps, seeds=seeds, sd_round=sd_round, boot=400, judge=found)
    decline = sum(rate for label, rate in rates.items() if "decline" in label)
    if name == "fall-10":
        assert decline >= 0.8
    else:
        assert decline <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / reps)


def test_one_seed_of_a_noisy_strategy_says_nothing_about_the_strategy() -> None:
    """The reason for the two levels: task-only error bars call training noise a decline."""
    shape = CURVES["flat"](LAST)
    one = label_rates(shape, reps=40, tasks=200, samples=8, seeds=1, sd_round=0.1, boot=200, judge=found)
    five = label_rates(shape, reps=40, tasks=200, samples=8, seeds=5, sd_round=0.1, boot=200, judge=found)

    def wrong(rates: dict[str, float]) -> float:
        return sum(rate for label, rate in rates.items() if "decline" in label or "rise" in label)

    assert wrong(one) > 0.3
    assert wrong(five) < 0.15


def test_training_noise_is_measured_and_too_much_of_it_refused() -> None:
    shape = CURVES["fall-10"](LAST)
    measured = [training_noise(run(shape, seeds=5, sd_round=0.15, draw=i)) for i in range(20)]
    assert np.mean([m for m in measured if m is not None]) == pytest.approx(0.15, abs=0.03)
    assert training_noise(run(shape, seeds=1)) is None
    noisy = classify(run(shape, seeds=3, sd_round=0.5), seed=0, boot=400)
    assert noisy.label is Label.INCONCLUSIVE
    assert any("too large for 3 seeds" in note for note in noisy.notes)
    assert not any("too large" in note for note in classify(run(shape, seeds=5), seed=0, boot=400).notes)


def test_same_arguments_same_phase() -> None:
    curves = run(CURVES["fall-5"](LAST), seeds=3)
    assert classify(curves, seed=4, boot=300) == classify(curves, seed=4, boot=300)
    assert classify(curves, seed=4, boot=300) != classify(curves, seed=5, boot=300)


def test_peaks_are_a_set_that_holds_the_true_one() -> None:
    shape = CURVES["fall-10"](LAST)
    missed = sum(
        3 not in classify(run(shape, tasks=100, draw=i), seed=i, boot=300).peak_rounds for i in range(60)
    )
    assert missed <= 6
    clear = classify(run([0, 3.0, 0, 0, 0, 0], tasks=300), seed=0, boot=300)
    assert clear.peak_rounds == (1,)
    assert (clear.rise_round, clear.fall_round) == (1, 1)


def test_split_halves_do_not_flatter_the_fall() -> None:
    """On flat curves the plain best-minus-end difference is well above 0, the split one is not."""
    phases = [classify(run([0.0] * 8, tasks=80, samples=4, draw=i), seed=i, boot=100) for i in range(120)]
    split = [p.split_drop for p in phases if p.split_drop is not None]
    plain = [p.fall.value for p in phases if p.fall]
    assert abs(np.mean(split)) < 0.006
    assert np.mean(plain) > 0.02


def test_final_minus_base_has_the_sign_of_the_change() -> None:
    phase = classify(run([0.0, 0.5, 1.0, 1.5, 1.5, 1.5]), seed=0, boot=300)
    assert phase.final_minus_base is not None
    assert phase.final_minus_base.low > 0.1


def test_mde_is_the_fall_that_is_found_four_times_in_five() -> None:
    sizes = [classify(run([0.0] * 8, tasks=150, samples=4, draw=i), seed=i, boot=300).mde for i in range(10)]
    fall = float(np.mean(sizes))
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(80):
        rates = np.clip(rng.normal(0.5, 0.25, (150, 1)), fall, 1.0) + np.array(
            [0, 0, 0, 0, 0, 0, -fall, -fall]
        )
        curve = exact((rng.binomial(4, np.clip(rates, 0, 1)) / 4).tolist())
        phase = classify([curve], seed=i, boot=300)
        hits += phase.fall is not None and phase.fall.low > 0
    assert 0.65 <= hits / 80 <= 1.0


def test_comparisons_use_only_tasks_with_a_value_in_both_rounds() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 0.1, (60, 6))
    values[:, 3:] -= 1.0
    holes = values.copy()
    holes[:30, 5] = math.nan  # half of the tasks have no value at the end
    holes[:30, 0] += 50.0  # and a wild one at the start, which must not be compared with the others' end
    phase = classify([exact(holes.tolist())], seed=0, boot=300)
    assert phase.fall is not None
    assert phase.fall.value == pytest.approx(1.0, abs=0.15)
    assert phase.label is Label.DECLINE


@pytest.mark.parametrize("seeds", [1, 3])
def test_rounds_that_few_tasks_share_are_not_compared(seeds: int) -> None:
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(seeds):
        values = rng.normal(2.0, 0.1, (60, 6))
        values[:, 4:] -= 1.0
        values[2:, 4:] = math.nan  # a fall on two tasks, however steep, is no fall of the checkpoints
        curves.append(exact(values.tolist()))
    phase = classify(curves, seed=0, boot=200)
    assert phase.label is Label.INCONCLUSIVE
    assert phase.fall is phase.final_minus_base is None


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_round_without_any_value_is_left_out_with_a_note(seeds: int) -> None:
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(seeds):
        values = rng.normal(1.0, 0.1, (30, 6)) + np.array([0, 1, 2, 2, 2, 2])
        values[:, 1] = math.nan
        curves.append(exact(values.tolist()))
    phase = classify(curves, seed=0, boot=200)
    assert phase.label in (Label.RISE, Label.RISE_PLATEAU)
    assert any("fewer than 8 independent tasks with a value" in note for note in phase.notes)
    assert not math.isnan(phase.critical)


def test_no_value_at_all_is_inconclusive() -> None:
    phase = classify([exact([[math.nan] * 5] * 20)], seed=0, boot=100)
    assert phase.label is Label.INCONCLUSIVE
    assert phase.rise is phase.fall is phase.final_minus_base is None
    assert (phase.p_rise, phase.p_fall, phase.p_plateau) == (1.0, 1.0, 1.0)


def test_curves_without_variation() -> None:
    stuck = classify([exact([[0.0] * 6] * 20)], seed=0, boot=100)
    assert stuck.label is Label.FLAT
    assert stuck.p_fall == 1.0
    step = classify([exact([[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]] * 20)], seed=0, boot=100)
    assert step.label is Label.RISE_PLATEAU
    assert step.plateau_from == 1


def test_few_tasks_and_short_runs() -> None:
    few = classify([exact([[0.0, 1.0, 1.0, 1.0, 1.0]] * 5)], seed=0, boot=100)
    assert few.label is Label.INCONCLUSIVE
    assert any("only 5 independent tasks" in note for note in few.notes)
    two = classify(
        [exact(np.random.default_rng(0).normal([0.0, 1.0], 0.1, (20, 2)).tolist())], seed=0, boot=100
    )
    assert two.label is Label.RISE
    with pytest.raises(ValueError, match="at least 2"):
        classify([exact([[0.0]])], seed=0)
    with pytest.raises(ValueError, match="common number of rounds"):
        classify([exact([[0.0, 1.0]]), exact([[0.0, 1.0, 2.0]])], seed=0)
    with pytest.raises(ValueError, match="one cluster per row"):
        Curve(values=np.zeros((3, 4)), clusters=("a",))


@pytest.mark.parametrize("seeds", [2, 3])
def test_shared_tasks_make_seeds_dependent(seeds: int) -> None:
    """Copies of one seed on the same tasks add nothing; on tasks of their own they would."""
    one = run([0.0] * 8, tasks=100)[0]
    copies = [one] * seeds
    crossed = classify(copies, seed=0, boot=1000, crossed=True)
    nested = classify(copies, seed=0, boot=1000)
    assert crossed.mde > 1.2 * nested.mde


def test_clusters_of_copied_tasks_do_not_add_evidence() -> None:
    one = run([0.0] * 8, tasks=100)[0]
    tenfold = Curve(
        values=np.repeat(one.values, 10, axis=0), clusters=tuple(np.repeat(one.clusters, 10).tolist())
    )
    assert classify([tenfold], seed=0, boot=500).mde == pytest.approx(classify([one], seed=0, boot=500).mde)


def phases(success: list[float], variety: list[float]) -> tuple[Phase, Phase]:
    rng = np.random.default_rng(1)
    both: list[Callable[[], Curve]] = [
        lambda: run(success)[0],
        lambda: exact(
            (rng.normal(2.0, 0.3, (150, 1)) + np.array(variety) + rng.normal(0, 0.2, (150, 8))).tolist()
        ),
    ]
    first, second = (classify([make()], seed=0, boot=500) for make in both)
    return first, second


def test_silent_collapse_needs_both_halves() -> None:
    up, down, level = (
        [0, 0.4, 0.8, 1.2, 1.2, 1.2, 1.2, 1.2],
        [0, -0.1, -0.3, -0.5, -0.6, -0.7, -0.8, -0.8],
        [0.0] * 8,
    )
    assert silent_collapse(*phases(up, down)).claimed
    assert not silent_collapse(*phases(up, level)).claimed
    assert not silent_collapse(*phases([-x for x in up], down)).claimed  # not silent: success falls as well
    success, variety = phases(up, down)
    assert not silent_collapse(replace(success, label=Label.INCONCLUSIVE), variety).claimed
    assert silent_collapse(replace(success, p_rise=0.3, p_plateau=1.0), variety).p == pytest.approx(0.6)


def record(round: int, tasks: tuple[str, ...], **columns: tuple[float, ...]) -> RoundRecord:
    per_task = {name.replace("_at_", "@").replace("__", "/"): column for name, column in columns.items()}
    metrics = RoundMetrics(round=round, values={}, task_ids=tasks, clusters=tasks, per_task=per_task)
    return RoundRecord(arm="replace", seed=0, metrics=metrics, checkpoint_in="base", checkpoint_out=None)


def test_curves_come_from_round_records() -> None:
    both = ("a", "b")
    halves = {"pass_at_1__even": (1.0, 0.0), "pass_at_1__odd": (0.0, 0.0)}
    first = record(0, both, pass_at_1=(0.5, 0.0), **halves)
    curve = curve_of([first, record(1, both, pass_at_1=(1.0, 0.25), **halves)], "pass@1")
    assert curve.values.tolist() == [[0.5, 1.0], [0.0, 0.25]]
    assert curve.clusters == both
    assert curve.halves is not None
    assert curve.halves[0].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="round 1 has no pass@1 on the tasks of round 0"):
        curve_of([first, record(1, ("a", "c"), pass_at_1=(1.0, 0.25))], "pass@1")
