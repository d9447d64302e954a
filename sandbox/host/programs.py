"""A `ProgramBox` over channels: the harness's half of `guest/programs.py`, the same for every backend.

One *lane* is one box that runs one program at a time; a `ProgramBox` has up to `workers` lanes and opens
them as they are needed. So no program ever has a living neighbour.
"""

import json
import queue
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from signal import SIGKILL, SIGPROF, SIGXCPU, Signals
from typing import Any

from plateau_bench.sandbox.base import Output, Program, ProgramResult, SandboxError, Status
from plateau_bench.sandbox.guest.core import ANSWER, MAX_ANSWER, MAX_REQUEST, REQUEST, VERDICTS
from plateau_bench.sandbox.host.channel import Channel

MEMORY_MB, PIDS = 512, 16
"""Address space and threads of one program."""
LIMITS = {
    "RLIMIT_AS": MEMORY_MB << 20,
    "RLIMIT_NPROC": PIDS,
    "RLIMIT_FSIZE": 1_000_000,
    "RLIMIT_NOFILE": 64,
    "RLIMIT_CORE": 0,
}
_AHEAD = 32_000
"""Bytes sent ahead of the answers: few enough for any pipe, so neither side ever blocks on the other."""
_MAX_DEPTH = 80


class GuestProgramBox:
    """Implements `sandbox.base.ProgramBox` over lanes made by `open_lane`."""

    def __init__(self, open_lane: Callable[[], Channel], workers: int) -> None:
        self._open_lane, self._workers = open_lane, workers
        self._free: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        self._open: set[Channel] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(workers, "program-box")
        self._free.put(self._new_lane())  # fail now rather than at the first program

    def run(self, programs: Sequence[Program]) -> list[ProgramResult]:
        if self._closed:
            raise SandboxError("the box is closed")
        requests = [_request(program) for program in programs]
        size = max(1, min(32, len(requests) // (4 * self._workers)))
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        results = []
        for part in self._pool.map(self._run_part, parts):
            results += part
        return results

    def close(self) -> None:
        with self._lock:
            self._closed = True
            lanes = list(self._open)
        for lane in lanes:
            lane.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_lane(self) -> Channel:
        lane = self._open_lane()
        with self._lock:
            self._open.add(lane)
            closed = self._closed
        if closed:
            lane.close()
        return lane

    def _run_part(self, requests: list["Request | ProgramResult"]) -> list[ProgramResult]:
        try:
            lane = self._free.get_nowait()
        except queue.Empty:  # at most `workers` parts run at once, so at most `workers` lanes exist
            lane = self._new_lane()
        try:
            results = _pipeline(lane, requests)
        except BaseException:
            lane.close()
            with self._lock:
                self._open.discard(lane)
            raise
        self._free.put(lane)
        return results


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A program as the guest reads it."""

    data: bytes
    calls: int
    cpu_s: float


def _request(program: Program) -> Request | ProgramResult:
    """What to send; a program that cannot be sent has its result already."""
    body = {"source": program.source, "entry": program.entry_point, "calls": [list(a) for a in program.calls]}
    data = json.dumps(body).encode()
    if len(data) > MAX_REQUEST:
        if len(program.source) > 1_000_000:
            return ProgramResult(
                status=Status.LOAD_ERROR, detail="the source is longer than a million characters"
            )
        raise ValueError(f"Program.calls: {len(data)} bytes of arguments, at most {MAX_REQUEST} fit")
    data = struct.pack(REQUEST, len(data), max(1, round(program.cpu_s * 1e6))) + data
    return Request(data=data, calls=len(program.calls), cpu_s=program.cpu_s)


def _pipeline(lane: Channel, requests: list["Request | ProgramResult"]) -> list[ProgramResult]:
    """Keep the guest busy: send ahead while little is under way."""
    waiting = deque(r for r in requests if isinstance(r, Request))
    results: list[ProgramResult] = []
    ahead = 0
    for request in requests:
        if isinstance(request, ProgramResult):
            results.append(request)
            continue
        while waiting and (ahead == 0 or ahead + len(waiting[0].data) <= _AHEAD):
            ahead += len(waiting[0].data)
            lane.send(waiting.popleft().data, 120.0)
        results.append(_receive(lane, request.cpu_s, request.calls))
        ahead -= len(request.data)
    return results


def _receive(lane: Channel, cpu_s: float, calls: int) -> ProgramResult:
    deadline = time.monotonic() + 180.0 + 60 * cpu_s  # beyond the guest's wall limit: then the box is dead
    verdict, status, _, size = struct.unpack(ANSWER, lane.read(struct.calcsize(ANSWER), deadline))
    if verdict >= len(VERDICTS) or size > MAX_ANSWER:
        raise SandboxError("the box died: an answer out of protocol")
    answer = lane.read(size, deadline)
    if not answer.startswith(b"R"):
        raise SandboxError(f"the box could not start a program (wait status {status:#x}, {answer[:100]!r})")
    return judge(VERDICTS[verdict], status, answer[1:], calls)


def judge(verdict: str, status: int, answer: bytes, calls: int) -> ProgramResult:
    """What the guest saw and the child's last words, as a result. `answer` is hostile bytes; never raises."""
    if verdict in ("cpu", "wall"):
        return ProgramResult(status=Status.TIME_LIMIT, detail=f"over its {verdict} time")
    if verdict == "flood":
        return _crashed("answer too long")
    signal = status & 0x7F
    if signal in (SIGPROF, SIGXCPU):
        return ProgramResult(status=Status.TIME_LIMIT, detail="over its CPU time")
    if signal:
        name = Signals(signal).name if signal in set(Signals) else f"signal {signal}"
        return _crashed("killed" if signal == SIGKILL else f"ended by {name}")
    if status:
        return _crashed(f"exit status {status >> 8}")
    try:
        result = _parse(answer)
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return _crashed("malformed answer")
    if result.outputs is not None and len(result.outputs) != calls:
        return _crashed("not one answer per call")
    return result


def _crashed(detail: str) -> ProgramResult:
    return ProgramResult(status=Status.CRASHED, detail=detail)


def _parse(answer: bytes) -> ProgramResult:
    data = json.loads(answer)
    if data["status"] == "memory":
        return ProgramResult(status=Status.MEMORY_LIMIT, detail="MemoryError")
    if data["status"] == "load":
        detail = "".join(c if c.isprintable() else " " for c in str(data["detail"])[:200])
        return ProgramResult(status=Status.LOAD_ERROR, detail=detail)
    if data["status"] != "completed" or type(data["outputs"]) is not list:
        raise ValueError("no such status")
    return ProgramResult(status=Status.COMPLETED, outputs=tuple(map(_output, data["outputs"])))


def _output(item: Any) -> Output:
    if type(item) is str:
        return Output(error="".join(c if c.isprintable() else " " for c in item[:100]))
    if type(item) is not list or len(item) != 1:
        raise ValueError("neither a value nor an error")
    return Output(value=_decode(item[0], _MAX_DEPTH))


def _decode(data: Any, depth: int) -> Any:
    """Undo `guest.programs.encode`; json.loads has made exact types already."""
    if depth == 0:
        raise ValueError("too deep")
    if type(data) is list:
        return [_decode(item, depth - 1) for item in data]
    if type(data) is not dict:
        return data
    if len(data) != 1:
        raise ValueError("no such tag")
    ((tag, items),) = data.items()
    if tag == "t" and type(items) is list:
        return tuple(_decode(item, depth - 1) for item in items)
    if tag == "d" and type(items) is list:
        return {_decode(key, depth - 1): _decode(value, depth - 1) for key, value in items}
    raise ValueError("no such tag")
