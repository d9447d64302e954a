"""How a program that runs tests in a box begins, hides, listens and cleans up.

Shipped into the box as text; standard library only, Python 3.7 is enough. None of this shares a process with
the code under test.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
from typing import Any

CHILD = """import json, sys, types
payload = json.load(sys.stdin)
for name, text in payload["modules"]:
    sys.modules[name] = module = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.%s(payload)
"""
"""For `python -c`: loads the modules of a payload and calls a function of the last one."""


def hide() -> None:
    """Keep processes of the same user out of this one, and make it the parent of all that they leave."""
    libc = ctypes.CDLL(None)
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no process of the same user can look in here
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: whatever a test leaves behind becomes our child


def listen(read: int, deadline: float, most: int) -> tuple[Any, str]:
    """What a child reported, or None, and why no more was waited for, or ""."""
    data, ended = bytearray(), ""
    while not ended:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(read, 65536) if ready else b""
        data += part
        ended = "took too long" if not ready else "reported too much" if len(data) > most else ""
        if not part or part.endswith(b"\n"):  # a process that keeps the pipe open is not waited for
            break
    try:
        return (None if ended else json.loads(data.decode())), ended
    except (ValueError, RecursionError):
        return None, ended


def sweep(child: int, patience: float) -> int:
    """Kill all descendants and return the wait status of `child`.

    Orphans become our children, so this ends when none is left. For `patience` seconds nothing is killed, so
    that processes which are about to end by themselves can say how.
    """
    status, started = 0, time.monotonic()
    while time.monotonic() < started + 10:
        late = time.monotonic() >= started + patience
        for name in filter(str.isdigit, os.listdir("/proc") if late else []):  # noqa: PTH208
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    os.kill(int(name), signal.SIGKILL)
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        status = ended if pid == child else status
        time.sleep(0 if pid else 0.01)
    return status


def ending(status: int) -> str:
    """A wait status in words."""
    return f"killed by signal {status & 127}" if status & 127 else f"exit code {status >> 8}"
