"""Folder tasks: what an agent may leave, and what counts as a reward."""

from pathlib import Path

import pytest

from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import FolderTests, Outcome, Split, Task, Verdict
from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.grading.folders import grade_folder, grade_stages
from plateau_bench.tasks.grading.sift import shadows, steers_tests, tampering
from plateau_bench.tasks.suites import katas
from tests.tasks.harbor_set import REWARD, apart, steps
from tests.tasks.local_backend import LocalBackend
from tests.tasks.test_harbor import make

HONEST = Diff(written={"answer.txt": b"42\n"})
NO_NUMBER = "reward.json does not hold a number"
CHECK = """\
mkdir -p /logs/verifier
[ "$(cat answer.txt)" = 42 ] && r=1 || r=0
echo $r > /logs/verifier/reward.txt
"""


def task(folder: Path, script: str = CHECK, timeout_s: float = 10.0, **files: str) -> Task:
    toml = f"[verifier]\ntimeout_sec = {timeout_s}\n"
    return read_folder(make(folder, toml, **{"tests/test.sh": script}, **files))


def grade(folder: Path, script: str, diff: Diff = HONEST) -> Verdict:
    return grade_folder(task(folder, script), diff, LocalBackend())


def test_honest_work_passes_and_nothing_fails(tmp_path: Path) -> None:
    assert grade(tmp_path, CHECK) == Verdict(outcome=Outcome.PASSED, verified=True)
    assert grade(tmp_path, CHECK, Diff(written={})).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        ("echo 1.0 > /logs/verifier/reward.txt", Outcome.PASSED, ""),
        ("""echo '{"reward": 1, "style": 0}' > /logs/verifier/reward.json""", Outcome.PASSED, ""),
        ("""echo '{"a": 1, "b": 1.0}' > /logs/verifier/reward.json""", Outcome.PASSED, ""),
        ("echo 0.5 > /logs/verifier/reward.txt", Outcome.FAILED, "reward 0.5"),
        ("""echo '{"a": 1, "b": 0}' > /logs/verifier/reward.json""", Outcome.FAILED, "reward 0"),
        ("true", Outcome.FAILED, "tests/test.sh wrote no reward file"),
        ("exit 0; echo 1 > /logs/verifier/reward.txt", Outcome.FAILED, "tests/test.sh wrote no reward file"),
        ("touch /logs/verifier/reward.txt", Outcome.FAILED, "reward.txt does not hold a number"),
        ("echo nan > /logs/verifier/reward.txt", Outcome.FAILED, "reward.txt does not hold a number"),
        ("echo inf > /logs/verifier/reward.txt", Outcome.FAILED, "reward.txt does not hold a number"),
        ("echo '{}' > /logs/verifier/reward.json", Outcome.FAILED, "reward.json does not hold a number"),
        ("""echo '{"reward": true}' > /logs/verifier/reward.json""", Outcome.FAILED, NO_NUMBER),
        ("""echo '{"a": 1, "b": NaN}' > /logs/verifier/reward.json""", Outcome.FAILED, NO_NUMBER),
        ("cd /logs/verifier/; echo 1 | tee reward.txt > reward.json", Outcome.FAILED, "two reward files"),
        ("ln -s /etc/hostname /logs/verifier/reward.txt", Outcome.INVALID, "reward.txt is not a plain file"),
        ("mkdir /logs/verifier/reward.txt", Outcome.INVALID, "reward.txt is not a plain file"),
    ],
)  # fmt: skip
def test_rewards(tmp_path: Path, script: str, outcome: Outcome, reason: str) -> None:
    assert grade(tmp_path, script) == Verdict(
        outcome=outcome, verified=outcome is Outcome.PASSED, reason=reason
    )


def test_slow_tests_fail(tmp_path: Path) -> None:
    verdict = grade_folder(task(tmp_path, "sleep 5", timeout_s=0.2), HONEST, LocalBackend())
    assert verdict == Verdict(
        outcome=Outcome.FAILED, verified=False, reason="tests/test.sh took longer than 0.2 s"
    )


