"""A tiny repository with a past and a future, and the SWE-bench row that its fix makes."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plateau_bench.sandbox.base import Execution, Sandbox, SandboxSpec
from tests.tasks.local_backend import LocalBackend, LocalSandbox

CALC = "def twice(x):\n    return x + 1\n\n\ndef thrice(x):\n    return 3 * x\n"
FIXED = CALC.replace("x + 1", "x + x  # for all numbers, text and lists alike")
TEST = """import pytest

from calc import thrice


@pytest.fixture
def three():
    return 3


@pytest.mark.parametrize("text", ["a b", "a c", "ab"])
def test_text(text):
    assert thrice(text) == text + text + text


def test_thrice(three):
    assert thrice(three) == 9
"""
MORE = (
    TEST.replace("import thrice", "import thrice, twice")
    + "\n\ndef test_twice():\n    assert twice(3) == 6\n"
)
FAIL = ["checks/test_calc.py::test_twice"]
PASS = [f"checks/test_calc.py::{name}" for name in ("test_text[a", "test_text[ab]", "test_thrice")]


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{key}": "t@t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, env=os.environ | who
    )
    return done.stdout


def commit(folder: Path, files: dict[str, str], message: str) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()


def make(folder: Path) -> dict[str, Any]:
    """The repository `folder`/toy/calc; its row. After the base come fix, tag, branch and lost work."""
    repo = folder / "toy" / "calc"
    repo.mkdir(parents=True)
    git(repo, "init", "-q", "-b", "trunk")
    commit(repo, {"README": "first\n"}, "past")
    ini = "[pytest]\naddopts = -x -q\npythonpath = .\n"
    old = {
        "calc.py": CALC,
        "checks/test_calc.py": TEST,
        "setup.cfg": "[metadata]\nname = calc\n",
        "tox.ini": ini,
    }
    base = commit(repo, old, "base")
    commit(repo, {"calc.py": FIXED}, "the fix")
    commit(repo, {"checks/test_calc.py": MORE}, "its test")
    git(repo, "tag", "-a", "v2", "-m", "later")
    commit(repo, {"secret.py": "later = 1\n"}, "later")
    git(repo, "branch", "other")
    git(repo, "reset", "-q", "--hard", "HEAD~1")
    return {
        "repo": "toy/calc",
        "instance_id": "toy__calc-1",
        "base_commit": base,
        "patch": git(repo, "diff", base, "HEAD", "--", "calc.py"),
        "test_patch": git(repo, "diff", base, "HEAD", "--", "checks"),
        "problem_statement": "twice(3) gives 4.",
        "hints_text": "",
        "created_at": "2023-06-26T06:44:43Z",
        "version": "1.0",
        "FAIL_TO_PASS": FAIL,
        "PASS_TO_PASS": PASS,
    }


class _Image(LocalSandbox):
    def __init__(self, spec: SandboxSpec, repo: Path) -> None:
        super().__init__(spec)
        with tarfile.open(fileobj=io.BytesIO(repo.read_bytes())) as packed:
            packed.extractall(self._path(spec.workdir), filter="tar")

    def run(self, command: str | Sequence[str], *, timeout_s: float = 60.0, stdin: bytes = b"") -> Execution:
        if isinstance(command, str):
            command = command.replace("/tmp/", f"{self._path('/tmp')}/")
        else:
            command = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", *command]
            command = [sys.executable if word == "python3" else self._moved(word) for word in command]
        return super().run(command, timeout_s=timeout_s, stdin=stdin)

    def _moved(self, word: str) -> str:
        return str(self._path(word)) if word.startswith(("/solution/", "/tmp/")) else word


class ImageBackend(LocalBackend):
    """Boxes as the task's Dockerfile would make them, but for the installation."""

    def __init__(self, task: Path) -> None:
        super().__init__()
        self._repo = task / "environment" / "repo.tar.gz"

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        return _Image(spec or SandboxSpec(), self._repo)
