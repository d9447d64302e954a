"""Opens and closes many boxes, and counts what is left afterwards: nothing should be."""

import gc
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.backends.owner import owner

_SLEEP = f"1000.{os.getpid()}"
"""What every box leaves running; the number is this process's own, for others may soak, too."""


def soak(
    name: str, boxes: int, at_once: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, float | int | str]:
    """{"boxes", "seconds", "failures", "left: processes", ..., "grown: rss_kb"}; left: after minus before."""
    backend = open_backend(name)
    failures: list[str] = []

    def one(number: int) -> None:
        try:
            with closing(backend.open()) as box:
                if box.run(f"echo $$ > f; setsid sleep {_SLEEP} & cat f").exit_code != 0:
                    failures.append("a command failed")
        except Exception as e:
            failures.append(str(e))
        if number % 500 == 499:
            say(f"{number + 1} boxes, {len(failures)} failures, {_rss_kb()} kB, {_counts()}")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(min(boxes, 20))))  # what is made once and kept is not a leak
        before, rss = _settled(None), _rss_kb()
        started = time.monotonic()
        list(pool.map(one, range(boxes // 2)))
        half = _rss_kb()
        list(pool.map(one, range(boxes // 2, boxes)))
        seconds = time.monotonic() - started
    after = _settled(before)
    found: dict[str, float | int | str] = {
        "backend": backend.name,
        "boxes": boxes,
        "seconds": round(seconds, 1),
    }
    found |= {"failures": len(failures), "first failure": failures[0] if failures else ""}
    found |= {f"left: {key}": after[key] - before[key] for key in before}
    grown = {"grown: rss_kb": _rss_kb() - rss, "grown: rss_kb, second half": _rss_kb() - half}
    return found | grown | {"rss_kb": _rss_kb()}  # a leak grows in both halves, an allocator in the first


def _settled(like: dict[str, int] | None) -> dict[str, int]:
    """The counts, once they are back to `like` or do not change any more."""
    deadline = time.monotonic() + 30
    gc.collect()
    counts = _counts()
    while time.monotonic() < deadline:
        time.sleep(1.0)
        last, counts = counts, _counts()
        if (like is None and last == counts) or (like and all(counts[k] <= like[k] for k in like)):
            break
    return counts


def _counts() -> dict[str, int]:
    """What a box could leave on this machine; what others do meanwhile shows in all but the first three."""
    mine = json.dumps(owner())
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            commands.append((path.read_bytes(), (path.parent / "environ").read_bytes()))
    spaces = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            spaces.add(str(path.readlink()))
    return {
        "boxes": sum(mine.encode() in env for _, env in commands),
        "commands": sum(line.startswith(b"sleep") and _SLEEP.encode() in line for line, _ in commands),
        "containers": _lines("docker", "ps", "-aq", "--filter", f"label=plateau.owner={mine}"),
        "volumes": _lines("docker", "volume", "ls", "-q"),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
        "network namespaces": len(spaces),
        "control groups": sum(1 for _, folders, _ in os.walk("/sys/fs/cgroup") for _ in folders),
        "files in /tmp": _entries(tempfile.gettempdir()),
        "own descriptors": _entries("/proc/self/fd"),
        "own children": _children(),
    }


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def _children() -> int:
    with suppress(OSError):
        return sum(len(p.read_text().split()) for p in Path("/proc/self/task").glob("*/children"))
    return 0


def _lines(*command: str) -> int:
    with suppress(OSError):
        return len(subprocess.run(command, capture_output=True, check=False).stdout.splitlines())
    return 0


def _rss_kb() -> int:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
    return 0
