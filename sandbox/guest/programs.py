"""Guest of a `ProgramBox`: each program in a forked child, alone in the box, and then forgotten."""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH123, PTH208

from __future__ import annotations

import contextlib
import gc
import json
import math
import mmap
import os
import select
import signal
import stat
import struct
import sys
import time
import types

from plateau_bench.sandbox.guest.core import (
    ANSWER,
    MAX_ANSWER,
    MAX_REQUEST,
    REQUEST,
    VERDICTS,
    become,
    begin,
    confine,
    kill_everything,
    read_into,
    read_numbers,
    seccomp_filter,
    set_limits,
    wipe,
    write_all,
)

MAX_NESTING, MAX_VALUES = 60, 200_000
CPU_SLACK_S = 0.15
"""A child that used this much more than its limit had disarmed its timer."""
IDLE_S, WALL_S = 10, 60
"""Asleep without using CPU for IDLE_S, stopped, or WALL_S + 40 x its CPU limit after its start: ended."""


class Programs:
    """Runs one program at a time and forgets it: request and answer live in two buffers that are zeroed."""

    def __init__(self, rfd: int, wfd: int, wake: int, config: dict) -> None:
        self.rfd, self.wfd, self.wake, self.config = rfd, wfd, wake, config
        # anonymous maps: pages never touched cost a fork nothing
        self.request = memoryview(mmap.mmap(-1, MAX_REQUEST, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.answer = memoryview(mmap.mmap(-1, MAX_ANSWER + 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.filter = seccomp_filter(os.uname().machine, program=True)
        self.uid = config["uids"][0] if config["uids"] else 0

    def serve(self) -> None:
        preload()
        while True:
            length, cpu_us = read_numbers(self.rfd, REQUEST)
            if length > MAX_REQUEST:
                os._exit(3)
            request = self.request[:length]
            read_into(self.rfd, request)
            result_r, result_w = os.pipe2(os.O_CLOEXEC)
            pid = os.fork()
            if pid == 0:
                try:
                    self.child(request, result_w, cpu_us / 1e6)
                finally:
                    os._exit(1)
            os.close(result_w)
            wipe(request)
            verdict, status, cpu, size = self.watch(pid, result_r, cpu_us / 1e6)
            os.close(result_r)
            self.clean()
            head = struct.pack(ANSWER, verdict, status, int(cpu * 1e6), size)
            # In one piece: every write is a journey of its own through an engine's relays.
            sent = os.writev(self.wfd, [head, self.answer[:size]])
            if sent < len(head):
                os._exit(3)
            write_all(self.wfd, self.answer[sent - len(head) : size])
            wipe(self.answer[: size + 1])

    def watch(self, pid: int, result: int, limit: float) -> tuple[int, int, float, int]:
        """Wait for the child, then kill what is left: verdict, wait status, CPU seconds, answer size."""
        started = time.monotonic()
        check, idle, ticks, size, verdict = started + 1, 0, "", 0, 0
        fds = [result, self.wake]
        os.set_blocking(result, False)
        while True:
            ready, _, _ = select.select(fds, [], [], 1.0)
            if result in ready:
                got = os.readv(result, [self.answer[size:]])
                size += got
                if got == 0:
                    fds.remove(result)
            if self.wake in ready:
                os.read(self.wake, 4096)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                break
            now = time.monotonic()
            if now >= check:  # a busy machine makes a program wait in states R and D: that is not idleness
                check = now + 1
                state, used = cpu_ticks(pid)
                idle = idle + 1 if state not in "RD" and used == ticks else 0
                idle = IDLE_S if state == "T" else idle  # stopped, and nobody is there to wake it
                ticks = used
            wall = idle >= IDLE_S or now - started > WALL_S + 40 * limit
            if wall or size > MAX_ANSWER:
                verdict = VERDICTS.index("wall" if wall else "flood")
                os.kill(pid, signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
                break
        kill_everything()
        while size <= MAX_ANSWER:  # every writer is dead: the rest, up to the end of the pipe
            try:
                got = os.readv(result, [self.answer[size:]])
            except BlockingIOError:
                break
            if got == 0:
                break
            size += got
        cpu = usage.ru_utime + usage.ru_stime
        if verdict == 0 and size > MAX_ANSWER:
            verdict = VERDICTS.index("flood")
        elif verdict == 0 and cpu > limit + CPU_SLACK_S:
            verdict = VERDICTS.index("cpu")
        return verdict, status, cpu, min(size, MAX_ANSWER)

    def clean(self) -> None:
        """Remove what the program left in the only writable place, as that program's user."""
        home = f"/tmp/{self.uid}"
        with contextlib.suppress(OSError):
            os.rmdir(home)
        if os.listdir("/tmp"):
            pid = os.fork()
            if pid == 0:
                try:
                    if self.uid:
                        become(self.uid)
                    empty("/tmp")
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            if os.listdir("/tmp"):
                os._exit(4)  # better no box than one that hands files on
        if self.uid:
            low, high = self.config["uids"]
            self.uid = self.uid + 1 if self.uid + 1 < high else low

    # --- the child's side: everything below runs as the program's own user, once, then exits

    def child(self, view: memoryview, result: int, limit: float) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(result, 3)
        os.closerange(4, 256)
        if self.uid:
            become(self.uid)
        home = f"/tmp/{self.uid}"
        os.mkdir(home, 0o700)
        os.chdir(home)
        os.environ.clear()
        whole = math.ceil(limit) + 1  # the backstop: a program can disarm its timer, never this
        set_limits({**self.config["limits"], "RLIMIT_CPU": whole})
        confine(self.filter)
        request = json.loads(bytes(view))
        write_all(3, b"R")  # from here on, whatever happens is the program's own doing
        gc.enable()
        signal.setitimer(signal.ITIMER_PROF, limit)
        answer = json.dumps(perform(request["source"], request["entry"], request["calls"])).encode()
        if len(answer) >= MAX_ANSWER:
            outputs = ["unfit value: too large together"] * len(request["calls"])
            answer = json.dumps({"status": "completed", "outputs": outputs}).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_all(3, answer)
        os._exit(0)


def cpu_ticks(pid: int) -> tuple[str, str]:
    """State letter and used CPU ticks of a process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), f"{fields[11]!r} {fields[12]!r}"


def empty(top: str) -> None:
    """Remove everything below `top`. Moves children up instead of descending: no path ever grows long."""
    serial = 0
    while names := os.listdir(top):
        for name in names:
            path = f"{top}/{name}"
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for child in os.listdir(path):
                serial += 1
                inner = f"{path}/{child}"
                if stat.S_ISDIR(os.lstat(inner).st_mode):
                    os.chmod(inner, 0o700)  # moving a directory needs write permission on it
                    os.rename(inner, f"{top}/.{os.getpid()}.{serial}")
                else:
                    os.unlink(inner)
            os.rmdir(path)


PRELOADED = """
    bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq
    itertools math operator random re statistics string textwrap typing unicodedata
"""


def preload() -> None:
    """Import what function-sized programs commonly import, so that a child finds it in memory."""
    register = os.register_at_fork
    # `random` would seed itself anew in every child, a twentieth of its time; `perform` seeds it anyway.
    os.register_at_fork = lambda **_: None
    for name in PRELOADED.split():
        __import__(name)
    os.register_at_fork = register
    gc.collect()
    gc.freeze()


class NotPlain(Exception):
    """A value that is not plain data, or too much of it."""


def perform(source: str, entry: str, calls: list) -> dict:
    """Load the program and make every call. Each argument list was parsed once and is used once."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    sys.modules["random"].seed(0)
    try:
        exec(compile(source, "solution.py", "exec", dont_inherit=True), module.__dict__)
        function = module.__dict__[entry]
        if not callable(function):
            raise TypeError(f"{entry} is not callable")
    except MemoryError:
        return {"status": "memory"}
    except BaseException as e:
        return {"status": "load", "detail": describe(e)}
    outputs: list = []
    budget = [MAX_VALUES]
    for args in calls:
        try:
            outputs.append([encode(function(*args), MAX_NESTING, budget)])
        except MemoryError:
            return {"status": "memory"}
        except NotPlain as e:
            outputs.append(f"unfit value: {e}"[:80])
        except BaseException as e:
            outputs.append(str(type(e).__name__)[:80])
    return {"status": "completed", "outputs": outputs}


def describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException:
        return "an exception that cannot be shown"


def encode(value: object, depth: int, budget: list[int]) -> object:
    """Plain data as JSON of exact types: a tuple is {"t": [...]}, a dict {"d": [[key, value], ...]}."""
    budget[0] -= 1 + (len(value) // 4 if type(value) is str else 0)
    if depth == 0 or budget[0] < 0:
        raise NotPlain("too deep" if depth == 0 else "too large")
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is str:
        return value
    if kind is int:
        if value.bit_length() > 10_000:  # type: ignore[attr-defined]
            raise NotPlain("integer too large")
        return value
    if kind is list:
        return [encode(item, depth - 1, budget) for item in value]  # type: ignore[attr-defined]
    if kind is tuple:
        return {"t": [encode(item, depth - 1, budget) for item in value]}  # type: ignore[attr-defined]
    if kind is dict:
        items = list(value.items())  # type: ignore[attr-defined]
        return {"d": [[encode(k, depth - 1, budget), encode(v, depth - 1, budget)] for k, v in items]}
    raise NotPlain(kind.__name__)


def main() -> None:
    Programs(*begin()).serve()
