"""SWE-bench's predictions: read, graded as an agent's attempts, and written again with the run report."""

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plateau_bench.agents.base import Ending
from plateau_bench.harness.cli.predictions import patch_of, run_report
from plateau_bench.harness.evals.agent_spec import read_agent
from plateau_bench.harness.evals.attempting import evaluate_agent
from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.harness.evals.predicted import read_predictions
from plateau_bench.results.records import Attempt
from plateau_bench.sandbox.base import Diff, SandboxSpec
from plateau_bench.sandbox.diffs import diff_from_text, diff_to_text, steps_from_text
from plateau_bench.tasks.base import Split, Task
from plateau_bench.tasks.formats.swebench_folders import Wanted, import_swebench
from tests.tasks.swebench_repo import ImageBackend, make

FIELDS = """total_instances submitted_instances completed_instances resolved_instances unresolved_instances
infra_failure_instances ambiguous_failure_instances empty_patch_instances error_instances completed_ids
incomplete_ids empty_patch_ids submitted_ids resolved_ids unresolved_ids infra_failure_ids
ambiguous_failure_ids failure_reasons error_ids schema_version"""


def row(name: str, patch: object) -> dict[str, object]:
    return {"instance_id": name, "model_name_or_path": "org/model", "model_patch": patch}


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    data = [row("a-1", "x"), row("a-2", None)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in data))
    (tmp_path / "list.json").write_text(json.dumps(data))
    (tmp_path / "table.json").write_text(json.dumps({one["instance_id"]: one for one in data}))
    for file in tmp_path.iterdir():
        found = read_predictions(file)
        assert (found.model, dict(found.patches)) == ("org/model", {"a-1": "x", "a-2": ""})
    assert read_agent(f"predictions:{tmp_path / 'a.jsonl'}").name == "org__model"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([row("a", "x"), row("a", "y")], "p.jsonl:2: instance_id 'a' was there before"),
        ([row("a", "x"), row("b", "y") | {"model_name_or_path": "m"}], r"several models \(m, org/model\)"),
        ([{"instance_id": "a"}], "p.jsonl:1: missing key model_name_or_path"),
        ([row("a", 3)], "p.jsonl:1: model_patch: expected a text, got int 3"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, data: list[dict[str, object]], message: str) -> None:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in data))
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "p.jsonl")


def evaluated(place: Path, patches: dict[str, object]) -> tuple[list[Attempt], dict[str, str]]:
    """The attempts of a file of predictions on the toy suite, and the patches that come out again."""
    (place / "p.jsonl").write_text("".join(json.dumps(row(*one)) + "\n" for one in patches.items()))
    spec = read_agent(f"predictions:{place / 'p.jsonl'}")
    what = Evaluation(
        suite=str(place / "suite"), split="held_out", tasks=2, samples=1, seed=0, agents=(spec,)
    )
    tasks = what.chosen()
    backend = ImageBackend(place / "suite" / "toy__calc-1")
    out = place / f"eval-{len(list(place.iterdir()))}"
    out.mkdir()
    made = evaluate_agent(
        out, what, spec, tasks, backend, at_once=1, budget=None, progress=lambda *_: None
    )  # fmt: skip
    named = {task.id: task for task in tasks}
    diffs = {one.task_id: steps_from_text(one.trajectory.answer)[-1] for one in made}
    return made, {name: patch_of(named[name], diff, backend) for name, diff in diffs.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("predictions")
    data = make(folder / "repos")
    other = data | {"instance_id": "toy__calc-2", "problem_statement": "The same again."}
    (folder / "rows.jsonl").write_text(json.dumps(data) + "\n" + json.dumps(other) + "\n")
    wanted = Wanted(repos=str(folder / "repos"), split=Split.HELD_OUT)
    import_swebench(folder / "rows.jsonl", folder / "suite", wanted)
    return folder, data


def test_predictions_are_graded_and_written_again(place: tuple[Path, dict[str, Any]]) -> None:
    folder, data = place
    made, patches = evaluated(folder, {"toy__calc-1": data["patch"], "elsewhere-1": "x"})
    report = run_report({one.task_id: one for one in made}, patches)
    assert set(report) == set(FIELDS.split())
    assert (report["resolved_ids"], report["incomplete_ids"]) == (["toy__calc-1"], ["toy__calc-2"])
    assert (report["total_instances"], report["submitted_instances"], report["schema_version"]) == (2, 1, 2)
    lines = [line for line in patches["toy__calc-1"].splitlines() if line[:1] in "+-"]
    assert lines == [line for line in data["patch"].splitlines() if line[:1] in "+-"]
    assert made[0].trajectory.model == "org/model"


def test_wrong_empty_and_unfit_patches_are_told_apart(place: tuple[Path, dict[str, Any]]) -> None:
    folder, data = place
    wrong = data["patch"].replace("+    return x + x", "+    return x * 0")
    made, patches = evaluated(folder, {"toy__calc-1": wrong, "toy__calc-2": ""})
    report = run_report({one.task_id: one for one in made}, patches)
    assert (report["unresolved_ids"], report["empty_patch_ids"]) == (["toy__calc-1"], ["toy__calc-2"])
    made, patches = evaluated(folder, {"toy__calc-1": data["patch"].replace("return x + 1", "return gone")})
    assert made[0].trajectory.ending is Ending.MALFORMED
    report = run_report({one.task_id: one for one in made}, patches)
    assert (report["error_ids"], report["completed_ids"], report["error_instances"]) == (
        ["toy__calc-1"],
        [],
        1,
    )


def test_the_fields_are_always_the_same() -> None:
    assert set(run_report({"a": None}, {})) == set(FIELDS.split())


@dataclass
class Bare:
    """As much of a task as a patch needs."""

    id: str = "bare"
    box: SandboxSpec = SandboxSpec()


lines = st.binary(max_size=9) | st.sampled_from(
    [b"h\xf6he = 1", b"x = 1\r", b"\xef\xbb\xbfx", b"\xff\xfex\0"]
)
content = st.lists(lines, max_size=4).map(b"\n".join)
trees = st.dictionaries(
    st.sampled_from(["a.py", "b c.py", "lib/\xfc.py", "[x].txt", "-n"]), content, min_size=1
)


def git(folder: Path, *command: str, stdin: bytes = b"") -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *who, *command], cwd=folder, check=True, input=stdin, capture_output=True)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=trees, after=trees)
def test_a_patch_carries_the_bytes_of_any_encoding(
    before: dict[str, bytes], after: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("bytes")
    work = place / "work"
    for path, data in before.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(data)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        git(work, *command)
    (place / "environment").mkdir()
    with tarfile.open(place / "environment" / "repo.tar.gz", "w:gz") as packed:
        packed.add(work, ".")
    changed = {path: data for path, data in after.items() if before.get(path) != data}
    diff = diff_from_text(diff_to_text(Diff(written=changed, deleted=tuple(before.keys() - after.keys()))))
    patch = patch_of(cast(Task, Bare()), diff, ImageBackend(place))
    sent = json.loads(json.dumps(patch))  # as it travels in predictions.jsonl
    assert bool(sent) == (before != after)
    if sent:
        git(work, "apply", "--whitespace=nowarn", "-", stdin=sent.encode())
    files = (path for path in work.rglob("*") if path.is_file() and ".git" not in path.parts)
    assert {path.relative_to(work).as_posix(): path.read_bytes() for path in files} == after
