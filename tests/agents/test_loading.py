"""What is refused in one line before a checkpoint is used."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from plateau_bench.agents.models.loading import check_weights, find_checkpoint, read_tokenizer
from plateau_bench.agents.models.local import LocalChatModel
from plateau_bench.harness.attempts.settings import AgentConfig
from plateau_bench.harness.evals.agent_spec import AgentSpec
from plateau_bench.harness.learning.settings import ModelConfig, TrainConfig
from plateau_bench.harness.rounds import checks
from plateau_bench.harness.rounds.checks import check_training
from tests.agents.families import save_family, says


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def model_info(self: Any, name: str, *, timeout: float) -> None:
        asked.append(name)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return asked


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "a/b/c", "ck/2026-01-01T10:00", "../ck", "a b", "~/x"]
)
def test_what_can_only_be_a_folder_is_never_asked_of_the_hub(name: str, no_hub: list[str]) -> None:
    with pytest.raises(ValueError, match="no such folder$"):
        find_checkpoint(name)
    assert no_hub == []


def test_what_may_be_an_id_is_asked_for_once(no_hub: list[str]) -> None:
    with pytest.raises(
        ValueError, match=r"^ck/nosuch: no such folder, and the hub gives no such model .*Name or"
    ):
        LocalChatModel.load("ck/nosuch")
    assert no_hub == ["ck/nosuch"]


def test_folders_and_files_that_are_no_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        LocalChatModel.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: a file"):
        read_tokenizer(str(tmp_path / "file"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="its tokenizer cannot be loaded") as caught:
        LocalChatModel.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    model, tokenizer = says("qwen2.5", ["x"])
    check_weights(model, "mine")
    with torch.no_grad():
        model.lm_head.weight[3, 3] = bad
    with pytest.raises(ValueError, match=r"mine: the weights hold NaN .*lm_head\.weight"):
        LocalChatModel(model, tokenizer, name_or_path="mine")


def test_a_folder_with_a_time_in_its_name_is_no_provider(tmp_path: Path) -> None:
    assert AgentSpec(name="a", kind="oneshot", model="runs/2026-01-01T10:00/base").is_local
    assert not AgentSpec(name="a", kind="oneshot", model="openai:org/model").is_local


def test_what_a_run_needs_is_checked_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ModelConfig(path=str(save_family("qwen2.5", ["x"], tmp_path / "good")))
    tool = AgentConfig(name="tool")
    check_training(good, TrainConfig(lora_rank=4), tool)
    gemma = ModelConfig(path=str(save_family("gemma", ["x"], tmp_path / "gemma")))
    check_training(gemma, TrainConfig(), AgentConfig())
    with pytest.raises(RuntimeError, match="takes no tools"):
        check_training(gemma, TrainConfig(), tool)
    (tmp_path / "good" / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        check_training(good, TrainConfig(), tool)
    with pytest.raises(ValueError, match=r"model\.path: .*nowhere: no such folder"):
        check_training(ModelConfig(path="./nowhere"), TrainConfig(), tool)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package peft"):
        check_training(ModelConfig(), TrainConfig(lora_rank=4), tool)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="vllm is not on the path"):
        check_training(ModelConfig(), TrainConfig(), AgentConfig(serve="vllm"))
    with pytest.raises(ValueError, match="my-server: no such program"):
        check_training(ModelConfig(), TrainConfig(), AgentConfig(serve="my-server {model} {port}"))
