"""Criteria of the reproductions that are runs of the loop, as functions of what a run left behind.

Rounds are compared by PDT-1 where a rise or a fall is claimed. "The end" is the mean of the final two rounds.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from scipy.stats import spearmanr

from experiments.reproduce.outcome import Check, Outcome
from plateau_bench.results.claims.arms import Rounds, arms_of, curve
from plateau_bench.results.claims.labels import phase
from plateau_bench.results.claims.pdt1 import WINDOW
from plateau_bench.results.metrics.estimators import (
    Floats,
    cluster_codes,
    over_seeds,
    resample_counts,
    two_level,
)
from plateau_bench.results.records import Estimate, RoundRecord, RunResults
from plateau_bench.results.report.small_multiples import Panel, banded

FALLS = ("decline", "rise->decline")
RISES = ("rise", "rise->plateau", "rise->decline")
BOOT = 2000


def _arms(results: RunResults, wanted: Sequence[str]) -> dict[str, Rounds]:
    return arms_of(results, wanted, more_than=WINDOW)


def change(rounds: Rounds, metric: str) -> float:
    """The end minus round 0, on the tasks that have a value in all rounds compared; mean over seeds."""
    found = phase(rounds, metric).final_minus_base
    return found.value if found else math.nan


def rise_and_narrowing(results: RunResults) -> Outcome:
    """E2: pass@1 rises while variety falls; two remedies against the narrowing."""
    arms = _arms(results, ("replace", "dedupe_cap", "inverse_freq"))
    replace = arms["replace"]
    success, variety, coverage = (phase(replace, metric) for metric in ("pass@1", "hill1", "pass@8"))
    base = fmean(curve(replace, "hill1")[:, 0])
    lost = {name: -change(rounds, "hill1") for name, rounds in arms.items()}
    gain = coverage.final_minus_base
    checks = [
        Check(
            criterion="replace: PDT-1 finds a rise of pass@1",
            met=success.label in RISES,
            figures=f"{success.label}; {_told(success.rise)} at round {success.rise_round}",
        ),
        Check(
            criterion="replace: PDT-1 finds a decline of Hill-1 of correct programs, of 15 % or more",
            met=variety.label in FALLS and lost["replace"] >= 0.15 * base,
            figures=f"{variety.label}; {lost['replace']:.2f} of {base:.2f}, {lost['replace'] / base:.0%}",
        ),
        Check(
            criterion="replace: pass@8 at the end is not up (the interval excludes a gain above 2 points)",
            met=gain is not None and gain.high < 0.02,
            figures=_told(gain),
        ),
    ]
    checks += [
        Check(
            criterion=f"{name} loses at most half of the Hill-1 that replace loses",
            met=lost[name] <= lost["replace"] / 2,
            figures=f"{lost[name]:.2f} against {lost['replace']:.2f}",
        )
        for name in ("dedupe_cap", "inverse_freq")
    ]
    return _outcome(arms, checks)


LEAKS = {"leak_05": 0.05, "leak_10": 0.10, "leak_20": 0.20}


def leaky_verifier(results: RunResults) -> Outcome:
    """E3: a verifier that lets wrong programs through makes success rise and then fall."""
    arms = _arms(results, tuple(LEAKS))
    labels = {seed: phase({seed: r}, "pass@1").label for seed, r in arms["leak_20"].items()}
    gaps = [
        min(1 - r.training["precision_own"] for r in records if r.training.get("precision_own") is not None)
        for records in arms["leak_20"].values()
    ]
    peaks = [_peak(curve(arms[name], "pass@1")) for name in LEAKS]
    checks = [
        Check(
            criterion="20 % of wrong programs accepted: PDT-1 finds rise->decline of pass@1 in every seed",
            met=all(label == "rise->decline" for label in labels.values()),
            figures=", ".join(f"seed {seed}: {label}" for seed, label in labels.items()),
        ),
        Check(
            criterion="20 %: some of what was accepted is wrong, in every round of every seed",
            met=all(gap > 0 for gap in gaps),
            figures="smallest share of wrong ones " + ", ".join(f"{gap:.1%}" for gap in gaps),
        ),
        Check(
            criterion="the more is let through, the sooner the peak (rounds of the smoothed mean curve)",
            met=peaks[0] >= peaks[1] >= peaks[2] and peaks[0] > peaks[2],
            figures=", ".join(f"{fp:.0%}: round {p}" for fp, p in zip(LEAKS.values(), peaks, strict=True)),
        ),
    ]
    return _outcome(arms, checks)


def _peak(values: Floats) -> int:
    """Round of the highest 3-round mean of the curve averaged over seeds; ends are means of two."""
    mean = values.mean(axis=0)
    return int(np.argmax([mean[max(0, t - 1) : t + 2].mean() for t in range(mean.size)]))


def controls(results: RunResults) -> Outcome:
    """E4: where nothing should decline, PDT-1 finds no decline."""
    arms = _arms(results, ("no_train", "fresh_human_only"))
    checks = []
    for name, rounds in arms.items():
        labels = [phase({seed: records}, "pass@1").label for seed, records in rounds.items()]
        falls = sum(label in FALLS for label in labels)
        checks.append(
            Check(
                criterion=f"{name}: at most 1 run in 20 is called a decline of pass@1",
                met=falls <= len(labels) / 20,
                figures=f"{falls} of {len(labels)}; "
                + ", ".join(f"{labels.count(label)} x {label}" for label in dict.fromkeys(labels)),
            )
        )
    return _outcome(arms, checks)


def tail_first(results: RunResults) -> Outcome:
    """E6: rare knowledge is lost before common knowledge; fresh human data halves the difference."""
    arms = _arms(results, ("replace", "fresh_10"))
    gap = {name: retention_gap(rounds) for name, rounds in arms.items()}
    kept = {
        name: {s: float(np.mean(retained(rounds, s))) for s in ("head", "torso", "tail")}
        for name, rounds in arms.items()
    }
    checks = [
        Check(
            criterion="replace: tail tasks keep less of their pass@1 than head tasks (95 % interval above 0)",
            met=gap["replace"].low > 0,
            figures=f"head {kept['replace']['head']:.2f}, tail {kept['replace']['tail']:.2f}; "
            f"difference {_ratio_told(gap['replace'])}",
        ),
        Check(
            criterion="10 % fresh human programs at least halve that difference",
            met=gap["replace"].low > 0 and gap["fresh_10"].value <= gap["replace"].value / 2,
            figures=f"head {kept['fresh_10']['head']:.2f}, tail {kept['fresh_10']['tail']:.2f}; "
            f"difference {_ratio_told(gap['fresh_10'])} against {gap['replace'].value:+.2f}",
        ),
    ]
    return _outcome(arms, checks, metrics=("pass@1/head", "pass@1/torso", "pass@1/tail", "hill1"))


def retained(rounds: Rounds, stratum: str) -> list[float]:
    """Per seed: pass@1 at the end over pass@1 of round 0, over the tasks of a stratum."""
    return [float(r[0]) for r in (_retained(records, stratum, 0, 1) for records in rounds.values())]


def retention_gap(rounds: Rounds) -> Estimate:
    """Retention of head tasks minus that of tail tasks; two-level bootstrap of seeds and task clusters."""
    seeds = []
    for i, records in enumerate(rounds.values()):
        head, tail = (_retained(records, stratum, i, BOOT) for stratum in ("head", "tail"))
        seeds.append(head - tail)
    table = np.array(seeds)
    replicates = two_level(table[:, 1:, None], 0)[:, 0]
    return over_seeds(float(table[:, 0].mean()), replicates, len(seeds), (-math.inf, math.inf))


def _retained(records: Sequence[RoundRecord], stratum: str, stream: int, boot: int) -> Floats:
    """The ratio, then `boot` resamples of it over the stratum's task clusters."""
    first = records[0].metrics
    here = np.array([s == stratum for s in first.strata])
    score = [np.array(r.metrics.per_task["pass@1"]) for r in (records[0], *records[-WINDOW:])]
    codes, groups = cluster_codes([c for c, keep in zip(first.clusters, here, strict=True) if keep])
    bottom, *ends = (np.bincount(codes, s[here], groups) for s in score)
    top = np.mean(ends, axis=0)
    weights = np.vstack([np.ones(groups), resample_counts(groups, boot, 0, 2 * stream + (stratum == "tail"))])
    return np.asarray((weights @ top) / np.maximum(weights @ bottom, 1e-9))


