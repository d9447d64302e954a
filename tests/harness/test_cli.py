"""Bad input on the command line: one line on stderr, exit code not 0, no traceback."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from plateau_bench.harness.cli.app import main


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def plateau(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "my.yaml: no such file"),
        ("name: x\narms: {a: {strategy: replace}}\nroundz: 3", "unknown key roundz; did you mean rounds"),
        ("name: x\narms: {a: {strategy: replace}}\nrounds: many", "rounds: expected a whole number, got str"),
        ("name: [", "not valid YAML"),
        (
            "name: x\narms: {a: {strategy: replace}}\nsandbox: dokker",
            "no 'dokker'; did you mean docker?",
        ),
        ("name: x\narms: {a: {strategy: replace}}\ndevice: tpu", "device: 'tpu' is not one of"),
        ("name: x\narms: {a: {strategy: replace}}\nsandbox: bubblewrap\ntasks: {suite: nowhere}", "nowhere"),
        (
            "name: x\narms: {a: {strategy: replace}}\nsandbox: bubblewrap\nmodel: {path: ./nowhere}",
            "./nowhere",
        ),
    ],
)
def test_a_bad_config_is_one_clear_line(
    plateau: Callable[..., Ended], tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "my.yaml"
    if text is not None:
        path.write_text(text)
    found = plateau("run", str(path), "--out", str(tmp_path / "run"))
    assert found.returncode == 1
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert len(found.stderr.strip().splitlines()[-1]) < 500
    assert found.stderr.strip().splitlines()[-1].startswith("plateau: ")


def test_resume_and_report_name_a_folder_without_a_run(plateau: Callable[..., Ended], tmp_path: Path) -> None:
    for command in ("resume", "report"):
        found = plateau(command, str(tmp_path))
        assert (found.returncode, "no run here" in found.stderr) == (1, True)


def test_strategies_are_listed_with_their_source(plateau: Callable[..., Ended]) -> None:
    listed = plateau("strategies").stdout
    assert "reset_base" in listed
    assert "2312.06585" in listed


def test_help_starts_without_loading_torch() -> None:
    heavy = {"torch", "transformers", "numpy", "scipy", "pandas", "matplotlib", "docker", "langchain"}
    code = f"import sys, plateau_bench.harness.cli.app; sys.exit(', '.join({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == ""
