"""Whole runs through the command line: real boxes, real training, and what happens when they are stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from plateau_bench.harness.attempts.rollout import WAVE
from plateau_bench.results.attempt_log import read_lines
from plateau_bench.results.frames import attempts_frame, metrics_frame
from plateau_bench.results.store import RunStore

pytestmark = [pytest.mark.slow, pytest.mark.bwrap]

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [3],
    "rounds": 2,
    "sandbox": "bubblewrap",
    "device": "cpu",
    "workers": 1,
    "arms": {"replace": {"strategy": "replace"}, "fresh_human": {"strategy": "fresh_human", "fraction": 0.5}},
    "tasks": {"train": 90, "held_out": WAVE + 4},
    "model": {
        "pretrain": {
            "corpus": 5000,
            "vocab": 512,
            "hidden": 48,
            "layers": 2,
            "heads": 2,
            "ffn": 128,
            "epochs": 5,
            "batch_tokens": 1024,
        }
    },
    "practice": {"samples": 2},
    "evaluate": {"samples": 2, "drift_samples": 1, "human_text": 40},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _hears_ctrl_c() -> None:
    """A test run in the background of a shell has SIGINT ignored, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def plateau(
    cache: Path, *arguments: str | Path, module: str = "plateau_bench.harness", **options: Any
) -> "subprocess.Popen[str]":
    environment = os.environ | {"PLATEAU_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=_hears_ctrl_c, **options,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def config(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | changes, sort_keys=False))
    return path


def kill_when(
    process: "subprocess.Popen[str]", ready: Callable[[], bool], number: int = signal.SIGKILL
) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()}"
        assert time.monotonic() < deadline, "the moment to kill never came"
        time.sleep(0.002)
    os.kill(process.pid, number)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def uninterrupted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    code, out, err = finish(plateau(cache, "run", config(folder), "--out", folder / "run"))
    assert code == 0, err
    assert "report.html" in out
    return folder / "run"


def without_timings(folder: Path) -> dict[str, Any]:
    """Every record of a run but the seconds it took."""
    found: dict[str, Any] = {"report": json.loads((folder / "report.json").read_text())}
    for path in sorted(folder.glob("seed-*/*/round-*/*")):
        name = str(path.relative_to(folder))
        if path.name == "round.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "timings"}
        elif path.suffix == ".jsonl":
            found[name] = read_lines(path)
            for row in found[name]:
                row.get("trajectory", {}).pop("duration_s", None)
        elif path.name == "checkpoint":
            found[name] = (path / "model.safetensors").read_bytes()
    return found