SAMPLERS = {"T_0_6": 0.6, "replace": 0.8, "T_1_0": 1.0, "T_1_2": 1.2}


def sampler(results: RunResults) -> Outcome:
    """E8: the lower the practice temperature, the faster variety is lost."""
    arms = _arms(results, tuple(SAMPLERS))
    speed = np.array([_loss_per_round(arms[name]) for name in SAMPLERS])  # temperatures x seeds
    mean = speed.mean(axis=1)
    ranks = [float(spearmanr(list(SAMPLERS.values()), -column).statistic) for column in speed.T]
    checks = [
        Check(
            criterion="Hill-1 lost per round falls with the practice temperature, T = "
            + ", ".join(map(str, SAMPLERS.values())),
            met=bool((np.diff(mean) < 0).all()),
            figures=" > ".join(f"{value:.3f}" for value in mean)
            + " (in order of T; Spearman by seed "
            + ", ".join(f"{rank:.1f}" for rank in ranks)
            + ")",
        ),
        Check(
            criterion="T = 0.6 loses more than T = 1.2 in every seed",
            met=bool((speed[0] > speed[-1]).all()),
            figures=", ".join(f"{a:.3f} against {b:.3f}" for a, b in zip(speed[0], speed[-1], strict=True)),
        ),
    ]
    return _outcome(arms, checks)


