"""Evaluation, comparison, boards and the tools for tasks work where torch is not installed."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.without import run_without

SUITE = ["--suite", "katas", "--tasks", "6", "-n", "1", "--sandbox", "bubblewrap"]


def plateau(*arguments: str, cwd: Path) -> "CompletedProcess[str]":
    """`plateau ...` in a Python that has nothing for training."""
    program = "from plateau_bench.harness.cli.app import main\n"
    program += f"main({list(arguments)!r})\nassert 'torch' not in sys.modules\n"
    return run_without(program, cwd=cwd)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    done = plateau("eval", "--agent", "oracle", "--agent", "nop", *SUITE, "--out", "both", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "oracle" in done.stdout
    return folder


@pytest.mark.bwrap
def test_an_evaluation_and_what_reads_it(evaluated: Path) -> None:
    assert (evaluated / "both" / "leaderboard.html").exists()
    compared = plateau("compare", "both", cwd=evaluated)
    assert (compared.returncode, compared.stderr) == (0, "")
    assert "oracle" in compared.stdout
    board = plateau("leaderboard", "both", "--out", "board", cwd=evaluated)
    assert (board.returncode, board.stderr) == (0, "")
    assert (evaluated / "board" / "leaderboard.html").exists()


@pytest.mark.bwrap
def test_a_suite_is_validated(tmp_path: Path) -> None:
    done = plateau(
        "tasks", "validate", "katas", "--tasks", "4", "--repeats", "1", "--sandbox", "bubblewrap",
        "--out", "quarantine.json", cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, "8 sound" in done.stdout) == (0, True), done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["strategies"]])
def test_the_command_line_starts(arguments: list[str], tmp_path: Path) -> None:
    done = plateau(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.bwrap
def test_what_needs_torch_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    done = plateau("eval", "--agent", "oneshot:weights", *SUITE, "--out", "e", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs torch and transformers: pip install 'plateau-bench[train]'" in done.stderr
    (tmp_path / "run.yaml").write_text("name: x\nsandbox: bubblewrap\narms: {a: {strategy: replace}}\n")
    done = plateau("run", "run.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "a run of self-training needs torch" in done.stderr
    assert len(done.stderr.splitlines()) == 1
