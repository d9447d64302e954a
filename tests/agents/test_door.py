"""An agent from outside is made by the name that an installed package gives it, or from a file."""

from pathlib import Path

import pytest

from plateau_bench.agents import make_agent
from plateau_bench.harness.evals.agent_spec import read_agent

LIAR = """
from plateau_bench.agents.scripted import ScriptedAgent


class Liar(ScriptedAgent):
    def __init__(self, model, **options):
        super().__init__(lambda instruction: [f"{model} says it is done"], name="liar")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "liars.py").write_text(LIAR)
    about = tmp_path / "liars-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: liars\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[plateau_bench.agents]\nliar = liars:Liar\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_installed_package_adds_an_agent(package: Path) -> None:
    for name in ("liar", "liars.Liar", f"{package / 'liars.py'}:Liar"):
        assert (
            make_agent(name, "m", limits=None, temperature=1.0).solve("x", [1])[0].answer
            == "m says it is done"
        )
    spec = read_agent("liar:openai:m")
    assert (spec.kind, spec.model) == ("liar", "openai:m")
    with pytest.raises(ValueError, match="'lair'; did you mean liar"):
        make_agent("lair")