def _loss_per_round(rounds: Rounds) -> list[float]:
    """Per seed: Hill-1 lost from round 0 to the end, over the rounds between."""
    values = curve(rounds, "hill1")
    between = values.shape[1] - 1 - (WINDOW - 1) / 2
    return [float((row[0] - row[-WINDOW:].mean()) / between) for row in values]


def _outcome(
    arms: Mapping[str, Rounds],
    checks: Sequence[Check],
    metrics: Sequence[str] = ("pass@1", "pass@8", "hill1"),
) -> Outcome:
    measured = [m for m in metrics if all(np.isfinite(curve(r, m)).all() for r in arms.values())]
    seeds = tuple(next(iter(arms.values())))
    return Outcome(
        checks=tuple(checks),
        table=tuple(_table(arms, measured)),
        panels=tuple(
            Panel(
                title="Hill-1 of correct programs" if metric == "hill1" else metric.replace("/", ", "),
                x_label="round",
                lines=tuple(banded(name, curve(rounds, metric)) for name, rounds in arms.items()),
            )
            for metric in measured
        ),
        seeds=seeds,
        notes=(f"{len(seeds)} training seeds; bands in the figure run from the lowest to the highest seed",),
    )


def _table(arms: Mapping[str, Rounds], metrics: Sequence[str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("arm", *(f"{m}: base, best, end" for m in metrics), "PDT-1 on pass@1")]
    for name, rounds in arms.items():
        cells = []
        for metric in metrics:
            mean = curve(rounds, metric).mean(axis=0)
            found = (mean[0], mean.max(), mean[-WINDOW:].mean())
            cells.append(", ".join(f"{v:.2f}" if metric == "hill1" else f"{v:.1%}" for v in found))
        rows.append((name, *cells, str(phase(rounds, "pass@1").label)))
    return rows


def _told(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no value"
    return f"{100 * estimate.value:+.1f} points ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"


def _ratio_told(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"
