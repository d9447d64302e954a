"""Two rounds with LoRA on checkpoints of five published structures: trained is what the model wrote."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from plateau_bench.agents.models.template import template_of
from plateau_bench.harness.config import parse_config
from plateau_bench.harness.rounds.loop import start
from plateau_bench.harness.rounds.progress import Display
from tests.agents.families import FAMILIES, save_family

CONFIG = {
    "name": "families",
    "seeds": [1],
    "rounds": 2,
    "sandbox": "bubblewrap",
    "workers": 1,
    "device": "cpu",
    "arms": {"all": {"strategy": "unverified"}},
    "tasks": {"suite": "repo-katas", "train": 2, "held_out": 2},
    "agent": {"name": "tool", "steps": 2, "completion_tokens": 20},
    "practice": {"samples": 1},
    "evaluate": {"samples": 1, "drift_samples": 1, "human_text": 3},
    "train": {"examples": 2, "epochs": 1, "batch_tokens": 3000, "lora_rank": 2, "learning_rate": 1e-5},
}


@pytest.mark.slow
@pytest.mark.bwrap
@pytest.mark.parametrize("name", ["qwen2.5", "qwen3-coder", "llama3", "mistral", "deepseek"])
def test_two_rounds_train_on_the_assistants_tokens_and_only_those(name: str, tmp_path: Path) -> None:
    call = FAMILIES[name].call.replace("COMMAND", "ls")
    base = save_family(name, [call], tmp_path / "base")
    root = tmp_path / "run"
    start(parse_config({**CONFIG, "model": {"path": str(base)}}, "families"), root, Display())
    sets = sorted(root.glob("seed-1/all/round-*/*set*.json*"))
    assert len(sets) == 2, sorted(root.rglob("*"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = template_of(tokenizer).text
    end = FAMILIES[name].call_end or FAMILIES[name].end
    for example in (json.loads(line) for one in sets for line in one.read_text().splitlines()):
        ids, spans = example["token_ids"], example["loss_spans"]
        written = [text(ids[a:b], after=ids[a - 1]) for a, b in spans]
        assert written == [call + end] * 2
        outside = [one for i, one in enumerate(ids) if not any(a <= i < b for a, b in spans)]
        assert call not in text(outside, after=ids[0])