@pytest.mark.parametrize(
    "path",
    [
        "sitecustomize.py",
        "src/usercustomize.py",
        "x.pth",
        "../up.py",
        "/logs/verifier/reward.txt",
        "a/../../b",
        "",
    ],
)
def test_hooks_and_outside_paths_are_tampering(tmp_path: Path, path: str) -> None:
    assert tampering(path)
    for diff in (Diff(written={**HONEST.written, path: b"1"}), Diff(written=HONEST.written, deleted=(path,))):
        verdict = grade(tmp_path, CHECK, diff)
        assert (verdict.outcome, verdict.verified) == (Outcome.INVALID, False)
        assert verdict.reason.startswith("tampering")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("conftest.py", b""),
        ("src/conftest.py", b""),
        ("pytest.ini", b""),
        ("tests/test_a.py", b""),
        ("pkg/tests/helper.py", b""),
        ("tox.ini", b"[pytest]\naddopts = --collect-only\n"),
        ("setup.cfg", b"[tool:pytest]\naddopts = -k nothing\n"),
        ("pyproject.toml", b"[tool.pytest.ini_options]\naddopts = '-k nothing'\n"),
        ("pyproject.toml", b"[tool"),
        ("setup.cfg", b"\xff"),
    ],
)
def test_test_files_and_configuration_stay_behind(tmp_path: Path, path: str, content: bytes) -> None:
    assert steers_tests(path, content)
    script = CHECK.replace("r=0\n", f"r=0\n[ -e {path} ] && r=0\n")
    assert grade(tmp_path, script, Diff(written={**HONEST.written, path: content})).outcome is Outcome.PASSED
    lost = grade(tmp_path, script, Diff(written={path: content}, refused=("link",)))
    assert lost.outcome is Outcome.FAILED
    assert path in lost.reason
    assert "link" in lost.reason


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("src/app.py", b""),
        ("contest.py", b""),
        ("test_mine.py", b""),
        ("tox.ini", b"[tox]\n"),
        ("setup.cfg", b"[metadata]\nname = x\n"),
        ("pyproject.toml", b"[project]\nname = 'x'\n"),
    ],
)
def test_ordinary_work_is_carried_over(tmp_path: Path, path: str, content: bytes) -> None:
    assert not tampering(path)
    assert not steers_tests(path, content)
    script = CHECK.replace("r=0\n", f"r=0\n[ -e {path} ] || r=0\n")
    assert grade(tmp_path, script, Diff(written={**HONEST.written, path: content})).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("path", "yes"),
    [
        ("json.py", True),
        ("unittest/__init__.py", True),
        ("src/json.py", True),
        ("json.cpython-311-x86_64-linux-gnu.so", True),
        ("pytest/__main__.py", True),
        ("json.txt", False),
        ("pkg/json.py", False),
        ("src/pkg/json.py", False),
        ("app.py", False),
        ("json", False),
    ],
)
def test_shadows_of_what_tests_rely_on(path: str, yes: bool) -> None:
    assert bool(shadows(path)) is yes


def test_deletions_are_repeated_except_of_tests(tmp_path: Path) -> None:
    start = {"environment/old.txt": "x", "environment/tests/keep.txt": "x"}
    gone = "[ -e old.txt ] && exit 1; [ -e tests/keep.txt ] || exit 1\n" + CHECK
    diff = Diff(written=HONEST.written, deleted=("old.txt", "tests/keep.txt"))
    assert grade_folder(task(tmp_path, gone, **start), diff, LocalBackend()).outcome is Outcome.PASSED
    untouched = grade_folder(task(tmp_path, gone, **start), HONEST, LocalBackend())
    assert untouched.outcome is Outcome.FAILED


def test_a_diff_that_cannot_be_applied_fails(tmp_path: Path) -> None:
    verdict = grade(tmp_path, CHECK, Diff(written={**HONEST.written, "answer.txt/x": b""}))
    assert verdict.outcome is Outcome.FAILED
    assert "does not apply" in verdict.reason


def test_broken_engines_are_infra(tmp_path: Path) -> None:
    kata = task(tmp_path)
    assert grade_folder(kata, HONEST, LocalBackend(deaths=2)).outcome is Outcome.PASSED
    verdict = grade_folder(kata, HONEST, LocalBackend(deaths=3))
    assert (verdict.outcome, verdict.verified) == (Outcome.INFRA, False)
    assert verdict.reason == "the grading box broke: the engine is not well"


