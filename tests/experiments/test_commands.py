"""The commands that ask a finished run, from its folder to what is printed; and the detector's."""

import json
from pathlib import Path

import pytest
import typer

from experiments.article.__main__ import app as article
from experiments.detector.__main__ import app as detector
from experiments.warnings.__main__ import app as warnings
from plateau_bench.harness.cli.terminal import call
from tests.results.planted import planted, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(planted(arms=5, seeds=3, rounds=8, tasks=30, noise=1), tmp_path_factory.mktemp("run"))


def said(capsys: pytest.CaptureFixture[str], app: typer.Typer, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        call(app, arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_warnings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, warnings, str(folder), "--json"))
    assert found["arms"] == 5
    assert found["candidates"][0]["name"]
    few = said(capsys, warnings, str(folder), "--metrics", "omen,hill1", "--top", "8")
    assert "threshold guard" in few
    assert "partly regression to the mean" in few


def test_generations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, article, str(folder), "--arm", "arm-1", "--json"))["generations"]
    assert [row["round"] for row in rows] == list(range(8))
    with pytest.raises(SystemExit) as end:
        call(article, [str(folder)])
    assert end.value.code == 1
    assert "no arm 'unverified'" in capsys.readouterr().err


def test_detector_prints_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--curves", "flat,fall-10", "--tasks", "20", "--samples", "2", "--seeds", "1", "--sd-round", "0"]
    out = said(capsys, detector, *small, "--reps", "3", "--processes", "1", "--json")
    assert [row["curve"] for row in json.loads(out)["cells"]] == ["flat"] * 4 + ["fall-10"] * 4
    page = tmp_path / "page"
    table = said(capsys, detector, *small, "--reps", "2", "--processes", "1", "--out", str(page), "--rivals")
    assert "segmented" in table
    assert (page / "detector.html").exists()
    with pytest.raises(SystemExit):
        call(detector, ["--tasks", "many"])
    assert "--tasks 'many': numbers separated by commas" in capsys.readouterr().err
