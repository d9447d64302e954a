"""`plateau remedies` and `plateau validate-detector`, from their arguments to what is printed."""

import json
from pathlib import Path

import numpy as np
import pytest

from plateau_bench.harness.cli.app import main
from plateau_bench.results.validation import error_rates
from plateau_bench.results.validation.error_rates import CLAIMS, Cell, Design
from tests.results.planted import planted, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(planted(arms=5, seeds=3, rounds=8, tasks=30, noise=1), tmp_path_factory.mktemp("run"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_remedies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(said(capsys, "remedies", str(folder), "--json"))
    assert content["base"] == "arm-0"
    assert "arm-4" in said(capsys, "remedies", str(folder))


def test_validate_detector_prints_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--curves", "flat,fall-10", "--tasks", "20", "--samples", "2", "--seeds", "1", "--sd-round", "0"]
    out = said(capsys, "validate-detector", *small, "--reps", "3", "--processes", "1", "--json")
    assert [row["curve"] for row in json.loads(out)["cells"]] == ["flat"] * 3 + ["fall-10"] * 3
    table = said(capsys, "validate-detector", *small, "--reps", "2", "--processes", "1")
    assert [line.split()[:3] for line in table.splitlines() if "decline" in line] == [
        ["flat", "decline", "false"], ["fall-10", "decline", "true"]
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        main(["validate-detector", "--curves", "jump"])
    assert "no curve 'jump'; known: flat, rise" in capsys.readouterr().err


def test_a_missed_criterion_is_told_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def always(design: Design, reps: int, watch: object = None) -> Cell:
        return Cell(design=design, claimed={name: np.ones(reps, dtype=bool) for name in CLAIMS})

    monkeypatch.setattr(error_rates, "try_cell", always)
    with pytest.raises(SystemExit) as end:
        main(["validate-detector", "--curves", "flat", "--reps", "100", "--processes", "1"])
    assert end.value.code == 1
    told = capsys.readouterr()
    assert told.out.count("MISSED") == 2
    assert "missed: false claims of decline on flat, training noise 0.1: 1.000" in told.err
