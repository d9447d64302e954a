"""What an installation holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
    ]
    subprocess.run([*command, "-w", str(out), str(ROOT)], check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return archive.namelist()


def test_every_module_is_in_the_wheel(wheel: list[str]) -> None:
    tops = ("sandbox", "tasks", "agents", "results", "harness")
    there = {file.relative_to(ROOT) for top in tops for file in (ROOT / top).rglob("*.py")}
    assert {f"plateau_bench/{path}" for path in there} <= set(wheel)
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"plateau_bench"}
