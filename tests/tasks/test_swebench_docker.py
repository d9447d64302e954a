"""Rows of SWE-bench as published, in boxes. Runs when the environment says where rows and repositories are:

PLATEAU_SWEBENCH=rows.jsonl PLATEAU_SWEBENCH_REPOS=folder PLATEAU_SWEBENCH_BASE=image-with-pip-and-git
"""

import io
import os
import tarfile
from pathlib import Path

import pytest

from plateau_bench.sandbox.backends.docker import DockerBackend
from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import Outcome, Task
from plateau_bench.tasks.formats.building import build, to_build
from plateau_bench.tasks.formats.swebench import read_instances
from plateau_bench.tasks.formats.swebench_folders import Wanted, import_swebench
from plateau_bench.tasks.grading.folders import grade_folder
from plateau_bench.tasks.quality.proof import Kind, prove

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ROWS, REPOS = os.environ.get("PLATEAU_SWEBENCH", ""), os.environ.get("PLATEAU_SWEBENCH_REPOS", "")
BREAKS = {
    "pytest-dev__pytest-11143": [
        ("src/_pytest/assertion/rewrite.py", "expect_docstring = doc is None", "expect_docstring = False")
    ],
    "sqlfluff__sqlfluff-2386": [
        (
            "src/sqlfluff/core/rules/base.py",
            "= cls.__doc__.split(",
            "= cls.__doc__.replace('``', \"'\").split(",
        ),
        ("src/sqlfluff/rules/L054.py", "| **Best practice**", "| **Good practice**"),
    ],
}
"""Right by FAIL_TO_PASS, wrong by PASS_TO_PASS: (file, text, other text)."""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    if not ROWS or not REPOS:
        pytest.skip("PLATEAU_SWEBENCH and PLATEAU_SWEBENCH_REPOS do not say where rows and repositories are")
    out = tmp_path_factory.mktemp("swebench") / "suite"
    wanted = Wanted(repos=REPOS, base=os.environ.get("PLATEAU_SWEBENCH_BASE", ""))
    made = import_swebench(Path(ROWS), out, wanted).tasks
    assert not any(problem for _, problem in build(to_build(made), DockerBackend()))
    return {task.id: task for task in made}


@pytest.mark.parametrize("name", BREAKS)
def test_gold_resolves_and_nothing_else(tasks: dict[str, Task], name: str) -> None:
    backend = DockerBackend()
    (finding,) = prove([tasks[name]], backend, repeats=1)
    assert (finding.kind, finding.reason) == (Kind.SOUND, "")
    verdict = grade_folder(tasks[name], wrong(tasks[name]), backend)
    assert verdict.outcome is Outcome.FAILED
    (row,) = [row for row in (read() for read in read_instances(Path(ROWS))) if row.id == name]
    assert verdict.reason.startswith(row.pass_to_pass)


def test_a_row_of_another_machine_is_quarantined(tasks: dict[str, Task]) -> None:
    (finding,) = prove([tasks["pydicom__pydicom-1458"]], DockerBackend(), repeats=1)
    assert finding.kind is Kind.BROKEN
    assert finding.reason.startswith("the solution fails: pydicom/tests/test_numpy_pixel_data.py::")
    assert "with absolute paths, perhaps another machine's" in finding.reason


def wrong(task: Task) -> Diff:
    packed = (Path(task.tags["dockerfile"]) / "repo.tar.gz").read_bytes()
    written = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for path, old, new in BREAKS[task.id]:
            file = tar.extractfile(f"./{path}")
            assert file is not None
            text = file.read().decode()
            assert text.count(old) == 1
            written[path] = text.replace(old, new).encode()
    return Diff(written=written)
