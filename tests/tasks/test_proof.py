"""`plateau tasks validate`: planted faults are found and nothing else, and it goes on where it stopped."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, ProgramBox, SandboxError
from plateau_bench.tasks.base import Outcome, Verdict
from plateau_bench.tasks.cli import app
from plateau_bench.tasks.formats.harbor import read_folder
from plateau_bench.tasks.formats.importing import import_rows
from plateau_bench.tasks.loading import load_suite
from plateau_bench.tasks.quality.leaks import leak
from plateau_bench.tasks.quality.proof import BATCH, Finding, Kind, judge, prove, quarantine_of, read_log
from plateau_bench.tasks.quality.quarantine import (
    Entry,
    WithoutQuarantined,
    quarantine_path,
    read_quarantine,
    write_quarantine,
)
from plateau_bench.tasks.suites import katas
from tests.tasks.kata_folder import write_folder
from tests.tasks.test_grade import TrustedBackend
from tests.tasks.test_published import MEAN, ROWS, suite

FLAKY = MEAN | {
    "task_id": "Own/flaky",
    "canonical_solution": "    import random\n    odd = random.SystemRandom().random() < 0.3\n"
    "    return sum(a) / len(a) + odd\n",
}
WRONG = MEAN | {"task_id": "Own/wrong", "canonical_solution": "    return 3\n"}
ANY = MEAN | {"task_id": "Own/any", "test": "def check(candidate):\n    assert candidate([1.0]) != 5\n"}
TOLD = MEAN | {
    "task_id": "Own/told",
    "prompt": "# answer: total = sum(a); count = len(a); return total / count\n" + MEAN["prompt"],
    "canonical_solution": "    total = sum(a); count = len(a); return total / count\n",
}
PLANTED = {"Own/flaky": Kind.FLAKY, "Own/wrong": Kind.BROKEN, "Own/any": Kind.WEAK, "Own/told": Kind.READABLE}


def test_planted_faults_are_found_and_sound_tasks_are_not(tmp_path: Path) -> None:
    tasks = (*suite(tmp_path, *ROWS, FLAKY, WRONG, ANY, TOLD).tasks, *katas.train_tasks(0, 5))
    findings = prove(tasks, TrustedBackend(), repeats=12, workers=2)
    assert [finding.task for finding in findings] == [task.id for task in tasks]
    assert {f.task: f.kind for f in findings if f.kind is not Kind.SOUND} == PLANTED
    assert {name: entry.kind for name, entry in quarantine_of(findings).items()} == PLANTED


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tasks = katas.train_tasks(0, 2 * BATCH)
    log = tmp_path / "log.jsonl"
    prove(tasks[:BATCH], TrustedBackend(), repeats=2, log=log)
    torn = log.read_text()
    log.write_text(torn[:-20])
    backend = TrustedBackend()
    seen: list[Finding] = []
    findings = prove(tasks, backend, repeats=2, log=log, found=seen.append)
    assert len(findings) == len(seen) == 2 * BATCH
    again = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    assert [row["task"] for row in again].count(tasks[0].id) == 1
    assert {row["task"] for row in again} == {task.id for task in tasks}
    nobody = TrustedBackend()
    assert prove(tasks, nobody, repeats=2, log=log) == findings
    assert nobody.opened == []
    assert read_log(log, 3) == {}
    assert read_log(tmp_path / "absent", 1) == {}


def test_broken_boxes_decide_nothing(tmp_path: Path) -> None:
    class Dead(TrustedBackend):
        def open_program_box(self) -> ProgramBox:
            raise SandboxError("the engine is not well")

    log = tmp_path / "log.jsonl"
    findings = prove(katas.train_tasks(0, 2), Dead(), repeats=1, log=log)
    assert {finding.kind for finding in findings} == {Kind.UNDECIDED}
    assert quarantine_of(findings) == {}
    assert read_log(log, 1) == {}


@pytest.mark.parametrize(
    ("solved", "untouched", "kind"),
    [
        ("ppp", "fff", Kind.SOUND),
        ("fff", "fff", Kind.BROKEN),
        ("pfp", "fff", Kind.FLAKY),
        ("ppp", "ppp", Kind.WEAK),
        ("ppp", "fpf", Kind.FLAKY),
        ("ppp", "fif", Kind.UNDECIDED),
        ("ppp", "fxf", Kind.FLAKY),
        ("xxx", "fff", Kind.BROKEN),
    ],
)
def test_judgement(solved: str, untouched: str, kind: Kind) -> None:
    names = {"p": Outcome.PASSED, "f": Outcome.FAILED, "i": Outcome.INFRA, "x": Outcome.INVALID}
    verdicts = [
        [Verdict(outcome=names[c], verified=c == "p", reason="why") for c in word]
        for word in (solved, untouched)
    ]
    assert judge(*verdicts)[0] is kind


def test_quarantined_tasks_are_not_drawn(tmp_path: Path) -> None:
    first, second, *_ = drawn = katas.train_tasks(3, 6)
    out = {
        first.id: Entry(digest=first.digest, kind="flaky", reason=""),
        second.id: Entry(digest="of an older task", kind="flaky", reason=""),
    }
    write_quarantine(tmp_path / "q.json", out)
    rest = WithoutQuarantined(katas, read_quarantine(tmp_path / "q.json"))
    assert rest.train_tasks(3, 5) == drawn[1:]
    own = suite(tmp_path, *[MEAN | {"task_id": f"Own/{i}"} for i in range(20)])
    gone = {task.id: Entry(digest=task.digest, kind="weak", reason="") for task in own.tasks[:15]}
    with pytest.raises(ValueError, match="without the 15 in quarantine has"):
        WithoutQuarantined(own, gone).train_tasks(0, 10)


def test_quarantine_lists_that_are_none(tmp_path: Path) -> None:
    place = tmp_path / "q.json"
    with pytest.raises(ValueError, match=r"q\.json: is missing"):
        read_quarantine(place)
    for text, message in (
        ("{", r"q\.json: is not JSON"),
        ("[]", r"q\.json: the file: expected keys and values, got list"),
        ('{"tasks": {"a": {"digest": 1}}}', r"q\.json: tasks\.a\.digest: expected a text, got int 1"),
        ('{"tasks": {"a": {"digest": "1"}}}', r"q\.json: missing key tasks\.a\.kind"),
    ):
        place.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_quarantine(place)
    assert quarantine_path(str(tmp_path)) == tmp_path / "quarantine.json"
    assert quarantine_path(str(tmp_path / "HumanEval.jsonl.gz")) == tmp_path / "HumanEval.quarantine.json"
    assert quarantine_path("katas") == Path("katas.quarantine.json")


def test_import_checks_and_copies(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps(row) + "\n" for row in (*ROWS, MEAN, MEAN | {"task_id": 5, "test": "("}))
    )
    with pytest.raises(ValueError, match=r"rows\.jsonl:7: task_id 'Own/0' was there before"):
        import_rows(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = import_rows(file, tmp_path / "out", skip=True)
    assert (len(done.tasks), len(done.refused)) == (6, 2)
    own = load_suite(str(tmp_path / "out"))
    assert own.name == "out"
    assert own.train_tasks(0, 1)
    card = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert (card["tasks"], card["licences"]["MIT"]) == (6, 3)
    with pytest.raises(ValueError, match="is there already"):
        import_rows(file, tmp_path / "out")


def test_list_and_show(tmp_path: Path) -> None:
    suite(tmp_path, *ROWS)
    name = str(tmp_path / "own.jsonl")
    listed = CliRunner().invoke(app, ["list", name, "--rows"])
    assert listed.exit_code == 0, listed.output
    assert "6 published" in listed.output
    assert "Own/1" in listed.output
    shown = CliRunner().invoke(app, ["show", name, "Own/0", "--solution"])
    assert "def mean(" in shown.output
    assert "sum(a) / len(a)" in shown.output
    assert "MIT" in shown.output
    unknown = CliRunner().invoke(app, ["show", name, "nothing"])
    assert isinstance(unknown.exception, ValueError)
    made = CliRunner().invoke(app, ["list", "katas", "--tasks", "6"])
    assert "6 train, 6 held_out" in made.output


@pytest.fixture(scope="module")
def backend() -> Backend:
    try:
        found = open_backend("bubblewrap")
        found.open().close()
    except SandboxError as error:
        pytest.skip(str(error))
    return found


def folder(place: Path) -> Path:
    """A task folder that is as it should be."""
    write_folder(katas.held_out_tasks(0, 1)[0], place)
    (place / "environment" / "Dockerfile").unlink()
    return place


@pytest.mark.bwrap
@pytest.mark.slow
def test_folders_prove_themselves(tmp_path: Path, backend: Backend) -> None:
    places = {name: folder(tmp_path / name) for name in ("sound", "wrong", "flaky", "weak", "seen", "bare")}
    for name, place in places.items():
        settings = place / "task.toml"
        text = settings.read_text().replace('grading = "values"\n', "")
        settings.write_text(text.replace('name = "plateau/', f'name = "{name}/'))
    (places["wrong"] / "solution" / "solve.sh").write_text("exit 3\n")
    reward = "mkdir -p /logs/verifier\n{}\necho $reward > /logs/verifier/reward.txt\n"
    (places["flaky"] / "tests" / "test.sh").write_text(
        reward.format("reward=$(python3 -c 'import os; print(os.urandom(1)[0] % 2)')")
    )
    (places["weak"] / "tests" / "test.sh").write_text(reward.format("reward=1"))
    (places["seen"] / "environment" / "old_check.py").write_bytes(
        b"# moved here\n" + (places["seen"] / "tests" / "check.py").read_bytes()
    )
    (places["bare"] / "solution" / "solve.sh").unlink()
    tasks = [read_folder(place) for place in places.values()]
    findings = prove([task for task in tasks if "flaky" not in task.id], backend, repeats=2, workers=2)
    findings += prove([task for task in tasks if "flaky" in task.id], backend, repeats=8)
    found = {f.task.split("/")[0]: f.kind for f in findings}
    assert found == {
        "sound": Kind.SOUND,
        "wrong": Kind.BROKEN,
        "flaky": Kind.FLAKY,
        "weak": Kind.WEAK,
        "seen": Kind.READABLE,
        "bare": Kind.UNPROVEN,
    }
    assert "old_check.py in the box holds what tests/check.py says" in leak(tasks[4], backend)
    assert "exit code 3" in findings[1].reason


@pytest.mark.docker
def test_images_are_built_ahead_and_once(tmp_path: Path) -> None:
    from plateau_bench.sandbox.backends.docker import DockerBackend
    from plateau_bench.tasks.formats.building import build, to_build

    docker = DockerBackend()
    docker.open().close()  # the base image is there
    places = [folder(tmp_path / name) for name in ("good", "same", "bad")]
    for place in places:
        recipe = (
            "FROM plateau-base\nCOPY . /opt/own\n"
            if place.name != "bad"
            else "FROM plateau-base\nCOPY absent /\n"
        )
        (place / "environment" / "Dockerfile").write_text(recipe)
        (place / "environment" / "note").write_text(f"for {tmp_path.name}")
        settings = (place / "task.toml").read_text().replace('image = "plateau-base"\n', "")
        (place / "task.toml").write_text(settings)
    tasks = [read_folder(place, name=place.name) for place in places]
    images = to_build(tasks)
    assert len(images) == 2
    try:
        seen = list(build(images, docker))
        problems = {image: problem for image, problem in seen if problem}
        assert list(problems) == [tasks[2].box.image]
        assert "absent" in problems[tasks[2].box.image]
        assert len(seen) == 2
        assert list(build(to_build(tasks[:2]), docker)) == [(tasks[0].box.image, "")]
        docker.images.min_free_gb = 1e9
        with pytest.raises(SandboxError, match="images may need"):
            list(build({"plateau-task:absent": str(places[2] / "environment")}, docker))
    finally:
        docker.api.remove_image(tasks[0].box.image)


@pytest.mark.bwrap
def test_the_command(tmp_path: Path, backend: Backend) -> None:
    suite(tmp_path, MEAN, WRONG)
    arguments = ["validate", str(tmp_path / "own.jsonl"), "--repeats", "2", "--sandbox", "bubblewrap"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1, done.output
    assert "broken: Own/wrong: the solution fails" in done.output
    assert list(read_quarantine(tmp_path / "own.quarantine.json")) == ["Own/wrong"]
    assert len((tmp_path / "own.quarantine.log.jsonl").read_text().splitlines()) == 2
