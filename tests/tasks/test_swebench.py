"""SWE-bench: what is read, what a box holds of a repository, and which patches pass."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import Outcome, Split, Task, Verdict
from plateau_bench.tasks.formats.harbor import FolderSuite, files_below
from plateau_bench.tasks.formats.swebench import read_instances
from plateau_bench.tasks.formats.swebench_folders import Wanted, import_swebench
from plateau_bench.tasks.grading.expected_file import read_expected
from plateau_bench.tasks.grading.folders import grade_folder
from tests.tasks.swebench_repo import CALC, FAIL, FIXED, MORE, PASS, TEST, ImageBackend, git, make

GOOD = {
    "repo": "toy/calc",
    "instance_id": "toy__calc-1",
    "base_commit": "0" * 40,
    "patch": "diff --git a/a b/a\n",
    "test_patch": "diff --git a/b b/b\n",
    "problem_statement": "It is wrong.",
    "version": "1.0",
    "created_at": "2023-06-26T06:44:43Z",
    "FAIL_TO_PASS": FAIL,
    "PASS_TO_PASS": PASS,
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Task]:
    """(row, folder of the suite, the task)."""
    place = tmp_path_factory.mktemp("toy")
    row = make(place / "repos")
    rows = place / "rows.jsonl"
    rows.write_text(json.dumps(row) + "\n")
    done = import_swebench(rows, place / "suite", Wanted(repos=str(place / "repos"), split=Split.HELD_OUT))
    return row, place / "suite", done.tasks[0]


def rows(folder: Path, *data: object, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in data))
    return file


def test_every_form_of_a_row_says_the_same(tmp_path: Path) -> None:
    strings = GOOD | {key: json.dumps(GOOD[key]) for key in ("FAIL_TO_PASS", "PASS_TO_PASS")}
    (tmp_path / "list.json").write_text(json.dumps([GOOD]))
    folder = tmp_path / "repo" / "tasks" / GOOD["instance_id"]
    folder.mkdir(parents=True)
    facts = {key: GOOD[key] for key in ("instance_id", "repo", "base_commit", "version", "created_at")}
    (tmp_path / "repo" / "sweb.yaml").write_text("datasets: []\nsplits: []\n")
    for name, text in {
        "task.yaml": yaml.safe_dump(facts),
        "tests.json": json.dumps({"FAIL_TO_PASS": FAIL, "PASS_TO_PASS": PASS}),
        "problem_statement.md": GOOD["problem_statement"],
        "gold.patch": GOOD["patch"],
        "test.patch": GOOD["test_patch"],
    }.items():
        (folder / name).write_text(text)
    sources = [rows(tmp_path, GOOD), rows(tmp_path, strings, name="b.jsonl"), tmp_path / "list.json"]
    found = [read() for source in [*sources, tmp_path / "repo"] for read in read_instances(source)]
    assert len(found) == 4
    assert {replace(one, place="") for one in found} == {replace(found[0], place="")}
    assert found[0].image == "swebench/sweb.eval.x86_64.toy_1776_calc-1:latest"
    (folder / "gold.patch").unlink()
    with pytest.raises(ValueError, match=r"gold\.patch: is missing"):
        next(iter(read_instances(tmp_path / "repo")))()


def test_parquet_is_read_or_says_what_is_missing(tmp_path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r"a\.parquet: reading parquet needs pyarrow: pip install"):
            next(iter(read_instances(tmp_path / "a.parquet")))
        return
    import pandas

    pandas.DataFrame([GOOD]).to_parquet(tmp_path / "a.parquet")
    (read,) = read_instances(tmp_path / "a.parquet")
    assert read().pass_to_pass == tuple(PASS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FAIL_TO_PASS": "[1"}, "FAIL_TO_PASS: must be a list, not '\\[1'"),
        ({"FAIL_TO_PASS": []}, "FAIL_TO_PASS: must not be empty"),
        ({"PASS_TO_PASS": [3]}, r"PASS_TO_PASS\[0\]: expected a text, got int 3"),
        ({"PASS_TO_PASS": ["test_x (a.tests.B)"]}, "PASS_TO_PASS: 'test_x .* is no id of pytest's"),
        ({"PASS_TO_PASS": ["/etc/test_a.py::test_b"]}, ".*is no id of pytest's"),
        ({"PASS_TO_PASS": ["../test_a.py::test_b"]}, ".*is no id of pytest's"),
        ({"base_commit": "HEAD"}, "base_commit: must be a commit's 40 hex"),
        ({"repo": "../../etc"}, "repo: must be 'owner/name'"),
        ({"instance_id": "../a"}, "instance_id: must be a name"),
        ({"patch": ""}, "patch: must be a diff as git writes it"),
        ({"problem_statement": " "}, "problem_statement: must not be empty"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (read,) = read_instances(rows(tmp_path, GOOD | change))
    with pytest.raises(ValueError, match=rf"rows\.jsonl:1: {message}"):
        read()


@given(st.sampled_from(sorted(GOOD)), st.recursive(st.none() | st.integers() | st.text(), st.lists))
@settings(deadline=None, max_examples=60)
def test_an_odd_row_is_read_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    (read,) = read_instances(rows(tmp_path_factory.mktemp("odd"), GOOD | {key: value}))
    try:
        name = read().id
    except ValueError as error:
        name = str(error)
    assert "rows.jsonl:1: " in name or name == (value if key == "instance_id" else GOOD["instance_id"])


def test_the_box_holds_one_commit_and_nothing_later(
    toy: tuple[dict[str, Any], Path, Task], tmp_path: Path
) -> None:
    """No ref, tag, reflog, packed or dangling object of the fix, of its test or of any other commit."""
    row, suite, _ = toy
    packed = (suite / "toy__calc-1" / "environment" / "repo.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(tmp_path, filter="tar")
    repo = suite.parent / "repos" / "toy" / "calc"
    base = row["base_commit"]
    tree = {line.split()[2] for line in git(repo, "ls-tree", "-rt", base).splitlines()}
    there = git(tmp_path, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert set(there) == tree | {base, git(repo, "rev-parse", f"{base}^{{tree}}").strip()}
    everything = git(repo, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert len(everything) > len(there) + 10  # so there was something to be kept out
    assert git(tmp_path, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]
    assert git(tmp_path, "rev-parse", "HEAD").strip() == base
    assert git(tmp_path, "status", "--porcelain") == ""
    names = {path.relative_to(tmp_path / ".git").parts[0] for path in (tmp_path / ".git").rglob("*")}
    assert not names & {"logs", "FETCH_HEAD", "ORIG_HEAD", "packed-refs", "hooks"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(str(suite.parent).encode() in path.read_bytes() for path in files)


def graded(toy: tuple[dict[str, Any], Path, Task], **written: str) -> Verdict:
    _, suite, task = toy
    files = {name.replace("__", "/") + ".py": text.encode() for name, text in written.items()}
    return grade_folder(task, Diff(written=files), ImageBackend(suite / task.id))


def test_gold_passes_and_nothing_else(toy: tuple[dict[str, Any], Path, Task]) -> None:
    _, suite, task = toy
    box = ImageBackend(suite / task.id).open(task.box)
    for path, data in files_below(suite / task.id / "solution").items():
        box.write(f"/solution/{path}", data)
    assert box.run(["bash", "/solution/solve.sh"]).exit_code == 0
    assert box.read("calc.py") == FIXED.encode()
    box.close()
    assert graded(toy, calc=FIXED) == Verdict(outcome=Outcome.PASSED, verified=True)
    empty = graded(toy)
    assert (empty.outcome, empty.reason) == (
        Outcome.FAILED,
        f"{FAIL[0]}: failed in call: assert 4 == 6",
    )
    broken = graded(toy, calc=FIXED.replace("3 * x", "3 * x if x == 3 else 3 * x.strip()[:1]"))
    assert broken.outcome is Outcome.FAILED
    assert broken.reason.startswith("checks/test_calc.py::test_text[a (and 1 more): failed in call: ")


def test_ids_of_another_machine_are_said_to_be_so(
    toy: tuple[dict[str, Any], Path, Task], tmp_path: Path
) -> None:
    row, suite, _ = toy
    foreign = "checks/test_calc.py::test_text[/home/her/data/a.txt]"
    file = rows(tmp_path, row | {"PASS_TO_PASS": [*PASS, foreign]})
    (task,) = import_swebench(file, tmp_path / "out", Wanted(repos=str(suite.parent / "repos"))).tasks
    verdict = grade_folder(task, Diff(written={"calc.py": FIXED.encode()}), ImageBackend(suite / task.id))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason == (f"{foreign} (1 with absolute paths, perhaps another machine's): was not run")


@pytest.mark.parametrize("bad", ["a b", "a c"])
def test_a_cut_id_stands_for_all_its_tests(toy: tuple[dict[str, Any], Path, Task], bad: str) -> None:
    one = graded(toy, calc=FIXED.replace("3 * x", f"3 * x if x != {bad!r} else 0"))
    assert one.reason.startswith("checks/test_calc.py::test_text[a: failed in call")


def test_the_files_of_the_test_patch_are_restored(toy: tuple[dict[str, Any], Path, Task]) -> None:
    easy = MORE.replace("== 6", "== 4").replace("== 9", "== 10")
    assert graded(toy, checks__test_calc=easy).outcome is Outcome.FAILED
    assert graded(toy, calc=FIXED, checks__test_calc="nonsense(").outcome is Outcome.PASSED


PATCHES = """
import _pytest.runner, _pytest.python
_pytest.python.Function.runtest = lambda self: None
"""


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("import os; os._exit(0)", Outcome.FAILED),
        ("import pytest; pytest.skip('later', allow_module_level=True)", Outcome.FAILED),
        ("import atexit, os; atexit.register(os._exit, 0)", Outcome.FAILED),
        (PATCHES, Outcome.INVALID),
    ],
)
def test_forgeries_do_not_pass(toy: tuple[dict[str, Any], Path, Task], code: str, outcome: Outcome) -> None:
    assert graded(toy, calc=CALC + code).outcome is outcome


def test_a_hook_in_conftest_is_left_behind(toy: tuple[dict[str, Any], Path, Task]) -> None:
    hook = "def pytest_collection_modifyitems(items):\n    items[0].runtest = lambda: None\n"
    verdict = graded(toy, conftest=hook, checks__conftest=hook)
    assert verdict.outcome is Outcome.FAILED
    assert "left behind: 'conftest.py'" in verdict.reason


def test_own_modules_with_odd_names_may_be_changed(
    toy: tuple[dict[str, Any], Path, Task], tmp_path: Path
) -> None:
    """A fix of pytest is in `_pytest`, which elsewhere would be a shadow."""
    row, suite, _ = toy
    repo = suite.parent / "repos" / "toy" / "calc"
    git(repo, "worktree", "add", "-q", str(tmp_path / "tree"), row["base_commit"])
    from tests.tasks.swebench_repo import commit

    base = commit(tmp_path / "tree", {"src/statistics.py": "a = 1\n"}, "odd")
    file = rows(tmp_path, row | {"base_commit": base})
    (task,) = import_swebench(file, tmp_path / "odd", Wanted(repos=str(suite.parent / "repos"))).tasks
    own = read_expected(
        {"expected.json": (tmp_path / "odd/toy__calc-1/tests/expected.json").read_bytes()}, tmp_path
    )
    assert own is not None
    assert own.own == {"statistics"}
    backend = ImageBackend(tmp_path / "odd" / task.id)
    odd = Diff(written={"src/statistics.py": b"a = 2\n", "src/random.py": b"", "calc.py": CALC.encode()})
    assert grade_folder(task, odd, backend).reason.endswith("left behind: 'src/random.py'")


def test_rows_that_do_not_fit_their_repository_are_refused(
    toy: tuple[dict[str, Any], Path, Task], tmp_path: Path
) -> None:
    row, suite, _ = toy
    bad = [
        row | {"instance_id": "toy__calc-2", "base_commit": "1" * 40},
        row | {"instance_id": "toy__calc-3", "patch": row["test_patch"].replace("thrice", "fourfold")},
        row | {"instance_id": "toy__calc-4", "repo": "toy/gone"},
        row,
    ]
    wanted = Wanted(repos=str(suite.parent / "repos"))
    with pytest.raises(ValueError, match="git fetch: .*1111"):
        import_swebench(rows(tmp_path, *bad), tmp_path / "no", wanted)
    done = import_swebench(rows(tmp_path, *bad), tmp_path / "yes", wanted, skip=True)
    assert [task.id for task in done.tasks] == ["toy__calc-1"]
    assert [why.partition(": ")[2][:30] for why in done.refused[1:]] == [
        "patch does not fit base_commit",
        "--repos: " + str(suite.parent / "repos")[:21],
    ]
    assert not (tmp_path / "no").exists()
    with pytest.raises(ValueError, match="is there already"):
        import_swebench(rows(tmp_path, row), tmp_path / "yes", wanted)


def test_published_images_by_name(toy: tuple[dict[str, Any], Path, Task], tmp_path: Path) -> None:
    row, suite, built = toy
    wanted = Wanted(repos=f"{suite.parent}/repos/{{owner}}/{{name}}", published=True)
    (task,) = import_swebench(rows(tmp_path, row), tmp_path / "out", wanted).tasks
    assert task.box.image == "swebench/sweb.eval.x86_64.toy_1776_calc-1:latest"
    assert task.box.env["PATH"].startswith("/opt/miniconda3/envs/testbed/bin:")
    assert (task.box.workdir, task.cluster, task.box.network) == ("/testbed", "toy/calc", ())
    assert "dockerfile" not in task.tags
    assert built.tags["dockerfile"] == str(suite / "toy__calc-1" / "environment")
    assert built.split is Split.HELD_OUT
    assert FolderSuite(suite).tasks == (built,)
    assert TEST not in built.instruction
