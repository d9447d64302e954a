"""Reproductions: the exact laws, what the tail table must show, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.reproduce.__main__ import app
from experiments.reproduce.catalogue import CATALOGUE, named
from experiments.reproduce.categorical import ARMS, gini_simpson, law, refit, strata, tail_loss, zipf
from experiments.reproduce.outcome import Check, Outcome, facts, text
from plateau_bench.harness.cli.terminal import call
from plateau_bench.results.report.small_multiples import Line, Panel, save_figure


@given(st.integers(2, 500), st.integers(1, 30), st.floats(0.01, 0.99))
def test_the_law_of_accumulating_never_falls_below_its_bound(n: int, generations: int, start: float) -> None:
    accumulate = law(start, n, generations, accumulate=True)
    assert (np.diff(accumulate) < 0).all()
    assert (accumulate >= start * (1 - (np.pi**2 / 6 - 1) / n)).all()
    assert (accumulate >= law(start, n, generations, accumulate=False)).all()


@pytest.mark.parametrize("accumulate", [False, True])
def test_refits_follow_the_law_in_every_generation(accumulate: bool) -> None:
    p = zipf(50)
    found = refit(p, 40, 5, 6000, 7, accumulate=accumulate)
    expected = law(float(gini_simpson(p)), 40, 5, accumulate=accumulate)
    se = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.abs(found.mean(axis=0) - expected)[1:] == pytest.approx(0, abs=float(4 * se[1:].max()))
    other = law(float(gini_simpson(p)), 40, 5, accumulate=not accumulate)
    assert abs(found.mean(axis=0)[-1] - other[-1]) > 6 * se[-1]  # the test can tell the laws apart


def test_strata_split_the_probability() -> None:
    p = zipf(2000)
    masks = strata(p)
    assert sum(mask.sum() for mask in masks.values()) == p.size
    assert p[masks["head"]].sum() == pytest.approx(0.5, abs=0.03)
    assert p[masks["tail"]].sum() == pytest.approx(0.1, abs=0.01)


def test_a_type_that_is_lost_under_replace_never_comes_back() -> None:
    lost = tail_loss(zipf(300), ARMS["replace"], 200, 6, 1, seed=3).support
    assert (np.diff(lost) <= 0).all()
    assert (np.diff(tail_loss(zipf(300), ARMS["accumulate"], 200, 6, 1, seed=3).support) == 0).all()


@pytest.mark.parametrize("arm", ARMS.values(), ids=list(ARMS))
def test_every_arm_keeps_its_budget(arm: object) -> None:
    """Support can never exceed the draws, and the same seed gives the same table."""
    first, again = (tail_loss(zipf(100), arm, 50, 3, 2, seed=5) for _ in range(2))  # type: ignore[arg-type]
    assert (first.support <= 50 * (4 if arm == ARMS["accumulate"] else 1)).all()
    assert (first.kl == again.kl).all()


def test_command_prints_criteria_and_leaves_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(app, ["E5b", "--quick", "--out", str(tmp_path)])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "met     accumulate keeps" in shown
    assert "quick: sizes are too small for any claim" in shown
    found = json.loads((tmp_path / "E5b.json").read_text())
    assert found["command"] == "python -m experiments.reproduce E5b --quick"
    assert found["met"] == all(check["met"] for check in found["checks"])
    assert (tmp_path / "E5b.png").stat().st_size < 100_000


def test_command_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(app, ["e5", "--quick", "--json", "--out", str(tmp_path)])
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "E5.json").read_text())


def test_list_names_every_reproduction(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(app, ["list"])
    shown = capsys.readouterr().out
    assert all(one.name in shown and one.source in shown for one in CATALOGUE.values())


def test_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(app, ["E99"])
    assert stop.value.code == 1
    assert "choose one of E" in capsys.readouterr().err


def test_a_missed_criterion_is_told_as_one(tmp_path: Path) -> None:
    checks = (
        Check(criterion="falls", met=True, figures="-1"),
        Check(criterion="rises", met=False, figures="-1"),
    )
    outcome = Outcome(
        checks=checks,
        table=(("a", "long header"), ("wide cell", "b")),
        panels=(Panel(title="t", lines=(Line(label="a", y=(1.0, 2.0), low=(0.5, 1.0), high=(2.0, 3.0)),)),),
        seeds=(1,),
        notes=("small",),
    )
    shown = text(named("E5"), outcome)
    assert "MISSED  rises" in shown
    assert shown.endswith("E5: MISSED (1 of 2 criteria)")
    assert not facts(named("E5"), outcome, {})["met"]
    save_figure(tmp_path / "figure.png", outcome.panels)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
