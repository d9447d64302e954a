"""The wheel in an environment of its own, beside a package that claims one of our folders' names."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = ("sandbox", "tasks", "agents", "results", "harness")


def pip(python: str | Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", "-q", "--disable-pip-version-check", *arguments], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "-w", str(out), str(ROOT))
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_every_module_and_file_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    kept = subprocess.run(["git", "ls-files", *TOPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {f"plateau_bench/{path}" for path in kept.stdout.split()} <= held
    assert {name.split("/")[0].split("-")[0] for name in held} == {"plateau_bench"}


@pytest.mark.slow
def test_the_wheel_solves_katas_beside_openai_agents(wheel: Path, tmp_path: Path) -> None:
    """No torch, another current folder, and the other project's `agents` still its own."""
    home = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    pip(python, "install", "-c", str(ROOT / "constraints.txt"), str(wheel))
    pip(python, "install", "openai-agents")
    here = tmp_path / "elsewhere"
    here.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = ["eval", "--agent", "oracle", "--suite", "katas", "--tasks", "3", "-n", "1", "--out", "out"]
    subprocess.run([str(home / "bin" / "plateau"), *command], cwd=here, env=environment, check=True)
    rows = [json.loads(line) for line in (here / "out/oracle/attempts.jsonl").read_text().splitlines()]
    assert [row["verdict"]["outcome"] for row in rows] == ["passed"] * 3
    program = (
        "import agents, importlib.util as u, plateau_bench.agents\n"
        "assert hasattr(agents, 'Runner'), agents\n"
        "assert u.find_spec('torch') is None and u.find_spec('harness') is None"
    )
    subprocess.run([str(python), "-c", program], cwd=here, env=environment, check=True)
