"""`plateau eval` and what reads its folder: real grading in bubblewrap, scripted and endpoint models."""

import dataclasses
import io
import json
import re
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from plateau_bench.agents.base import Ending, Limits, ModelUnavailable
from plateau_bench.agents.models.checkpoint import save
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.rollout import Plan, as_they_come
from plateau_bench.harness.cli.app import app
from plateau_bench.harness.cli.meter import Tally
from plateau_bench.harness.cli.show import pick, plain, show_attempt
from plateau_bench.harness.evals.agent_spec import AgentSpec, read_agent
from plateau_bench.harness.evals.attempting import evaluate_agent
from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.results.attempt_log import in_order
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.results.report.leaderboard import Leaderboard
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox import open_backend
from plateau_bench.tasks.base import Outcome
from plateau_bench.tasks.suites import katas
from tests.agents.hostile import HostileServer
from tests.agents.tiny import tiny_checkpoint
from tests.results.attempts import attempt

TASKS = katas.held_out_tasks(7, 6)


def evaluation(*agents: AgentSpec) -> Evaluation:
    return Evaluation(suite="katas", split="held_out", tasks=6, samples=2, seed=7, agents=agents)


def run(folder: Path, spec: AgentSpec, **options: object) -> list[Attempt]:
    what = evaluation(spec)
    folder.mkdir(exist_ok=True)
    what.save(folder)
    settings: dict[str, object] = {"at_once": 3, "budget": None, "progress": lambda *_: None} | options
    return evaluate_agent(folder, what, spec, TASKS, open_backend("bubblewrap"), **settings)  # type: ignore[arg-type]


def facts(made: list[Attempt]) -> list[object]:
    return [(a.task_id, a.sample, a.verdict) for a in made]


def test_oracle_solves_all_and_nop_nothing(tmp_path: Path) -> None:
    oracle = run(tmp_path, read_agent("oracle"))
    nop = run(tmp_path, read_agent("nop"))
    assert len(oracle) == len(nop) == 12
    board = Leaderboard.of({"oracle": oracle, "nop": nop})
    assert [s.pass1.value for s in board.scores] == [1.0, 0.0]
    assert board.found[0].better == "oracle"
    assert board.letters == {"oracle": "a", "nop": "b"}
    assert "oracle is better than nop" in board.markdown()
    assert "<svg" in board.html("x")
    assert board.csv().splitlines()[1].startswith("oracle,")
    assert set(EvalStore(tmp_path).scores()) == {"oracle", "nop"}


def test_a_stopped_evaluation_repeats_nothing(tmp_path: Path) -> None:
    with HostileServer(share=0.0) as server:
        spec = AgentSpec(name="m", kind="oneshot", model="openai:hostile", base_url=server.url)
        whole = run(tmp_path / "whole", spec)
        calls = server.served["good"]
        path = EvalStore(tmp_path / "part").attempts("m")
        path.parent.mkdir(parents=True)
        lines = EvalStore(tmp_path / "whole").attempts("m").read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # torn in the sixth
        again = run(tmp_path / "part", spec)
        assert server.served["good"] == calls + 7
    assert [(a.task_id, a.sample, a.verdict) for a in again] == [
        (a.task_id, a.sample, a.verdict) for a in whole
    ]


def test_an_endpoint_that_is_gone_stops_the_evaluation_and_loses_nothing(tmp_path: Path) -> None:
    from plateau_bench.agents.models import endpoint

    class Impatient(endpoint.Breaker):
        def __init__(self) -> None:
            super().__init__(failures=3, rest_s=0.01, give_up_s=0.1)

    with HostileServer(share=1.0, only=("500",)) as server:
        model = endpoint.open_endpoint(
            "openai:x",
            base_url=server.url,
            breaker=Impatient(),
            policy=endpoint.Policy(tries=99, first_wait_s=0.001, longest_wait_s=0.01),
        )
        with pytest.raises(ModelUnavailable, match="same command again"):
            model.invoke("x")


def test_a_replay_gives_the_same_verdicts(tmp_path: Path) -> None:
    first = run(tmp_path, read_agent("oracle"))
    spec = read_agent(f"replay:{EvalStore(tmp_path).attempts('oracle')}")
    again = run(tmp_path, spec)
    assert [a.verdict for a in again] == [a.verdict for a in first]


@pytest.mark.slow
def test_local_weights_are_replayed(tmp_path: Path) -> None:
    save(*tiny_checkpoint(), tmp_path / "weights")
    limits = Limits(completion_tokens=12)
    local = AgentSpec(name="m", kind="oneshot", model=str(tmp_path / "weights"), limits=limits)
    counts: list[tuple[int, int]] = []
    first = run(tmp_path, local, progress=lambda name, total, new: counts.append((total, len(new))))
    assert counts == [(12, 0), (12, 12)]
    assert len({a.trajectory.answer for a in first}) > 6, "the samples differ"
    again = run(tmp_path, read_agent(f"replay:{EvalStore(tmp_path).attempts('m')}"))
    assert [(a.task_id, a.sample, a.trajectory, a.verdict) for a in again] == [
        (a.task_id, a.sample, a.trajectory, a.verdict) for a in first
    ]


