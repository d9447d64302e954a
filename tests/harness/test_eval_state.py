"""An evaluation's state is known by content: nothing old is shown for something new, and nothing is lost."""

import json
import random
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plateau_bench.harness.cli.app import app
from plateau_bench.harness.evals.agent_spec import read_agent
from plateau_bench.results.attempt_log import in_order
from plateau_bench.results.store import EvalStore
from plateau_bench.validate import as_folder_name, folder_name
from tests.agents.hostile import HostileServer

pytestmark = pytest.mark.bwrap


def rows(count: int, wrong: bool = False) -> list[dict[str, str]]:
    return [
        {
            "task_id": f"Own/{n}",
            "prompt": f"def add_{n}(x):\n",
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1 + wrong}\n",
            "entry_point": f"add_{n}",
        }
        for n in range(count)
    ]


def write(place: Path, data: list[dict[str, str]]) -> None:
    place.write_text("".join(json.dumps(row) + "\n" for row in data))


def plateau(*arguments: object) -> tuple[int, str]:
    """(exit code, all that was said)."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def evaluate(folder: Path, *more: object, agent: str = "nop", suite: Path | None = None) -> tuple[int, str]:
    named = ["--suite", suite or folder / "rows.jsonl"]
    return plateau("eval", "--agent", agent, *named, "--sandbox", "bubblewrap", "--out", folder / "e", *more)


def endpoint(folder: Path, server: HostileServer, **more: object) -> str:
    path = folder / "m.yaml"
    plain = {"kind": "oneshot", "model": "openai:hostile", "base_url": server.url, **more}
    path.write_text(json.dumps(plain))
    return str(path)


def test_repaired_tests_grade_the_same_answers_again(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(6))
    with HostileServer(share=0.0) as server:
        agent = endpoint(tmp_path, server)
        assert evaluate(tmp_path, "-n", 1, agent=agent)[0] == 0
        asked = server.served["good"]
        before = in_order(EvalStore(tmp_path / "e").attempts("m"))
        write(tmp_path / "rows.jsonl", rows(6, wrong=True))
        for command in ("leaderboard", "compare"):
            code, said = plateau(command, tmp_path / "e")
            assert code == 1
            assert "tasks Own/0, Own/1, Own/2 and 3 more (m)" in said
            assert plateau(command, tmp_path / "e", "--as-recorded")[0] == 0
        code, said = evaluate(tmp_path, "-n", 1, agent=agent)
        assert code == 0, said
        assert "changed in the tests; 6 attempts are graded again" in said
        assert server.served["good"] == asked, "nothing was asked again"
    after = in_order(EvalStore(tmp_path / "e").attempts("m"))
    assert [one.trajectory for one in after] == [one.trajectory for one in before]
    assert {one.task_digest for one in after}.isdisjoint({one.task_digest for one in before})
    assert len(in_order(tmp_path / "e/m/replaced.jsonl")) == 6


def test_another_question_stops_and_is_asked_again_on_demand(tmp_path: Path) -> None:
    data = rows(4)
    write(tmp_path / "rows.jsonl", data)
    with HostileServer(share=0.0) as server:
        agent = endpoint(tmp_path, server)
        evaluate(tmp_path, "-n", 2, agent=agent)
        asked = server.served["good"]
        data[2]["prompt"] = "def add_2(x):\n    # adds two\n"
        write(tmp_path / "rows.jsonl", data)
        code, said = evaluate(tmp_path, "-n", 2, agent=agent)
        assert code == 1
        assert "task Own/2 changed since m was asked, and not in the tests alone; --retry changed" in said
        assert plateau("regrade", tmp_path / "e")[1].count("Own/2") == 1, "and regrade leaves it alone"
        code, said = evaluate(tmp_path, "-n", 2, "--retry", "changed", agent=agent)
        assert (code, server.served["good"]) == (0, asked + 2), said


def test_random_edits_between_two_commands_are_never_silent(tmp_path: Path) -> None:
    """Whatever is edited: the second command has the same digests, grades or asks anew, or names the task."""
    rng = random.Random(5)
    for trial in range(8):
        folder = tmp_path / str(trial)
        folder.mkdir()
        data = rows(5)
        write(folder / "rows.jsonl", data)
        assert evaluate(folder, "-n", 1, "--tasks", 4)[0] == 0
        kept = json.loads((folder / "e/eval.json").read_text())["content"]["chosen"]
        victim = rng.randrange(5)
        edit = rng.choice(["test", "prompt", "remove", "order", "canonical_solution"])
        if edit == "remove":
            del data[victim]
        elif edit == "order":
            rng.shuffle(data)
        else:
            data[victim][edit] += "    # edited\n" if edit != "test" else "    assert True\n"
        write(folder / "rows.jsonl", data)
        code, said = evaluate(folder, "-n", 1, "--tasks", 4)
        assert code == 0, (edit, said)
        hit = f"Own/{victim}" in kept and edit != "order"
        assert (("made again" in said) or ("count no longer" in said)) == hit, (edit, victim, said)


def test_other_weights_are_never_shown_by_the_old_numbers(tmp_path: Path) -> None:
    from plateau_bench.agents.models.checkpoint import save
    from tests.agents.tiny import tiny_checkpoint

    model, tokenizer = tiny_checkpoint()
    save(model, tokenizer, tmp_path / "ck")
    agent = tmp_path / "m.yaml"
    agent.write_text(f"kind: oneshot\nmodel: {tmp_path / 'ck'}\nlimits: {{completion_tokens: 8}}\n")
    write(tmp_path / "rows.jsonl", rows(2))
    code, said = evaluate(tmp_path, "-n", 1, agent=str(agent))
    assert code == 0, said
    first = in_order(EvalStore(tmp_path / "e").attempts("m"))
    code, said = evaluate(tmp_path, "-n", 2, agent=str(agent))
    assert code == 0, said
    more = in_order(EvalStore(tmp_path / "e").attempts("m"))
    assert (len(first), len(more)) == (2, 4)
    assert [one for one in more if one.sample == 0] == first, "what was there stays"
    (tmp_path / "ck/generation_config.json").write_text('{"temperature": 0.5}')
    code, said = evaluate(tmp_path, "-n", 2, agent=str(agent))
    assert code == 1
    assert "generation_config.json of" in said
    assert "--retry all" in said
    assert plateau("leaderboard", tmp_path / "e")[0] == 1
    shutil.rmtree(tmp_path / "ck")
    assert plateau("leaderboard", tmp_path / "e")[0] == 0, "what is gone has not changed"


def test_one_suite_by_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.jsonl", rows(3))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "./rows.jsonl", "sub/../rows.jsonl", str(tmp_path / "rows.jsonl")):
        code, said = evaluate(tmp_path, "-n", 1, suite=Path(name))
        assert code == 0, said
    monkeypatch.chdir("/")
    assert plateau("export", tmp_path / "e", "--format", "atif", "--out", tmp_path / "x")[0] == 0


def test_all_tasks_by_default_and_how_many_of_how_many(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(12))
    evaluate(tmp_path, "-n", 3)
    store = EvalStore(tmp_path / "e")
    assert len(in_order(store.attempts("nop"))) == 36
    evaluate(tmp_path, "-n", 3, agent="oracle")
    log = store.attempts("oracle")
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:5]))
    code, said = plateau("leaderboard", tmp_path / "e")
    table = [line for line in said.splitlines() if line.startswith("| ")]
    assert table[1].startswith("| nop"), "the unfinished one is last, whatever it has passed"
    assert "| 5 of 36, unfinished |" in table[2]
    assert "oracle is unfinished (5 of 36 attempts) and not compared" in said
    assert (tmp_path / "e/leaderboard.csv").read_text().count(",36,") == 2
    code, said = plateau("eval", "--out", tmp_path / "e", "-n", 5, "--sandbox", "bubblewrap")
    assert code == 0, said
    assert [len(in_order(store.attempts(name))) for name in ("nop", "oracle")] == [60, 60]
    code, said = plateau("eval", "--out", tmp_path / "e", "-n", 2)
    assert code == 1
    assert "-n may grow, not shrink" in said
    assert plateau("eval", "--out", tmp_path / "e", "--drop", "nop", "--sandbox", "bubblewrap")[0] == 0
    assert list(store.scores()) == ["oracle"]
    assert (tmp_path / "e/.dropped/nop/attempts.jsonl").exists()


def test_an_agent_is_mended_or_made_again(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(2))
    with HostileServer(share=0.0) as server:
        evaluate(tmp_path, "-n", 1, agent=endpoint(tmp_path, server))
        code, said = evaluate(tmp_path, "-n", 1, agent=endpoint(tmp_path, server, timeout_s=9))
        assert code == 0
        assert "timeout_s was 300.0 and is 9.0; its 2 attempts are kept" in said
        code, said = evaluate(tmp_path, "-n", 1, agent=endpoint(tmp_path, server, temperature=0.1))
        assert code == 1
        assert "temperature was None and is 0.1" in said
        colder = endpoint(tmp_path, server, temperature=0.1)
        assert evaluate(tmp_path, "-n", 1, "--retry", "all", agent=colder)[0] == 0
    assert {one.temperature for one in in_order(EvalStore(tmp_path / "e").attempts("m"))} == {0.1}
    assert "--retry: 'crash' is none of" in evaluate(tmp_path, "--retry", "crash")[1]


def test_what_is_in_quarantine_is_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [*rows(6)[:5], rows(6, wrong=True)[5]])
    plateau("tasks", "validate", tmp_path / "rows.jsonl", "--sandbox", "bubblewrap")
    assert (tmp_path / "rows.quarantine.json").exists()
    code, said = evaluate(tmp_path, "-n", 1, agent="oracle")
    assert code == 0
    assert "1 tasks are in quarantine and left out" in said
    assert "| oracle | 100.0 % " in said
    code, said = evaluate(
        tmp_path, "-n", 1, "--quarantine", "none", "--out", tmp_path / "all", agent="oracle"
    )
    assert "| oracle | 83.3 % " in said


def test_a_check_proves_or_says_why_not(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(3))
    with HostileServer(share=0.0) as server:
        agent = endpoint(tmp_path, server)
        code, said = evaluate(tmp_path, "--check", agent=agent)
        assert (code, server.served["good"]) == (0, 1), said
        assert "the solution of Own/0 passes its tests" in said
        assert not (tmp_path / "e").exists()
        write(tmp_path / "rows.jsonl", rows(3, wrong=True))
        code, said = evaluate(tmp_path, agent=agent)
        assert code == 1
        assert "the solutions of 3 tasks do not pass their tests (Own/0: " in said
        assert not (tmp_path / "e/m/attempts.jsonl").exists()
    (tmp_path / "m.yaml").write_text('{"kind": "oneshot", "model": "/nowhere/at/all"}')
    assert evaluate(tmp_path, "--check", agent=str(tmp_path / "m.yaml"))[0] == 1


@pytest.mark.parametrize("option", ["-n", "--tasks", "--at-once", "--max-usd", "--max-tokens", "--seed"])
def test_numbers_without_sense_are_refused(option: str, tmp_path: Path) -> None:
    rng = random.Random(option)
    for bad in (-1, -rng.randrange(1, 10**6), *(["nan", "inf"] if option == "--max-usd" else [10**30])):
        code, said = evaluate(tmp_path, option, bad, suite=Path("katas"))
        assert code != 0
        assert option in said
        assert not (tmp_path / "e").exists()


def test_names_never_leave_their_folder(tmp_path: Path) -> None:
    rng = random.Random(1)
    letters = "ab/.\\\0 ~-_:é\n"
    taken = ["..", "../x", "", ".", "a/b", "x" * 101, "eval.json", "leaderboard.md"]
    for text in [*taken, *("".join(rng.choices(letters, k=rng.randrange(9))) for _ in range(300))]:
        made = as_folder_name(text)
        assert folder_name(made, "x") == made
        try:
            place = EvalStore(tmp_path).attempts(text)
        except ValueError:
            continue
        assert place.parent.parent == tmp_path
        assert place.parent.name == text
    (tmp_path / "a.yaml").write_text("kind: nop\nname: ../../escape\n")
    with pytest.raises(ValueError, match=r"a.yaml: name: '../../escape' cannot name a folder"):
        read_agent(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    "line", ["temperature: .nan", "timeout_s: 0", "limits: {steps: 0}", "price: {read: -1, written: 1}"]
)
def test_numbers_of_an_agents_file_are_checked(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"kind: tool\nmodel: openai:x\n{line}\n")
    with pytest.raises(ValueError, match=r"a.yaml: [a-z_.]+: must be"):
        read_agent(str(tmp_path / "a.yaml"))


def test_an_evaluation_is_graded_again(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(3))
    with HostileServer(share=0.0) as server:
        evaluate(tmp_path, "-n", 1, agent=endpoint(tmp_path, server))
    evaluate(tmp_path, "-n", 1, agent="oracle")
    assert plateau("regrade", tmp_path / "e") == (0, "3 attempts graded\n3 attempts graded\n"
        "6 attempts graded again, 0 verdicts changed\n")  # fmt: skip
    write(tmp_path / "rows.jsonl", rows(3, wrong=True))
    code, said = plateau("regrade", tmp_path / "e")
    assert code == 1
    assert "6 attempts graded again, 3 verdicts changed" in said
    assert "oracle Own/0#0: passed -> failed" in said
    code, said = plateau("leaderboard", tmp_path / "e", "--out", tmp_path / "b")
    assert code == 0, said
    assert "| oracle | 0.0 % " in said


def test_a_folder_without_digests_is_read_and_never_called_changed(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(3))
    with HostileServer(share=0.0) as server:
        agent = endpoint(tmp_path, server)
        evaluate(tmp_path, "-n", 1, agent=agent)
        manifest = EvalStore(tmp_path / "e").manifest
        plain = json.loads(manifest.read_text())
        del plain["content"], plain["quarantine"], plain["agents"][0]["price"]
        manifest.write_text(json.dumps(plain))
        asked = server.served["good"]
        assert plateau("leaderboard", tmp_path / "e")[0] == 0
        code, said = evaluate(tmp_path, "-n", 1, agent=agent)
        assert (code, server.served["good"]) == (0, asked), said
        manifest.write_text(json.dumps(plain))
        write(tmp_path / "rows.jsonl", rows(3, wrong=True))
        code, said = evaluate(tmp_path, "-n", 1, agent=agent)
        assert code == 1
        assert "perhaps not in the tests alone" in said
        assert "'plateau regrade" in said
