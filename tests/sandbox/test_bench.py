"""The tools around boxes: bench, soak, doctor, clean."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.boxes.measure import cpu_clock, measure, show
from experiments.boxes.soak import soak
from experiments.boxes.systems import NoSandbox, Peer
from experiments.boxes.workloads import Step, check, drive, puzzles
from plateau_bench.sandbox import Backend
from plateau_bench.sandbox.checks.doctor import Fact, examine
from plateau_bench.sandbox.cli import app


def test_drive_counts_units_and_keeps_its_time() -> None:
    live: list[int] = []
    seen: list[int] = []
    lock = threading.Lock()

    @contextmanager
    def worker() -> Iterator[Step]:
        def step() -> int:
            with lock:
                live.append(1)
                seen.append(len(live))
            time.sleep(0.02)
            with lock:
                live.pop()
            return 5

        yield step

    cell = drive(worker, 4, 0.1)
    assert max(seen) == 4
    assert cell.units == 5 * len(cell.walls) >= 20
    assert 0.1 <= cell.elapsed < 5
    assert all(wall >= 0.02 / 5 for wall in cell.walls)
    assert len(drive(worker, 2, 0.0).walls) == 2


def test_drive_raises_what_a_step_raised() -> None:
    @contextmanager
    def worker() -> Iterator[Step]:
        def step() -> int:
            raise ValueError("wrong answer")

        yield step

    with pytest.raises(ValueError, match="wrong answer"):
        drive(worker, 3, 1.0)


def test_wrong_results_do_not_count() -> None:
    good = ["", "42\n", "def total(prices):\n    return sum(prices)\n"]
    check(good, 0, "Ran 2 tests in 0.001s\n\nOK\n")
    for answers, code, output in (
        (good[:2], 0, "Ran 2 tests OK"),
        (good, 1, "Ran 2 tests OK"),
        (good, 0, ""),
    ):
        with pytest.raises(ValueError):
            check(answers, code, output)


def test_the_puzzles_are_right_and_the_reference_does_them() -> None:
    assert len({p.source for p in puzzles()}) == 32
    assert {len(p.calls) for p in puzzles()} == {10}
    reference = NoSandbox()
    for _ in range(4):  # one of each kind; `_w3` raises unless every assertion of the script holds
        assert reference._w3() == 1


def test_a_cgroup_without_accounts_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cpu.stat"):
        cpu_clock(str(tmp_path))
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert cpu_clock(str(tmp_path))[0]() == 2.5


def test_a_peer_that_is_not_there_says_so() -> None:
    with pytest.raises(RuntimeError, match="minisweagent"):
        Peer(sys.executable, "mini")


def test_an_unknown_workload_is_named() -> None:
    result = CliRunner().invoke(app, ["bench", "--workload", "w9"])
    assert isinstance(result.exception, ValueError)
    assert "w9" in str(result.exception)


@pytest.mark.slow
def test_measure_gives_every_figure(backend: Backend) -> None:
    figures = measure([backend.name], rounds=1, seconds=0.0, concurrency=(1, 2))
    assert set(figures) == {"w", "w2", "w3", "command"}
    for workload, systems in figures.items():
        assert set(systems) == {"no sandbox", backend.name}
        for levels in systems.values():
            assert set(levels) == ({"1"} if workload == "command" else {"1", "2"})
            for figure in levels.values():
                assert {"wall_p50", "wall_p95", "per_s", "cpu_s", "cpu_ratio"} < set(figure)
                assert figure["wall_p50"] > 0
                assert figure["per_s"] > 0
    assert json.loads(json.dumps(figures)) == figures
    assert show(figures).row_count == 2 * (3 * 2 + 1)


@pytest.mark.slow
def test_a_short_soak_leaves_nothing(backend: Backend) -> None:
    found = soak(backend.name, 12, 3)
    assert (found["failures"], found["first failure"]) == (0, "")
    ours = ("boxes", "commands", "containers", "own descriptors", "own children")
    assert {key: found[f"left: {key}"] for key in ours} == dict.fromkeys(ours, 0)


def test_doctor_always_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with nothing, it says what to install."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("PATH", "/nonexistent")
    findings = list(examine())
    assert all(isinstance(f, Fact) and "\n" not in f.text for f in findings)
    found = {f.about: f for f in findings}
    assert found["docker"].good is False
    assert "start a Docker engine" in found["docker"].text
    assert "install bubblewrap" in found["bubblewrap"].text
    assert found["verdict"].good is False


def test_doctor_describes_a_working_backend(backend: Backend) -> None:
    found = {f.about: f for f in examine()}
    assert found[f"{backend.name} box"].good is True
    assert found[f"{backend.name} walls"].good is True, found[f"{backend.name} walls"]


def test_clean_and_doctor_run_from_the_command_line() -> None:
    cleaned = CliRunner().invoke(app, ["clean"])
    assert cleaned.exit_code == 0, cleaned.output
    assert {line.split(":")[0] for line in cleaned.output.splitlines()} >= {"docker", "bubblewrap"}
