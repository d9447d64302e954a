"""Nothing outlives its time limit, and nothing outlives its box."""

import os
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from plateau_bench.sandbox import Backend, Sandbox

from .conftest import attempt

pytestmark = pytest.mark.escapes

BEAT = """
def beat(name):
    with open("/work/" + name, "ab", buffering=0) as file:
        while True:
            file.write(b"x")
            time.sleep(0.02)
"""


def still(box: Sandbox, name: str) -> bool:
    """True if the heartbeat was there and has stopped."""
    before = box.read(name)
    assert before
    return box.run(f"sleep 0.4; cat {name}").stdout.encode() == before


@pytest.mark.parametrize(
    "way", ["double fork", "new session", "nohup", "ignored signals", "orphan of an orphan"]
)
def test_daemons_die_with_the_time_limit(box: Sandbox, way: str) -> None:
    code = """
way = sys.argv[1]
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    if way != "double fork":
        signal.signal(number, signal.SIG_IGN)
for _ in range(dict(zip(["double fork", "orphan of an orphan"], [2, 6])).get(way, 1)):
    if os.fork():
        if os.getppid() == 1:
            time.sleep(60)  # the command itself
        os._exit(0)
    if way in ("new session", "double fork", "orphan of an orphan"):
        os.setsid()
beat("beat")
"""
    box.write("daemon.py", ("import os, signal, sys, time\n" + BEAT + code).encode())
    done = box.run(["python3", "daemon.py", way], timeout_s=2)
    assert done.timed_out
    assert still(box, "beat")


def test_a_stopped_process_is_no_shelter(box: Sandbox) -> None:
    """Frozen while the limit strikes, it never sees a signal it could answer to."""
    started = time.monotonic()
    done = box.run("sleep 333 & kill -STOP $!; kill -STOP $$; sleep 60", timeout_s=1)
    assert done.timed_out
    assert time.monotonic() - started < 20
    assert box.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 33[3]'").stdout == "0\n"


def test_a_crowd_that_keeps_forking_dies(box: Sandbox) -> None:
    """Killing one by one would never catch up with processes that replace themselves."""
    code = (
        BEAT
        + """
def fork():
    try:
        return os.fork()
    except OSError:  # the box is full of them
        return -1
for _ in range(20):
    if fork() == 0:
        while True:
            if fork() > 0:
                os._exit(0)
time.sleep(60)
"""
    )
    box.write("crowd.py", ("import os, time\n" + code).encode())
    assert box.run("python3 crowd.py", timeout_s=1.5).timed_out
    seen = attempt(box, "found = [p for p in os.listdir('/proc') if p.isdigit()], os.getpid()")
    assert sorted(map(int, seen[0])) == [1, seen[1]]


def test_a_vfork_parent_dies(box: Sandbox) -> None:
    """A parent that waits in the kernel for its vfork child cannot be woken by anything but the end."""
    code = "if libc.vfork() == 0:\n    while True: time.sleep(1)\n"
    box.write("wait.py", ("import ctypes, time\nlibc = ctypes.CDLL(None)\n" + code).encode())
    assert box.run("python3 wait.py", timeout_s=1).timed_out
    assert box.run("ls -d /proc/[0-9]* | wc -l").stdout.strip() in ("3", "4")  # 1, sh, ls, wc


def test_daemons_die_with_the_box(backend: Backend) -> None:
    """Seen from this machine, which hosts the engine or the box itself."""
    mark = str(3_000_000 + os.getpid())
    with closing(backend.open()) as box:
        box.run(f"trap '' TERM HUP; nohup setsid sleep {mark} >/dev/null 2>&1 & sleep 0.3")
        inside = box.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert f"sleep {mark}" in inside
        if not sleeping(mark):
            pytest.skip("the engine is on another machine")
    deadline = time.monotonic() + 20
    while sleeping(mark):
        assert time.monotonic() < deadline, "a process outlived its box"
        time.sleep(0.05)


def sleeping(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes() == f"sleep\0{mark}\0".encode():
                return True
    return False


def test_closing_does_not_wait_for_the_unwilling(backend: Backend) -> None:
    box = backend.open()
    box.run("for i in $(seq 30); do (trap '' TERM HUP INT; while :; do sleep 1; done) & done; kill -STOP $!")
    started = time.monotonic()
    box.close()
    assert time.monotonic() - started < 15


def test_time_cannot_be_stretched_by_output(box: Sandbox) -> None:
    """The limit is kept while both streams are flooded."""
    started = time.monotonic()
    done = box.run("trap '' TERM PIPE; yes >&2 & yes", timeout_s=1.5)
    assert done.timed_out
    assert time.monotonic() - started < 15
    assert box.run("echo alive").stdout == "alive\n"
