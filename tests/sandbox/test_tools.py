"""The tools around boxes: doctor and clean."""

import pytest
from typer.testing import CliRunner

from plateau_bench.sandbox import Backend
from plateau_bench.sandbox.checks.doctor import Fact, examine
from plateau_bench.sandbox.cli import app


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