def test_a_replay_of_other_attempts_is_refused(tmp_path: Path) -> None:
    log = EvalStore(tmp_path).attempts("oracle")
    run(tmp_path, read_agent("oracle"))
    log.write_bytes(log.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(ValueError, match=r"replay: no attempt katas/.* was recorded"):
        run(tmp_path, read_agent(f"replay:{log}"))


def test_a_folder_of_the_first_format_is_refused_and_can_be_replayed(tmp_path: Path) -> None:
    old = tmp_path / "old"
    first = run(old, read_agent("oracle"))
    manifest = json.loads((old / "eval.json").read_text())
    assert manifest.pop("format") == 2
    (old / "eval.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ValueError, match="is of format 1 and this plateau reads 2 .* choose a new folder"
    ) as e:
        run(old, read_agent("oracle"))
    assert "choose a new folder with --out" in str(e.value)
    assert f"replay:{old}/NAME/attempts.jsonl takes the answers over" in str(e.value)
    with pytest.raises(ValueError, match="format 1"):
        EvalStore(old).scores()
    again = run(tmp_path / "new", read_agent(f"replay:{old}/oracle/attempts.jsonl"))
    assert facts(again) == facts(first)


def test_the_runs_budget_stops_new_attempts(tmp_path: Path) -> None:
    from plateau_bench.agents.models.endpoint import Budget
    from plateau_bench.agents.models.prices import Price

    with HostileServer(share=0.0) as server:
        price = Price(read=1, written=100)
        spec = AgentSpec(
            name="m",
            kind="oneshot",
            model="openai:x",
            base_url=server.url,
            price=price,
            limits=Limits(completion_tokens=50),
        )
        budget = Budget(usd=0.008)
        said: list[str] = []
        made = run(tmp_path, spec, budget=budget, at_once=1, say=said.append)
        assert re.search(r"budget spent after [1-9] of 12 attempts of m; .*--max-usd", said[-1])
        assert 0 < len(made) < 12
        assert not [a for a in made if a.trajectory.ending is Ending.COST_LIMIT]
        assert budget.spent_usd <= 0.008
        assert len(run(tmp_path, spec, budget=Budget(usd=1.0), at_once=1)) == 12


@pytest.mark.slow
def test_a_key_that_is_revoked_half_way_stops_and_a_good_one_completes(tmp_path: Path) -> None:
    """Congestion and broken answers all the time, 401 from the 700th request on: nothing is lost."""
    from plateau_bench.agents.models import endpoint, patience

    class Revoked(HostileServer):
        def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], what: str) -> None:
            super().answer(handler, body, "401" if sum(self.served.values()) > 700 else what)

    def evaluate(server: HostileServer) -> None:
        model = endpoint.open_endpoint(
            "openai:x",
            base_url=server.url,
            policy=patience.Policy(tries=50, first_wait_s=0.001, longest_wait_s=0.02),
        )
        with closing(Grader(open_backend("bubblewrap"), tmp_path / "verdicts")) as grade:
            as_they_come(
                plan, OneShot(model), grade, tmp_path / "log.jsonl",
                backend=open_backend("bubblewrap"), at_once=16, recorded=lambda new: None,
            )  # fmt: skip

    tasks = tuple(katas.held_out_tasks(7, 100))
    plan = Plan(arm="m", seed=1, round=0, purpose=Purpose.EVAL, tasks=tasks, samples=10, temperature=None)
    kinds = ("429", "500", "529", "not json", "no choices", "drop")
    with Revoked(share=0.3, seed=2, only=kinds) as server, pytest.raises(ModelUnavailable, match="401"):
        evaluate(server)
    kept = in_order(tmp_path / "log.jsonl")
    assert 300 < len(kept) < 700
    assert {one.trajectory.ending for one in kept} == {Ending.SUBMITTED}
    with HostileServer(share=0.3, seed=3, only=kinds) as server:
        evaluate(server)
        assert server.served["good"] == 1000 - len(kept)
    made = in_order(tmp_path / "log.jsonl")
    assert len({(one.task_id, one.sample) for one in made}) == len(made) == 1000
    assert {one.trajectory.ending for one in made} == {Ending.SUBMITTED}


def test_another_evaluation_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, read_agent("nop"))
    other = Evaluation(
        suite="katas", split="held_out", tasks=9, samples=2, seed=7, agents=(read_agent("nop"),)
    )
    with pytest.raises(ValueError, match="tasks 6, not 9"):
        other.save(tmp_path)
    changed = evaluation(AgentSpec(name="nop", kind="nop", temperature=0.1))
    with pytest.raises(ValueError, match="described differently"):
        changed.save(tmp_path)


