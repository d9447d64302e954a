"""Memory, process and CPU limits for a group of processes, where this process may make control groups.

cgroup v2: the nearest ancestor that hands the controllers on and lets us create below it, as a systemd user
session or a delegated container does. cgroup v1: below our own group, as root. Elsewhere `create` makes
none and `note` says why. Groups are named after the process that made them, so `clean` knows whose they are.
"""

import atexit
import errno
import itertools
import json
import os
import subprocess
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from plateau_bench.sandbox.backends.owner import alive, owner

CONTROLLERS = ("memory", "pids", "cpu")
_REQUIRED = {"memory", "pids"}
_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "plateau-"
_PERIOD_US = 100_000
_serial = itertools.count()
_leaving: set[Path] = set()
"""Groups whose last process is still on its way out."""
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """A group below which ours are made, and what it controls."""

    folder: Path
    controllers: frozenset[str]
    v2: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Cgroup:
    """One group: in v2 one folder, in v1 one for each controller; none where that is not permitted."""

    folders: tuple[Path, ...]

    def enter(self, pid: int) -> None:
        """Move a process into the group; what it starts from then on is in it, too. Raises OSError."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove the group now, or with a later one if something in it is still ending. Never raises."""
        with _lock:
            _leaving.update(self.folders)
        _sweep()


def create(*, memory_mb: int, pids: int, cpus: float | None) -> Cgroup:
    """Make a group with these limits, or none where that is not permitted; takes under a millisecond."""
    _sweep()
    try:
        return _make(_parents(), memory_mb << 20, pids, cpus)
    except OSError:
        return Cgroup(folders=())


def note() -> str:
    """Say, for people, which limits are enforced by control groups, or why none is."""
    if not _parents():
        return f"none ({_found()[1]})"
    names = [c for c in CONTROLLERS if any(c in parent.controllers for parent in _parents())]
    return f"{'v2' if _parents()[0].v2 else 'v1'}: {', '.join(names)}"


def clean(root: Path = _ROOT) -> int:
    """Remove the groups of processes that are gone; returns how many."""
    removed = set()
    for folder in sorted(root.glob(f"**/{_PREFIX}*")):
        pids, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
        pid, start, _ = [*rest.split("-"), "", ""][:3]
        label = owner() | {"pids": f"pid:[{pids}]", "pid": pid, "start": start}
        if folder.is_dir() and not alive(json.dumps(label)):
            with suppress(OSError):
                folder.rmdir()
                removed.add(folder.name)
    return len(removed)


def parents(root: Path, own: str) -> tuple[Parent, ...]:
    """Return the places where groups can be made, perhaps none; `own` is the text of /proc/self/cgroup."""
    legacy = []
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        if not names and (root / "cgroup.controllers").exists():
            found = _delegated(root, root / path.lstrip("/"))
            if found:
                return (found,)
        for name in set(names.split(",")) & set(CONTROLLERS):
            folder = root / name / path.lstrip("/")
            folder = folder if folder.is_dir() else root / name  # inside a container its own group is the top
            if os.access(folder, os.W_OK):
                legacy.append(Parent(folder=folder, controllers=frozenset({name}), v2=False))
    covered = {name for parent in legacy for name in parent.controllers}
    return tuple(legacy) if covered >= _REQUIRED else ()


def _delegated(root: Path, folder: Path) -> Parent | None:
    """The nearest ancestor with the controllers on for its children; a group with processes never has."""
    for candidate in (folder, *folder.parents):
        with suppress(OSError):
            handed = set((candidate / "cgroup.subtree_control").read_text().split())
            if handed >= _REQUIRED and os.access(candidate, os.W_OK):
                return Parent(folder=candidate, controllers=frozenset(handed & set(CONTROLLERS)), v2=True)
        if candidate == root:
            return None
    return None


def settings(parent: Parent, memory: int, pids: int, cpus: float | None) -> dict[str, str]:
    """Return what to write into the files of a group below `parent`: name -> content."""
    quota = int(cpus * _PERIOD_US) if cpus else None
    files: dict[str, object] = {"pids.max": pids}
    if parent.v2:
        files |= {"memory.max": memory, "memory.swap.max": 0}
        files |= {"cpu.max": f"{quota} {_PERIOD_US}"} if quota else {}
    else:
        files |= {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
        files |= {"cpu.cfs_period_us": _PERIOD_US, "cpu.cfs_quota_us": quota} if quota else {}
    return {file: str(value) for file, value in files.items() if file.split(".")[0] in parent.controllers}


_OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes")
"""Absent from kernels that do not account for swap."""


def _make(where: tuple[Parent, ...], memory: int, pids: int, cpus: float | None) -> Cgroup:
    """Raises OSError; then nothing is left."""
    made, name = [], f"{_name(os.getpid())}-{next(_serial)}"
    try:
        for parent in where:
            folder = parent.folder / name
            folder.mkdir()
            made.append(folder)
            for file, value in settings(parent, memory, pids, cpus).items():
                if file in _OPTIONAL and not (folder / file).exists():
                    continue
                try:
                    (folder / file).write_text(value)
                except OSError as e:
                    if (file, e.errno) != ("cpu.cfs_quota_us", errno.EINVAL):  # the parent's is tighter
                        raise
    except OSError:
        Cgroup(folders=tuple(made)).close()
        raise
    return Cgroup(folders=tuple(made))


@cache
def _found() -> tuple[tuple[Parent, ...], str]:
    """Where groups can be made, tried once with a process, or why not."""
    try:
        where = parents(_ROOT, Path("/proc/self/cgroup").read_text())
    except (OSError, ValueError) as e:
        return (), str(e)
    if not where:
        return (), "not delegated to this user"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            with closing(_make(where, 64 << 20, 16, 1.0)) as group:
                group.enter(process.pid)
        except OSError as e:
            return (), str(e)
    return where, ""


def _parents() -> tuple[Parent, ...]:
    return _found()[0]


@cache
def _name(pid: int) -> str:
    mine = owner()
    return f"{_PREFIX}{mine['pids'].strip('pid:[]')}-{pid}-{mine['start']}"


def _sweep() -> None:
    with _lock:
        for folder in list(_leaving):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # not empty yet
                continue
            _leaving.discard(folder)


@atexit.register
def _last_sweep() -> None:
    deadline = time.monotonic() + 1.0
    _sweep()
    while _leaving and time.monotonic() < deadline:
        time.sleep(0.01)
        _sweep()
