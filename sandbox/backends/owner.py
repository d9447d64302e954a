"""Whose box is it? A label that names one process for certain, and whether that process still lives."""

import json
import os
import socket
from pathlib import Path


def owner() -> dict[str, str]:
    """Name this process so that no other process, restart or machine can be mistaken for it."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "pids": _link("/proc/self/ns/pid"),
        "pid": str(os.getpid()),
        "start": _start_time(os.getpid()),
    }


def alive(label: str) -> bool:
    """Whether the harness process that made a box may still live: False only if it certainly is gone."""
    try:
        its = json.loads(label)
        pid, start, boot, pids = int(its["pid"]), its["start"], its["boot"], its["pids"]
    except (ValueError, KeyError, TypeError):
        return False
    mine = owner()
    if its.get("host") != mine["host"] or (boot == mine["boot"] and pids != mine["pids"]):
        return True  # another machine's or another container's harness: not ours to judge
    return bool(boot == mine["boot"] and _start_time(pid) == start)


def _start_time(pid: int) -> str:
    """Clock ticks after boot at which a process started; "" if there is no such process."""
    return (_text(f"/proc/{pid}/stat").rpartition(")")[2].split() + [""] * 20)[19]


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
