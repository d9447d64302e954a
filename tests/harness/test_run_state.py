"""A run's state is known by content, and a run that failed at its start leaves its folder usable."""

from dataclasses import replace
from pathlib import Path

import pytest

from plateau_bench.harness.config import load_config
from plateau_bench.harness.rounds import loop
from plateau_bench.harness.rounds.progress import Display
from plateau_bench.harness.rounds.suites import content_of, same_content
from plateau_bench.results.store import RunStore

SMOKE = Path("configs/smoke.yaml")


def test_tasks_and_weights_that_changed_are_named(tmp_path: Path) -> None:
    (tmp_path / "ck").mkdir()
    (tmp_path / "ck/config.json").write_text("{}")
    config = load_config(SMOKE)
    config = replace(config, model=replace(config.model, path=str(tmp_path / "ck")))
    before = content_of(config, {})
    said: list[str] = []
    same_content(tmp_path, before, content_of(config, {}), said.append)
    assert not said
    (tmp_path / "ck/config.json").write_text("{ }")
    with pytest.raises(ValueError, match=r"config.json of model.path changed since the run began"):
        same_content(tmp_path, before, content_of(config, {}), said.append)
    seed, tasks = next(iter(before["tasks"].items()))
    name = min(tasks)
    edited = before | {"tasks": before["tasks"] | {seed: tasks | {name: "0"}}}
    with pytest.raises(ValueError, match=f"tasks {name} changed"):
        same_content(tmp_path, before, edited, said.append)
    same_content(tmp_path, before, before | {"grading": "other"}, said.append)
    assert "plateau regrade" in said[0]


@pytest.mark.bwrap
def test_a_config_is_mended_in_the_folder_until_something_was_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fails(config: object, store: RunStore, *rest: object) -> None:
        calls.append(config)
        raise RuntimeError("died at its start")

    monkeypatch.setattr(loop, "_run_jobs", fails)
    config = load_config(SMOKE)
    other = replace(config, rounds=config.rounds + 1)
    for one in (config, config, other):
        with pytest.raises(RuntimeError, match="died"):
            loop.start(one, tmp_path / "r", Display())
    assert [one.rounds for one in calls] == [config.rounds, config.rounds, other.rounds]  # type: ignore[attr-defined]
    log = tmp_path / "r/seed-1/shared/round-00/held_out.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    with pytest.raises(ValueError, match=r"already holds a run.*rm -r"):
        loop.start(config, tmp_path / "r", Display())
    with pytest.raises(ValueError, match="another config"):
        loop.play(config, tmp_path / "r", Display())
