"""What an installation holds."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tops = ("sandbox", "tasks", "agents", "results", "harness")
    there = {file.parent.relative_to(ROOT) for top in tops for file in (ROOT / top).rglob("__init__.py")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in there)
