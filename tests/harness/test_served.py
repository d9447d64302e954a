"""Rounds whose checkpoints are asked through a server."""

import dataclasses
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.models.checkpoint import save
from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.attempts.settings import AgentConfig
from plateau_bench.harness.config import ConfigError, parse_config
from plateau_bench.harness.learning.ledger import Ledger
from plateau_bench.harness.rounds.choosing import material
from tests.agents.tiny import tiny_checkpoint
from tests.harness.material import attempt


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"name": "cli", "serve": "vllm"}, "agent.vendor: needed with 'name: cli'"),
        ({"name": "tool", "vendor": "codex"}, "agent.vendor: needed with 'name: cli', and only then"),
        ({"name": "cli", "vendor": "codex"}, "agent.serve: a vendor's agent needs a server"),
    ],
)
def test_a_vendor_and_its_server_come_together(agent: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"name": "x", "arms": {"r": {"strategy": "replace"}}, "agent": agent}, "x.yaml")


def test_successes_that_never_became_tokens_are_told_not_trained_on() -> None:
    def wordless(**more: Any) -> Any:
        made = attempt(token_ids=(1, 2), **more)
        return dataclasses.replace(made, trajectory=dataclasses.replace(made.trajectory, token_ids=()))

    class Bench:
        class config:  # noqa: N801
            class train:  # noqa: N801
                examples = 5

        seed, arm_name, has_weights = 1, "replace", True

    bench: Any = Bench()
    kept = material(bench, 1, [wordless(sample=0), attempt(sample=1)], Ledger()).current
    assert [one.sample for one in kept] == [1]
    assert material(bench, 1, [wordless(verified=False)], Ledger()).current == []
    with pytest.raises(ValueError, match="no success of round 1 became tokens"):
        material(bench, 1, [wordless()], Ledger())


@pytest.mark.slow
def test_each_checkpoint_gets_a_server_and_the_last_one_ends(tmp_path: Path) -> None:
    for number in (0, 1):
        save(*tiny_checkpoint(seed=number), tmp_path / f"round-{number}")
    models = Models("cpu", tmp_path)
    config = AgentConfig(serve="transformers", completion_tokens=8)
    urls, answers = [], []
    try:
        for number in (0, 1):
            agent = models.agent(config, f"round-{number}", 1.0)
            (made,) = agent.solve("keep the odd numbers of a, then add 2", [5])
            assert made.model == f"round-{number}"
            assert len(made.token_ids) >= made.prompt_tokens > 0
            assert models.agent(config, f"round-{number}", 0.5).name == "oneshot"  # the same server again
            urls.append(models._server.url)  # type: ignore[union-attr]
            answers.append(made.answer)
    finally:
        models.close()
    assert answers[0] != answers[1]
    for url in urls:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url)
