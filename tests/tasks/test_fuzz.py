"""Mutated rows and task folders: accepted, or refused by a message that names the file."""

import copy
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.tasks.base import Task
from plateau_bench.tasks.formats.harbor import FolderSuite
from plateau_bench.tasks.formats.humaneval import PublishedSuite
from plateau_bench.tasks.formats.importing import import_rows
from plateau_bench.tasks.suites import katas
from tests.tasks.harbor_set import write_set
from tests.tasks.kata_folder import write_folder
from tests.tasks.test_published import ROWS

CASES = 1000
ODD: list[Any] = [
    None, "", " ", "\0", "../../etc/passwd", "/etc/passwd", "a" * 5000, "\ud800", "𝕏", "def f(:", "x = 1",
    "def check(candidate):\n    while True: pass\n", 0, -1,
    1.5, float("nan"), float("inf"), 10**30, True, [], {},
    [[]], [None], ["\ud800"], {"a": 1}, [[1, [2]]] * 3, [[[[[[[[]]]]]]]],
    "[" * 3000, "9**9**9", "((((((1))))))",
    "f'{x!r:>{y}}'", "\x1b[2J", "name\nother", {"cmd": "rm"}, "null", "[1, 2",
]  # fmt: skip


@contextmanager
def seconds(limit: int) -> Iterator[None]:
    """An alarm: what hangs fails here."""

    def ring(*_: object) -> None:
        raise AssertionError("took too long")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.lstat().st_size) for p in folder.rglob("*"))


def tried(work: Callable[[], object], *names: str) -> bool:
    """Whether it was accepted. A refusal is a ValueError of one line that names one of the files."""
    refusal: ValueError | None = None
    try:
        with seconds(20):
            work()
    except ValueError as error:
        refusal = error
    if refusal is not None:
        assert type(refusal) is ValueError, repr(refusal)
        assert any(name in str(refusal) for name in names), str(refusal)[:300]
    return refusal is None


def mutated_text(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 3)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        j = min(j, i + rng.choice([0, 1, 5, 40]))
        piece = rng.choice(
            ['"', "\\", "{", "]", "\n", "\0", "\t", "=", "'''", text[i:j] * 2, "é", "[[x]]", ""]
        )
        text = text[:i] + piece + text[j:]
    return text


def mutated_row(rng: random.Random) -> dict:
    row = copy.deepcopy(rng.choice(ROWS))
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(list(row) or ["test"])
        match rng.randrange(5):
            case 0:
                row.pop(key, None)
            case 1 if isinstance(row.get(key), str):
                row[key] = mutated_text(row[key], rng)
            case 2:
                row |= {
                    name: copy.deepcopy(value)
                    for name, value in rng.choice(ROWS).items()
                    if rng.random() < 0.3
                }
            case _:
                row[key] = copy.deepcopy(rng.choice(ODD))
    return row


@pytest.mark.slow
def test_rows(tmp_path: Path) -> None:
    rng = random.Random(20)
    accepted = 0
    for number in range(CASES):
        place = tmp_path / str(number)
        place.mkdir()
        file = place / "rows.jsonl"
        text = "".join(json.dumps(mutated_row(rng)) + "\n" for _ in range(rng.randint(1, 2)))
        if rng.random() < 0.2:
            text = mutated_text(text, rng)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        before = tree(tmp_path)
        if tried(lambda file=file: PublishedSuite(file), "rows.jsonl"):
            accepted += 1
        assert tree(tmp_path) == before
        tried(lambda file=file: import_rows(file, file.parent / "out", skip=True), "rows.jsonl")
        assert [entry for entry in tree(tmp_path) if "/out" not in entry[0]] == before
        shutil.rmtree(place)
    assert 30 < accepted < CASES - 100


KEYS = [
    "cpus", "memory_mb", "memory", "storage", "docker_image", "env", "network_mode", "allowed_hosts",
    "workdir", "timeout_sec", "allow_internet", "environment_mode", "environment", "collect", "command",
    "service", "name", "source", "destination", "exclude", "artifacts", "steps", "min_reward",
    "healthcheck", "retries", "gpus", "tpu", "mcp_servers", "os", "multi_step_reward_strategy",
    "schema_version", "version", "agent", "verifier",
]  # fmt: skip
VALUES = [
    '"x"', "-1", "0", "[]", "{}", "true", "1e400", "nan", "0x7f", '"../.."', '"\\u0000"', "'''", '"/tests"',
    '"/logs/verifier"', '"separate"', '"allowlist"', '"public"', '[1]', '["a.org"]', '[{}]',
    '[{name = "../x"}]', '"${HOME}"', '{A = "${HOME}"}', '{"a=b" = "c"}', '["/etc/passwd", "../x"]',
    '{command = 1}', '"one"', '[{source = "/work", service = "db"}]', "1979-05-27", "9" * 400,
]  # fmt: skip
TABLES = [
    "[environment.more]", "[verifier.more]", "[metadata.more]", "[task.more]", "[agent.more]", "[steps]",
    "[[steps]]", "[[verifier.collect]]", "[[artifacts]]", "[verifier.environment]",
    "[environment.healthcheck]", "[solution.env]", "[verifier.env]", "[steps.verifier]",
    "[[steps.artifacts]]", "[[environment.mcp_servers]]",
]  # fmt: skip


def break_folder(folder: Path, rng: random.Random) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    path = rng.choice(files + [file for file in files if file.name == "task.toml"] * 6)
    match rng.randrange(8):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(rng.randbytes(rng.randint(0, 200)))
        case 2:
            path.unlink()
            path.symlink_to(
                rng.choice([folder.parents[1] / "outside", "/dev/zero", "../..", path.name, "absent"])
            )
        case 3:
            path.unlink()
            path.mkdir()
        case 4:
            shutil.rmtree(path.parent) if path.parent != folder else path.unlink()
        case 5:
            line = f"{rng.choice(KEYS)} = {rng.choice(VALUES)}\n"
            table = rng.choice(TABLES) if rng.random() < 0.7 else ""
            with next((file for file in files if file.name == "task.toml"), path).open("a") as file:
                file.write(f"\n{table}\n{line}")
        case 6 if path.suffix != ".sh":
            fifo = path.with_name("pipe")
            if not fifo.exists():
                os.mkfifo(fifo)
        case _:
            path.write_bytes(mutated_text(path.read_text("utf-8", "replace"), rng).encode("utf-8", "replace"))


@pytest.mark.slow
def test_folders(tmp_path: Path) -> None:
    rng = random.Random(21)
    pristine = tmp_path / "pristine"
    write_folder(katas.held_out_tasks(0, 1)[0], pristine / "kata")
    write_set(pristine, "a.org")
    kinds = sorted(pristine.iterdir())
    (tmp_path / "outside").write_text("nobody's business")
    names = [path.name for path in pristine.rglob("*")]
    accepted: list[Task] = []
    for number in range(CASES):
        suite = tmp_path / "suite"
        shutil.copytree(rng.choice(kinds), suite / f"task-{number}")
        for _ in range(rng.randint(1, 2)):
            if any(path.is_file() and not path.is_symlink() for path in suite.rglob("*")):
                break_folder(suite / f"task-{number}", rng)
        before = tree(tmp_path)

        def read(place: Path = suite) -> None:
            accepted.extend(FolderSuite(place, ["b.org"]).tasks)

        tried(read, *names, "task-", "suite", "pipe")
        assert tree(tmp_path) == before
        shutil.rmtree(suite)
    assert 50 < len(accepted) < CASES - 50
