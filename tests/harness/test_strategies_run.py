"""Strategies whose mechanics lie in the loop, in whole runs."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.harness.strategies import STRATEGIES
from plateau_bench.harness.strategies.params import own
from plateau_bench.results.attempt_log import read_lines
from tests.harness.test_run import config, finish, kill_when, plateau, without_timings

DOCS = Path(__file__).parents[2] / "docs" / "strategies.md"
FENCE = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
assert FENCE

WRECKING: dict[str, Any] = {
    "arms": {
        "gate": {"strategy": "gate"},
        "early_stop": {"strategy": "early_stop_rollforward", "patience": 1},
        "wise_ft": {"strategy": "wise_ft", "lam": 0.0},
        "truncated_ce": {"strategy": "truncated_ce", "gamma": 1e-9},
        "adaptive": {"strategy": "adaptive_temperature", "temperatures": [0.5, 1.0]},
    },
    "tasks": {"train": 40, "held_out": 10, "selection": 20},
    "train": {"learning_rate": 0.5, "epochs": 1, "batch_tokens": 128},
}
"""Such steps wreck the model, so a selection split must send every new checkpoint back."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrecking")
    code, _, err = finish(plateau(cache, "run", config(folder, **WRECKING), "--out", folder / "run"))
    assert code == 0, err
    return folder / "run"


def records(run: Path, arm: str) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(run.glob(f"seed-3/{arm}/round-*/round.json"))]


def weights(run: Path, checkpoint: str) -> bytes:
    return (run / checkpoint / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.bwrap
@pytest.mark.parametrize("arm", ["gate", "early_stop"])
def test_a_worse_checkpoint_is_rolled_back_and_the_next_round_acts_with_the_old_one(
    run: Path, arm: str
) -> None:
    first, second, last = records(run, arm)
    base = first["checkpoint_in"]
    for index, record in enumerate((first, second)):
        made = f"seed-3/{arm}/round-{index:02d}/checkpoint"
        assert (record["training"]["made"], record["training"]["kept"]) == (made, False)
        assert weights(run, made) != weights(run, base)
        assert record["checkpoint_out"] == base
        assert record["training"]["selection_attempts"] == 40
        assert record["training"]["compute_multiplier"] > 1
    assert second["checkpoint_in"] == last["checkpoint_in"] == base
    tasks = {row["task_id"] for row in read_lines(run / "seed-3/shared/round-00/selection.jsonl")}
    assert tasks == {row["task_id"] for row in read_lines(run / f"seed-3/{arm}/round-01/selection.jsonl")}
    assert tasks.isdisjoint(first["task_ids"])


@pytest.mark.slow
@pytest.mark.bwrap
def test_a_run_killed_while_it_selects_ends_like_an_uninterrupted_one(
    cache: Path, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "run"
    selecting = other / "seed-3/gate/round-00/selection.jsonl"
    kill_when(plateau(cache, "run", config(tmp_path, **WRECKING), "--out", other), selecting.exists)
    trying = other / "seed-3/adaptive/round-01/practice/0.jsonl"
    kill_when(plateau(cache, "resume", other), trying.exists)
    code, _, err = finish(plateau(cache, "resume", other))
    assert code == 0, err
    assert without_timings(other) == without_timings(run)


@pytest.mark.slow
@pytest.mark.bwrap
@pytest.mark.parametrize("arm", ["wise_ft", "truncated_ce"])
def test_with_nothing_of_the_new_weights_or_no_loss_the_base_stays(run: Path, arm: str) -> None:
    first = records(run, arm)[0]
    assert first["training"]["examples"] > 0
    assert weights(run, first["checkpoint_out"]) == weights(run, first["checkpoint_in"])


@pytest.mark.slow
@pytest.mark.bwrap
def test_adaptive_temperature_spends_what_the_others_spend(run: Path) -> None:
    rows = read_lines(run / "seed-3/adaptive/round-01/train.jsonl")
    assert Counter(Counter(row["task_id"] for row in rows).values()) == {2: 40}
    tasks = Counter(row["temperature"] for row in rows if row["sample"] == 0)
    assert sorted(tasks.values()) == [
        10,
        30,
    ]  # a quarter of the tasks for each trial, the rest for the winner
    facts = records(run, "adaptive")[1]["training"]
    assert facts["practice_temperature"] == tasks.most_common(1)[0][0]


@pytest.mark.slow
@pytest.mark.bwrap
def test_a_strategy_in_a_file_of_its_own_plays_a_round(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.py").write_text(FENCE[1])
    arms = {"short": {"strategy": "short.py:SHORT", "share": 0.5}}
    changed = config(tmp_path, arms=arms, rounds=1, tasks={"train": 40, "held_out": 10})
    code, _, err = finish(plateau(cache, "run", changed, "--out", tmp_path / "run"))
    assert code == 1
    assert "arms.short.strategy: short.py: no such file" in err
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    code, _, err = finish(plateau(cache, "run", changed, "--out", tmp_path / "run", cwd=tmp_path))
    assert code == 0, err
    answers = {
        f"round-00/{row['task_id']}#{row['sample']}": len(row["trajectory"]["answer"])
        for row in read_lines(tmp_path / "run/seed-3/shared/round-00/train.jsonl")
        if row["verdict"]["verified"]
    }
    chosen = {row["source"] for row in read_lines(tmp_path / "run/seed-3/short/round-00/training_set.jsonl")}
    assert len(chosen) == round(len(answers) / 2)
    assert max(answers[s] for s in chosen) <= min(answers[s] for s in answers.keys() - chosen)


def test_the_docs_name_every_strategy_and_its_parameters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", DOCS.read_text(), re.MULTILINE))
    for name, strategy in STRATEGIES.items():
        assert re.findall(r"`(\w+)`", rows[name]) == own(strategy.params), name