def test_killed_in_rollouts_and_in_training_a_resumed_run_equals_an_uninterrupted_one(
    cache: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    log = run / "seed-3/replace/round-01/held_out.jsonl"
    round_1 = run / "seed-3/fresh_human/round-01"
    wave = WAVE * 2  # lines; the kernel may write them in several pieces, and a torn wave is sampled again
    kill_when(
        plateau(cache, "run", config(tmp_path), "--out", run),
        lambda: log.exists() and log.read_bytes().count(b"\n") >= wave,
    )
    assert not (log.parent / "round.json").exists()
    finished = b"".join(log.read_bytes().splitlines(keepends=True)[:wave])
    kill_when(
        plateau(cache, "resume", run),
        lambda: (round_1 / "training_set.jsonl").exists() and not (round_1 / "checkpoint").exists(),
    )
    assert log.read_bytes().startswith(finished), "a finished attempt was repeated or lost"
    assert not (round_1 / "round.json").exists()
    code, _, err = finish(plateau(cache, "resume", run))
    assert code == 0, err
    assert without_timings(run) == without_timings(uninterrupted)
    assert (run / "report.json").read_bytes() == (uninterrupted / "report.json").read_bytes()


def test_a_round_is_taken_apart(cache: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, tasks={"train": 60, "held_out": 60})
    arguments = ("round", settings, "--rounds", 1, "--json")
    code, out, err = finish(plateau(cache, *arguments, module="experiments.speed"))
    assert code == 0, err
    told = json.loads(out)
    assert {"sample", "train", "drift"} <= set(told["phases"])
    assert sum(told["phases"].values()) == pytest.approx(told["seconds"])
    assert 0 < sum(told["phases_cpu"].values()) <= told["cpu_s"]
    assert 0 < told["train_utilisation"] < 1
    assert told["sampled_tokens"] >= 180  # at least one of each attempt


def test_ctrl_c_is_one_line_and_loses_nothing(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = plateau(cache, "run", config(tmp_path, rounds=1), "--out", run)
    deadline = time.monotonic() + 300
    while not (run / "seed-3/shared/round-00/held_out.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert [line for line in err.splitlines() if line.startswith("plateau: ")] == err.splitlines()[-1:]
    assert "plateau resume" in err
    assert "Traceback" not in err
    code, _, err = finish(plateau(cache, "resume", run))
    assert code == 0, err


def test_a_second_process_in_the_same_folder_is_refused(
    cache: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = plateau(cache, "run", config(tmp_path, rounds=1), "--out", run)
    deadline = time.monotonic() + 300
    while not (run / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    code, _, err = finish(plateau(cache, "resume", run))
    assert code == 1
    assert f"in use by process {first.pid}" in err
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    code, _, err = finish(plateau(cache, "run", config(tmp_path, rounds=1), "--out", uninterrupted))
    assert code == 1
    assert "already holds a run" in err


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another architecture: a tiny Qwen2, untrained, as an ordinary checkpoint folder."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from plateau_bench.agents.models.checkpoint import make_tokenizer, save
    from plateau_bench.tasks.suites import katas

    texts = [text for s in katas.corpus(1, 500) for text in (s.instruction, s.program)]
    tokenizer = make_tokenizer(texts, 512)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "qwen"
    save(model, tokenizer, folder)
    return folder


SMALL: dict[str, Any] = {"rounds": 1, "tasks": {"train": 10, "held_out": 12}}


def test_another_architecture_runs_unchanged(cache: Path, qwen: Path, tmp_path: Path) -> None:
    arms = {"fresh_human": {"strategy": "fresh_human"}, "no_train": {"strategy": "no_train"}}
    changed = config(tmp_path, **SMALL, model={"path": str(qwen)}, arms=arms)
    code, _, err = finish(plateau(cache, "run", changed, "--out", tmp_path / "run"))
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["sandbox"] == "bubblewrap"
    assert [len(arm["rounds"]) for arm in report["arms"].values()] == [2, 2]


def test_a_checkpoint_without_chat_template_is_refused(cache: Path, qwen: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(qwen, bare)
    (bare / "chat_template.jinja").unlink()
    changed = config(tmp_path, **SMALL, model={"path": str(bare)})
    code, _, err = finish(plateau(cache, "run", changed, "--out", tmp_path / "run"))
    assert code == 1
    assert "no chat template" in err
    assert "Traceback" not in err


def test_a_folder_of_harbor_tasks_runs_like_the_katas(cache: Path, qwen: Path, tmp_path: Path) -> None:
    """The native format end to end; such a suite has no human data, so those measures are absent."""
    from plateau_bench.tasks.suites import katas
    from tests.tasks.kata_folder import write_folder

    for task in (*katas.train_tasks(1, 3), *katas.held_out_tasks(1, 3)):
        write_folder(task, tmp_path / "suite" / task.id.replace("/", "-"))
    suite = {"suite": str(tmp_path / "suite"), "train": 3, "held_out": 3}
    arms = {"replace": {"strategy": "replace"}}
    changed = config(tmp_path, rounds=1, tasks=suite, model={"path": str(qwen)}, arms=arms)
    code, _, err = finish(plateau(cache, "run", changed, "--out", tmp_path / "run"))
    assert code == 0, err
    metrics = json.loads((tmp_path / "run" / "report.json").read_text())["arms"]["replace"]["rounds"][1][
        "metrics"
    ]
    assert metrics["pass@1"]["value"] == 0
    assert metrics["infra"]["value"] == 0
    assert metrics["rare_ppl"] is None


def test_a_full_disk_is_one_clear_line_and_the_run_can_go_on(cache: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        code, _, err = finish(plateau(cache, "run", config(tmp_path, rounds=1), "--out", disk / "run"))
        assert code == 1
        assert "No space left on device" in err
        assert "Traceback" not in err
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        code, _, err = finish(plateau(cache, "resume", disk / "run"))
        assert code == 0, err
    finally:
        subprocess.run(["umount", disk], check=True)


def test_attempts_and_metrics_load_as_frames_in_one_call(uninterrupted: Path) -> None:
    store = RunStore(uninterrupted)
    attempts, metrics = attempts_frame(store.attempts()), metrics_frame(store.results())
    evaluated = attempts[attempts.split == "held_out"]
    assert len(evaluated) == (WAVE + 4) * 2 * (1 + 2 * 2)  # round 0 is shared by both arms
    assert set(metrics.arm) == {"replace", "fresh_human"}
    shown = metrics[(metrics.arm == "replace") & (metrics["round"] == 2) & (metrics.metric == "pass@1")].value
    rows = evaluated[(evaluated.arm == "replace") & (evaluated["round"] == 2)]
    assert float(shown.iloc[0]) == pytest.approx((rows.outcome == "passed").mean())


def test_grading_again_finds_the_same_and_finds_a_forged_record(
    cache: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(uninterrupted, forged)
    log = forged / "seed-3/shared/round-00/held_out.jsonl"
    rows = read_lines(log)
    victim = next(row for row in rows if row["verdict"]["outcome"] == "failed")
    victim["verdict"]["outcome"] = "passed"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = finish(plateau(cache, "regrade", forged))
    assert code == 1, err
    assert "1 verdicts changed" in out
    assert f"{victim['task_id']}#{victim['sample']}: passed -> failed" in out


def test_a_run_can_be_moved_and_reported_again(cache: Path, uninterrupted: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(uninterrupted, moved)
    (moved / "report.json").unlink()
    code, _, err = finish(plateau(cache, "report", moved))
    assert code == 0, err
    assert (moved / "report.json").read_bytes() == (uninterrupted / "report.json").read_bytes()
