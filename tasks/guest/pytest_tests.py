"""Runs pytest in a box and says which of the wanted tests passed. Standard library, Python 3.7 or later.

    harness --stdin: this source, what to run--> main  (not dumpable, alone holds the answer channel)
                                                  | fork, exec
                                                session  (pytest, the test files, the code under test)

One pytest runs all files, for fixtures, plugins and configuration are the project's own. What it says about
itself goes through a pipe to `main`, which has to be alive to pass it on.
Tests and code under test share a process here, so a forged result can only be made to show: canaries.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import tempfile
import time
from typing import Any

CHILD = """import json, sys, types
payload = json.load(sys.stdin)
module = types.ModuleType("tests")
exec(compile(payload["source"], "tests", "exec"), module.__dict__)
module.%s(payload)
"""
"""For `python -c`: loads this source from a payload and calls a function of it."""
_MAX_REPORT = 10_000_000
_SHOWN = 20
"""Failures that are told with their reason."""


def main(payload: dict[str, Any]) -> None:
    """Run the session and print one JSON object: the nonce, and what was reported or how it ended."""
    hide()
    out = os.dup(1)
    said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this process
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for fd in (1, 2):
        os.dup2(said.fileno(), fd)
    read, write = os.pipe()
    feed, fed = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(feed, 0)
        os.set_inheritable(write, True)
        os.execv(sys.executable, [sys.executable, "-c", CHILD % "session"])
    os.close(write)
    os.close(feed)
    with contextlib.suppress(OSError), os.fdopen(fed, "wb") as pipe:
        own = {key: payload[key] for key in ("source", "files", "wanted", "canaries")}
        pipe.write(json.dumps({"channel": write, **own}).encode())
    report, ended = listen(read, time.monotonic() + payload["seconds"], _MAX_REPORT)
    status = sweep(child, patience=1.0)
    if report is None:
        ended = ended or ending(status)
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 2000))
    tail = " ".join(said.read().decode("utf-8", "replace").split())[-300:]
    answer = {"nonce": payload["nonce"], "report": report, "ended": ended, "tail": tail}
    os.write(out, json.dumps(answer).encode())
    os._exit(0)


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


# --- in the process that also runs the code under test ---------------------------------------------------


def session(payload: dict[str, Any]) -> None:
    """Run pytest as its command does, and report on `channel` what became of the wanted tests."""
    os.set_inheritable(payload["channel"], False)
    sys.path[:] = [path for path in sys.path if path]  # the command `pytest` does not import from here
    sys.argv[:] = ["pytest"]
    import pytest  # noqa: PLC0415

    seen = Seen()
    code = pytest.main(["--maxfail=0"] + payload["files"], plugins=[seen])
    data = json.dumps(seen.report(payload["wanted"], payload["canaries"], int(code))).encode() + b"\n"
    while data:
        data = data[os.write(payload["channel"], data) :]
    os._exit(0)


class Seen:
    """A plugin that keeps how every test ended: [calls that passed, notes on what did not]."""

    def __init__(self) -> None:
        self.tests: dict[str, list[Any]] = {}
        self.troubles: list[str] = []
        self.name: Any = str

    def pytest_configure(self, config: Any) -> None:
        self.name = getattr(config, "cwd_relative_nodeid", self.name)

    def pytest_runtest_logreport(self, report: Any) -> None:
        known = self.tests.setdefault(self.name(report.nodeid), [0, []])
        how = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
        if how != "passed":
            known[1].append(f"{how} in {report.when}: {_why(report)}")
        elif report.when == "call":
            known[0] += 1

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self.troubles.append(f"{self.name(report.nodeid)}: {_why(report)}")

    def report(self, wanted: list[str], canaries: list[str], code: int) -> dict[str, Any]:
        """Which of the wanted ids passed (by number), why others did not, and how canaries ended.

        An id stands for the tests with that name and, published logs being cut at spaces, for those whose
        name begins with it and a space. Then all of them have to pass.
        """
        words: dict[str, list[Any]] = {}
        for name, ends in self.tests.items():
            for key in {name.split()[0], " ".join(name.split())}:
                words.setdefault(key, []).append(ends)
        passed: list[int] = []
        other: dict[int, str] = {}
        for number, test in enumerate(wanted):
            found = words.get(" ".join(test.split()), [])
            if found and all(calls and not notes for calls, notes in found):
                passed.append(number)
            elif len(other) < _SHOWN:
                other[number] = next((notes[0] for _, notes in found if notes), "was not run")
        failures = {name: (self.tests.get(name, [0, []])[1] or [""])[0] for name in canaries}
        alive = [name for name in canaries if self.tests.get(name, [0])[0]]
        return {
            "passed": passed,
            "other": other,
            "canaries": failures,
            "alive": alive,
            "troubles": self.troubles[:3],
            "code": code,
        }


def _why(report: Any) -> str:
    lines = str(report.longrepr or "").strip().splitlines()
    errors = [line[2:].strip() for line in lines if line.startswith("E ")]
    return ((errors or lines[-1:] or [""])[0])[:200]
