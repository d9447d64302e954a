"""A whole multi-turn run in boxes, killed and resumed: a model is trained on its own conversations."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from plateau_bench.agents.models.checkpoint import make_model, save
from plateau_bench.harness.cli.show import masked_text
from plateau_bench.harness.learning.base_model import _tokenizer
from plateau_bench.harness.learning.dataset import from_sample
from plateau_bench.harness.learning.settings import PretrainConfig, TrainConfig
from plateau_bench.harness.learning.train import fine_tune
from plateau_bench.harness.seeds import derive
from plateau_bench.results.attempt_log import read_lines
from plateau_bench.tasks.suite import HumanSample
from plateau_bench.tasks.suites import repo_katas
from plateau_bench.tasks.suites.repo_katas.project import draw_pipeline, draw_project
from plateau_bench.tasks.suites.repo_katas.transcript import work

pytestmark = [pytest.mark.slow, pytest.mark.bwrap]

SEED, TRAIN = 3, 4
CONFIG: dict[str, Any] = {
    "name": "conversations",
    "seeds": [SEED],
    "rounds": 1,
    "sandbox": "bubblewrap",
    "device": "cpu",
    "workers": 1,
    "arms": {"replace": {"strategy": "replace"}},
    "tasks": {"suite": "repo-katas", "train": TRAIN, "held_out": 3},
    "agent": {"name": "tool", "steps": 8, "completion_tokens": 60, "command_s": 5, "boxes": 4},
    "practice": {"samples": 2, "temperature": 0.3},
    "evaluate": {"samples": 2, "drift_samples": 1, "human_text": 5},
    "train": {"examples": 20, "epochs": 1, "learning_rate": 1e-4, "batch_tokens": 1024},
}


def lessons() -> list[HumanSample]:
    """How a careful person repairs the very tasks that the run practises on."""
    seed = derive(SEED, "train tasks")
    rng, samples = random.Random(f"repo-katas/train/{seed}"), []
    while len(samples) < TRAIN:
        if project := draw_project(rng, draw_pipeline(rng, held_out=False)):
            chat = work(project, random.Random(len(samples)), careful=True).chat
            samples.append(
                HumanSample(instruction=project.issue, program="", stratum="", correct=True, chat=tuple(chat))
            )
    assert [s.instruction for s in samples] == [t.instruction for t in repo_katas.train_tasks(seed, TRAIN)]
    return samples


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt these lessons by heart."""
    samples = lessons()
    tokenizer = _tokenizer(samples, PretrainConfig(vocab=500, context=1024))
    examples = [from_sample(tokenizer, sample, source="lesson") for sample in samples]
    model: Any = make_model(tokenizer, hidden=64, layers=2, heads=4, ffn=128, context=1024)
    settings = TrainConfig(learning_rate=6e-3, batch_tokens=2048)
    trained = fine_tune(model, examples, settings, epochs=120, pad_id=tokenizer.pad_token_id, seed=1)
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    save(trained, tokenizer, folder)
    return folder


def plateau(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "plateau_bench.harness", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def records(run: Path) -> dict[str, Any]:
    """What the run says but for the seconds it took."""
    found: dict[str, Any] = {}
    for path in sorted(run.glob("seed-*/*/round-*/*.json*")):
        if path.suffix == ".jsonl":
            rows = read_lines(path)
            for row in rows:
                row.get("trajectory", {}).pop("duration_s", None)
            found[str(path.relative_to(run))] = rows
        else:
            found[str(path.relative_to(run))] = {**json.loads(path.read_text()), "timings": None}
    return found


def test_a_multi_turn_run_learns_from_its_own_conversations_and_resumes_to_the_same(
    checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"model": {"path": str(checkpoint)}}))
    whole = plateau("run", config, "--out", tmp_path / "whole")
    _, err = whole.communicate(timeout=900)
    assert whole.returncode == 0, err
    first = tmp_path / "whole/seed-3/replace/round-00"
    values = json.loads((tmp_path / "whole/seed-3/shared/round-00/round.json").read_text())["metrics"]
    assert values["turns"]["value"] > 2
    assert values["kl_base"] is not None
    assert 0 < values["distinct_actions"]["value"] <= 1
    rows = read_lines(first / "training_set.jsonl")
    assert rows, "nothing was practised with success"
    assert all(len(row["loss_spans"]) > 2 for row in rows)

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(first / "checkpoint")
    shown = masked_text(tokenizer, rows[0]["token_ids"], rows[0]["loss_spans"]).splitlines()
    assert shown[0].startswith("     | <|system|>")
    assert all(line.startswith("loss | <|call|>") for line in shown if "<|call|>" in line)
    assert shown[-1] == "loss | <|call|>submit<|end|>"

    killed = plateau("run", config, "--out", tmp_path / "killed")
    log = tmp_path / "killed/seed-3/shared/round-00/train.jsonl"
    deadline = time.monotonic() + 600
    while not log.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    again = plateau("resume", tmp_path / "killed")
    _, err = again.communicate(timeout=900)
    assert again.returncode == 0, err
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
