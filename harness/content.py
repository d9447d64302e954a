"""What a run or an evaluation rests on, known by its content: tasks, weights, files, and how it is graded.

Names and places say nothing about what lies there by now, so records keep digests beside them.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from plateau_bench.tasks.base import FolderTests, PackageTests, Task
from plateau_bench.tasks.files import files_below
from plateau_bench.tasks.grading.boxes import stages

_ROOT = Path(__file__).resolve().parents[1]
_GRADING = ("tasks/grading", "tasks/guest", "harness/attempts/grading.py", "sandbox/diffs.py")
"""The code that makes a verdict of an answer."""
_WEIGHTS = (".json", ".safetensors", ".bin", ".pt", ".model", ".txt", ".jinja", ".gguf", ".py")
SHOWN = 3
"""Names that a message lists before it only counts."""


def digest(data: Any) -> str:
    """sha256 of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights(model: str) -> dict[str, list[Any]]:
    """File -> [bytes, sha256] of a checkpoint's config, tokenizer and weights.

    Of a hub's model, the commit that the cache holds; nothing where that is unknown.
    """
    folder = Path(model)
    if folder.is_dir():
        files = (path for path in sorted(folder.iterdir()) if path.suffix in _WEIGHTS and path.is_file())
        return {path.name: [path.stat().st_size, digest_of_file(path)] for path in files}
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except ValueError:  # no name of the hub's
        cached = None
    return {"commit": [0, Path(cached).parent.name]} if isinstance(cached, str) else {}


def seen(task: Task) -> str:
    """Digest of what an agent sees of a task: instructions, box and the files that it starts from."""
    return digest([_seen(task), *(_seen(stage) for stage in stages(task))])


def _seen(task: Task) -> list[Any]:
    files: Mapping[str, bytes] = {}
    if isinstance(task.tests, FolderTests | PackageTests):
        files = task.tests.files
    box = asdict(replace(task.box, services={})) | {"services": sorted(task.box.services)}
    return [task.instruction, box, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}]


def solutions(tasks: Iterable[Task]) -> str:
    """Digest of the reference solutions, which are what an oracle answers."""
    found = hashlib.sha256()
    for task in sorted(tasks, key=lambda task: task.id):
        for stage in stages(task):
            found.update(f"{stage.id}\0{stage.solution}\0".encode("utf-8", "surrogatepass"))
            folder = stage.tests.solution_dir if isinstance(stage.tests, FolderTests) else None
            for name, data in sorted(files_below(folder).items()) if folder else ():
                found.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\0".encode())
    return found.hexdigest()


@cache
def grading() -> str:
    """Digest of plateau's own code that grades."""
    found = hashlib.sha256()
    for name in _GRADING:
        place = _ROOT / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def plateau_version() -> str:
    """Version and commit of plateau: '0.1.0 (3c5dc13...)'."""
    try:
        number = version("plateau-bench")
    except PackageNotFoundError:
        number = "unknown"
    return f"{number} ({commit()})"


@cache
def commit() -> str:
    """Commit of the code, '+dirty' if changed since; 'unknown' outside a checkout."""
    if not (_ROOT / ".git").exists():  # installed, perhaps inside somebody else's repository
        return "unknown"
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=_ROOT, capture_output=True, text=True)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=_ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+dirty" if status.stdout.strip() else "")


def listed(names: Iterable[str]) -> str:
    """`"t/s1, t/s2, t/s3 and 4 more"`: names for a message of one line."""
    every = sorted(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names that are on one side only, or not the same on both."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
