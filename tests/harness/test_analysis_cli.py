"""The analysis commands, from a run folder on disk to what is printed."""

import json
from pathlib import Path

import pytest

from plateau_bench.harness.cli.app import main
from plateau_bench.results.records import RunResults
from plateau_bench.results.store import RunStore, record_to_json, write_json
from tests.results.planted import planted


def save(results: RunResults, root: Path) -> Path:
    store = RunStore(root)
    config = {"arms": {arm: {} for arm in results.rounds}, "seeds": results.config["seeds"]}
    write_json(store.manifest, {"name": results.name, "config": config, "environment": {}})
    for arm, by_seed in results.rounds.items():
        for seed, records in by_seed.items():
            for t, record in enumerate(records):
                write_json(store.round(seed, arm, t).record, record_to_json(record))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(planted(arms=5, seeds=3, rounds=8, tasks=30, noise=1), tmp_path_factory.mktemp("run"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_warnings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "warnings", str(folder), "--json"))
    assert found["arms"] == 5
    assert found["candidates"][0]["name"]
    few = said(capsys, "warnings", str(folder), "--metrics", "omen,hill1", "--top", "8")
    assert "threshold guard" in few
    assert "partly regression to the mean" in few


def test_remedies_and_generations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(said(capsys, "remedies", str(folder), "--json"))
    assert content["base"] == "arm-0"
    assert "arm-4" in said(capsys, "remedies", str(folder))
    rows = json.loads(said(capsys, "generations", str(folder), "--arm", "arm-1", "--json"))["generations"]
    assert [row["round"] for row in rows] == list(range(8))
    with pytest.raises(SystemExit) as end:
        main(["generations", str(folder)])
    assert end.value.code == 1
    assert "no arm 'unverified'" in capsys.readouterr().err


def test_validate_detector_prints_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--curves", "flat,fall-10", "--tasks", "20", "--samples", "2", "--seeds", "1", "--sd-round", "0"]
    out = said(capsys, "validate-detector", *small, "--reps", "3", "--processes", "1", "--json")
    assert [row["curve"] for row in json.loads(out)["cells"]] == ["flat"] * 4 + ["fall-10"] * 4
    page = tmp_path / "page"
    table = said(
        capsys, "validate-detector", *small, "--reps", "2", "--processes", "1", "--out", str(page), "--rivals"
    )
    assert "segmented" in table
    assert (page / "detector.html").exists()
    with pytest.raises(SystemExit):
        main(["validate-detector", "--tasks", "many"])
    assert "--tasks 'many': numbers separated by commas" in capsys.readouterr().err
