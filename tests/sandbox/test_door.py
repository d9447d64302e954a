"""A backend from outside: from a file, by a dotted path, or from an installed package."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plateau_bench.sandbox import BACKENDS, SandboxUnavailable, backend_names, open_backend
from plateau_bench.sandbox.checks.commands import Check
from plateau_bench.sandbox.checks.doctor import examine
from plateau_bench.sandbox.checks.programs import CHECKS
from plateau_bench.sandbox.cli import app

THIN = '''
"""The least that a backend has to be; its boxes are another backend's."""

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, Fact


class Thin(Backend):
    name = "thin"

    def __init__(self, **options):
        self.inner = open_backend("bubblewrap", **options)

    def probe(self):
        self.inner.probe()

    def open(self, spec=None):
        return self.inner.open(spec)

    def open_program_box(self):
        return self.inner.open_program_box()

    def facts(self):
        yield Fact(about="thin walls", text="somebody else's")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that declares the backend `thin`, and one that cannot be loaded."""
    (tmp_path / "thin_boxes.py").write_text(THIN)
    about = tmp_path / "thin_boxes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: thin-boxes\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[plateau_bench.backends]\nthin = thin_boxes:Thin\ntorn = thin_boxes:Torn\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "thin_boxes", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "thin.py"
    path.write_text(THIN)
    return path


@pytest.mark.bwrap
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_backend_in_a_file_passes_the_conformance_list(check: Check, file: Path) -> None:
    check(open_backend(f"{file}:Thin", workers=2))


def test_an_installed_package_adds_a_backend_by_name(package: Path) -> None:
    assert backend_names() == [*BACKENDS, "thin", "torn"]
    for name in ("thin", "thin_boxes.Thin", f"{package / 'thin_boxes.py'}:Thin"):
        assert open_backend(name, say=print).name == "thin"
    with pytest.raises(ValueError, match="'torn' of thin-boxes cannot be loaded"):
        open_backend("torn")


def test_what_it_inherits_leaves_nothing_behind_and_makes_no_images(package: Path) -> None:
    thin = open_backend("thin")
    assert thin.clean() == 0
    for use in (
        lambda: thin.with_program("x", "true", what="aider: install"),
        lambda: thin.missing(["x"]),
        lambda: thin.build("x", "folder"),
    ):
        with pytest.raises(SandboxUnavailable, match="thin makes no.*--sandbox docker"):
            use()


@pytest.mark.bwrap
def test_the_tools_know_it_and_say_what_is_wrong_with_another(package: Path) -> None:
    facts = {fact.about: fact for fact in examine()}
    assert facts["thin walls"].good is True  # what the doctor saw itself comes after what the backend says
    assert facts["thin box"].good is True
    assert facts["torn"].good is False
    cleaned = CliRunner().invoke(app, ["clean"])
    assert "thin: 0 boxes removed" in cleaned.output
    assert "torn: backends: 'torn' of thin-boxes cannot be loaded" in cleaned.output
    assert cleaned.exit_code == 0


def test_a_class_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(THIN.replace("def probe", "def prob"))
    with pytest.raises(TypeError, match="abstract.*probe"):
        open_backend(f"{path}:Thin")
