"""The example of a plug-in is installed like any package, and each of its parts is used by its name."""

import csv
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.model_server import ModelServer, text_of

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"
LINES = 200
ANSWERS = {"sum": "sum(a)", "largest": "max(a)", "sorts": "a"}
"""A word of an instruction -> what the scripted model returns; it cannot sort."""


def plateau(site: Path, folder: Path, *arguments: str) -> str:
    """Run the command in `folder`, with what is installed in `site`; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "plateau_bench.harness", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the plug-in and nothing else."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")  # a build leaves files beside what it builds
    isolation = ["--no-build-isolation"] if find_spec("setuptools") else []
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps"]
    target = ["--target", str(folder / "site"), str(folder / "source")]
    subprocess.run([*command, *isolation, *target], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def run(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings = ["--executor", "in-order", "--out", str(folder / "run")]
    plateau(site, folder, "run", str(PLUGIN / "run.yaml"), *settings)
    return folder / "run"


def test_it_is_short() -> None:
    files = [PLUGIN / "pyproject.toml", *PLUGIN.glob("plateau_example/*.py")]
    assert sum(len(file.read_text().splitlines()) for file in files) < LINES


@pytest.mark.slow
@pytest.mark.bwrap
def test_strategy_improver_executor_metric_and_suite_play_two_rounds(run: Path) -> None:
    report: dict[str, Any] = json.loads((run / "report.json").read_text())
    short, everything = (report["arms"][name]["rounds"] for name in ("short", "all"))
    assert [one["metrics"]["pass@1"]["value"] for one in everything] == [0.25, 1.0, 1.0]
    # The strategy left out the longest success, so its arm does not remember how to sort.
    assert short[2]["metrics"]["pass@1"]["value"] == pytest.approx(2 / 3)
    remembered = [
        json.loads((run / f"seed-1/{arm}/round-01/checkpoint/memory.json").read_text())
        for arm in ("short", "all")
    ]
    assert [len(one) for one in remembered] == [2, 3]
    lengths = [one["metrics"]["answer_length"]["value"] for one in everything]
    programs = [f"def f(a):\n    return {name}(a)\n" for name in ("sum", "max", "sorted")]
    assert lengths[1] == pytest.approx(sum(map(len, programs)) / 3)
    assert "Length of an answer" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.bwrap
def test_export_writes_a_table(site: Path, run: Path, tmp_path: Path) -> None:
    plateau(site, tmp_path, "export", str(run), "--format", "csv", "--arm", "all", "--out", "exported")
    with (tmp_path / "exported" / "attempts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    held_out, train = 3 * 3 * 8, 2 * 3 * 4
    assert len(rows) == held_out + train
    assert {
        row["answer"] for row in rows if row["round"] == "2" and row["task_id"].startswith("lists/sum")
    } == {"def f(a):\n    return sum(a)\n"}


@pytest.mark.slow
@pytest.mark.bwrap
def test_agent_and_suite_in_the_backend_are_evaluated(site: Path, tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> dict[str, Any]:
        told, asked = map(text_of, body["messages"])
        assert told.startswith("Answer with one Python function")
        (answer,) = (text for word, text in ANSWERS.items() if word in asked)
        return {"content": f"```python\ndef f(a):\n    return {answer}\n```"}

    with ModelServer(script) as server:
        described = {"name": "briefed", "kind": "briefed", "model": "openai:m", "base_url": server.url}
        (tmp_path / "briefed.yaml").write_text(json.dumps(described))
        where = ["--suite", "lists", "--sandbox", "frugal", "--tasks", "3", "-n", "1", "--out", "out"]
        plateau(site, tmp_path, "eval", "--agent", "oracle", "--agent", "briefed.yaml", *where)
    evaluated = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert evaluated["suite"] == "lists"
    outcomes = {
        row["task_id"].split("/")[1].split("-")[0]: row["verdict"]["outcome"]
        for row in map(json.loads, (tmp_path / "out/briefed/attempts.jsonl").read_text().splitlines())
    }
    assert outcomes == {"sum": "passed", "max": "passed", "sorted": "failed"}
    assert (tmp_path / "out/oracle/attempts.jsonl").read_text().count('"passed"') == 3


@pytest.mark.slow
@pytest.mark.bwrap
def test_backend_is_found_by_name_and_gives_its_boxes_less_memory(site: Path, tmp_path: Path) -> None:
    assert "frugal box" in plateau(site, tmp_path, "sandbox", "doctor")
    program = (
        "from plateau_bench.sandbox import open_backend\n"
        "box = open_backend('frugal').open()\n"
        "print(box.spec.memory_mb, box.run('python3 -c \"bytearray(300 << 20)\"').exit_code)\n"
        "box.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    memory, code = done.stdout.split()
    assert memory == "128", done.stderr
    assert code != "0"