def test_tests_that_changed_on_disk_are_not_used(tmp_path: Path) -> None:
    kata = task(tmp_path)
    (tmp_path / "tests" / "test.sh").write_text("echo 1 > /logs/verifier/reward.txt")
    verdict = grade_folder(kata, HONEST, LocalBackend())
    assert verdict.outcome is Outcome.INFRA
    assert "changed after the task was read" in verdict.reason


def test_function_tasks_are_refused() -> None:
    kata = katas.train_tasks(0, 1)[0]
    assert not isinstance(kata.tests, FolderTests)
    assert kata.split is Split.TRAIN
    with pytest.raises(ValueError, match="is function-level"):
        grade_folder(kata, HONEST, LocalBackend())


# --- steps and separate verifiers -----------------------------------------------------------------------

FIRST = Diff(written={"answer.txt": b"42\n"})
SECOND = Diff(written={"answer.txt": b"84\n"})
WRONG = Diff(written={"answer.txt": b"0\n"})


@pytest.mark.parametrize(
    ("kind", "diffs", "outcome", "reason"),
    [
        ("mean", [FIRST, SECOND], Outcome.PASSED, ""),
        ("mean", [FIRST, WRONG], Outcome.FAILED, "step two: reward 0"),
        ("mean", [WRONG, SECOND], Outcome.FAILED, "step one: reward 0"),
        ("mean", [FIRST], Outcome.FAILED, "step two was not reached"),
        ("mean", [], Outcome.FAILED, "step one was not reached"),
        ("last", [FIRST, SECOND], Outcome.PASSED, ""),
        ("last", [WRONG, SECOND], Outcome.FAILED, "step one: reward 0"),
        ("ungated", [WRONG, SECOND], Outcome.PASSED, ""),
        ("mean", [FIRST, Diff(written={"x.pth": b""})], Outcome.INVALID, "step two: tampering: 'x.pth'"),
    ],
)
def test_steps(tmp_path: Path, kind: str, diffs: list[Diff], outcome: Outcome, reason: str) -> None:
    steps(tmp_path, "mean" if kind == "mean" else "final")
    if kind == "ungated":
        file = tmp_path / "task.toml"
        file.write_text(file.read_text().replace("min_reward = 1.0\n", ""))
    (tmp_path / "tests" / "test.sh").write_text(REWARD.format("sh /tests/check.sh"))
    assert grade_stages(read_folder(tmp_path), diffs, LocalBackend()) == Verdict(
        outcome=outcome, verified=outcome is Outcome.PASSED, reason=reason
    )
    with pytest.raises(ValueError, match="has steps"):
        grade_folder(read_folder(tmp_path), FIRST, LocalBackend())


@pytest.mark.parametrize(
    ("written", "outcome"),
    [
        ({"/work/answer.txt": b"42\n"}, Outcome.PASSED),
        ({"answer.txt": b"42\n"}, Outcome.PASSED),  # of an agent that only answers
        ({"answer.txt": b"42\n", "other.txt": b""}, Outcome.PASSED),  # is no artifact, so does not get there
        ({"/work/answer.txt": b"42\n", "/logs/verifier/reward.json": b"1"}, Outcome.PASSED),
        ({"/work/other.txt": b"42\n"}, Outcome.FAILED),
        ({"/work/answer.txt": b"42\n", "/x/../tests/test.sh": b""}, Outcome.INVALID),
        ({"/work/answer.txt": b"42\n", "sitecustomize.py": b""}, Outcome.INVALID),
        ({}, Outcome.FAILED),
    ],
)
def test_a_separate_verifier_sees_artifacts_only(
    tmp_path: Path, written: dict[str, bytes], outcome: Outcome
) -> None:
    apart(tmp_path)
    place = tmp_path / "s14-copy"
    (place / "tests" / "test.sh").write_text(REWARD.format("grep -q 42 answer.txt && [ ! -e other.txt ]"))
    assert grade_folder(read_folder(place), Diff(written=written), LocalBackend()).outcome is outcome
