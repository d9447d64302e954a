"""The notebook's list: every experiment is in it, with a command that exists."""

import importlib
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
LIST = (ROOT / "experiments" / "README.md").read_text()


def test_every_folder_is_listed_and_has_its_own_page() -> None:
    folders = {path.name for path in (ROOT / "experiments").iterdir() if path.is_dir()} - {"__pycache__"}
    for folder in folders - {"measures"}:
        assert f"({folder}/README.md)" in LIST, folder
        assert (ROOT / "experiments" / folder / "README.md").exists(), folder
    assert "`measures/`" in LIST


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m experiments\.(\w+)", LIST))))
def test_every_command_starts(command: str) -> None:
    app = importlib.import_module(f"experiments.{command}.__main__").app
    found = CliRunner().invoke(app, ["--help"])
    assert found.exit_code == 0, found.output