def test_without_a_number_all_tasks_of_a_suite_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "task_id": f"Own/{n}",
            "prompt": f"def add_{n}(x):\n",
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
            "entry_point": f"add_{n}",
        }
        for n in range(30)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = [
        Evaluation(suite=str(file), split=split, tasks=None, samples=1, seed=0, agents=()).chosen()
        for split in ("held_out", "train")
    ]
    assert sum(map(len, sides)) == 30
    assert all(sides)
    made = Evaluation(suite="katas", split="train", tasks=None, samples=1, seed=0, agents=())
    assert len(made.chosen()) == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tool", "expected a YAML file"),
        ("missing.yaml", "missing.yaml: no such file"),
        ("bad.yaml", "bad.yaml: unknown key modle; did you mean model"),
    ],
)
def test_a_wrong_agent_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("kind: tool\nmodle: x\n")
    with pytest.raises(ValueError, match=message):
        read_agent(text)
    Path("good.yaml").write_text(
        "kind: tool\nmodel: openai:x\nprice: {read: 1, written: 2}\nlimits: {steps: 9, cost_usd: 0.5}\n"
    )
    good = read_agent("good.yaml")
    assert (good.name, good.limits.steps, good.is_local) == ("good", 9, False)
    assert good.limits.completion_tokens == 4096, "what is not said stays"
    assert good.price is not None
    assert good.price.written == 2.0


@pytest.mark.parametrize(
    ("text", "kind", "model"),
    [
        ("tool:openai:gpt-5", "tool", "openai:gpt-5"),
        ("package.module.Mine:openai:gpt-5", "package.module.Mine", "openai:gpt-5"),
        ("place/mine.py:Mine:openai:gpt-5", "place/mine.py:Mine", "openai:gpt-5"),
    ],
)
def test_an_agent_is_named_by_its_kind_and_model(text: str, kind: str, model: str) -> None:
    spec = read_agent(text)
    assert (spec.kind, spec.model) == (kind, model)
    assert "/" not in spec.name


def test_commands_end_to_end(tmp_path: Path) -> None:
    out = str(tmp_path / "e")
    common = ["--tasks", "6", "-n", "1", "--out", out, "--sandbox", "bubblewrap"]
    done = CliRunner().invoke(app, ["eval", "--agent", "oracle", "--agent", "nop", *common])
    assert done.exit_code == 0, done.output
    assert "oracle is better than nop" in done.stdout
    compared = CliRunner().invoke(app, ["compare", out, "--json"])
    assert json.loads(compared.stdout)[0]["better"] == "oracle"
    board = CliRunner().invoke(app, ["leaderboard", out, "--out", str(tmp_path / "b")])
    assert board.exit_code == 0
    assert {p.name for p in (tmp_path / "b").iterdir()} == {f"leaderboard.{x}" for x in ("md", "csv", "html")}
    shown = CliRunner().invoke(app, ["show", f"{out}/oracle/attempts.jsonl", "0"])
    assert "PASSED" in shown.stdout
    series = tmp_path / "s.csv"
    series.write_text("label,rate,n\nmarch,13.86%,570\njune,16.2%,570\n")
    said = CliRunner().invoke(app, ["compare", "--series", str(series)])
    assert "no rise is significant" in said.stdout


def test_the_tokens_of_a_training_set_are_shown(tmp_path: Path) -> None:
    _, tokenizer = tiny_checkpoint()
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    ids = tokenizer("def f(a):\n    return a", add_special_tokens=False)["input_ids"]
    row = {"token_ids": ids, "loss_spans": [[2, len(ids)]], "source": "round-00/x#0"}
    (tmp_path / "training_set.jsonl").write_text(json.dumps(row) + "\n")
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "training_set.jsonl"), "--tokens"])
    assert shown.exit_code == 0, shown.output
    first, *others = shown.stdout.splitlines()
    assert first == f"     | {tokenizer.decode(ids[:2])}"
    assert [line[:6] for line in others[:-1]] == ["loss |"] * 2
    assert f"{len(ids) - 2} of {len(ids)} tokens carry loss, in 1 spans" in shown.stdout
    missing = CliRunner().invoke(app, ["show", str(tmp_path / "training_set.jsonl"), "7"])
    assert "numbered from 0" in str(missing.exception)


def test_a_tally_counts_what_is_new() -> None:
    tally = Tally()
    assert str(tally) == ""
    tally.add([attempt("a", 0)])
    assert str(tally) == "pass 100.0 %"
    made = attempt("a", 1, Outcome.FAILED)
    tally.add([dataclasses.replace(made, trajectory=dataclasses.replace(made.trajectory, cost_usd=0.25))])
    assert str(tally) == "pass 50.0 %  $0.25 + 1 of unknown cost"


def test_a_terminal_does_not_obey_a_model(tmp_path: Path) -> None:
    assert plain("a\x1b[31mb\x07\u202e") == "a\\x1b[31mb\\x07\\x202e"
    made = run(tmp_path, read_agent("oracle"))
    console = Console(record=True, width=100, file=io.StringIO())
    show_attempt(pick(made, f"{TASKS[0].id}#1", "x"), console)
    assert "all hidden tests passed" in console.export_text()
    with pytest.raises(ValueError, match="no attempt 'zz'"):
        pick(made, "zz", "x")
    tally = Tally()
    tally.add(made)
    assert str(tally) == "pass 100.0 %"
    assert len(in_order(EvalStore(tmp_path).attempts("oracle"))) == 12
