"""The stream between the harness and the guest in a box: framing, deadlines, and the box's death.

    request, answer:  >II  header length, body length;  header (marshalled there, JSON back);  body

A backend hands over any stream with `recv`, `sendall`, `settimeout` and `close`.
"""

import json
import marshal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from plateau_bench.sandbox.base import SandboxError
from plateau_bench.sandbox.guest.core import CONFIG, FRAME

MAX_FRAME = 256_000_000

# Reads the guest's modules from the channel, so that `ps` in the box shows a short command line. A module
# already in sys.modules is found under its full name without its parents.
BOOT = """import marshal, os, sys
need = int(sys.argv[1]); data = b""
while len(data) < need:
    part = os.read(0, need - len(data))
    if not part: sys.exit(2)
    data += part
for name, code in marshal.loads(data):
    sys.modules[name] = module = type(sys)(name)
    exec(compile(code, name, "exec") if type(code) is str else code, module.__dict__)
module.main()
"""


_COMPILE = """import marshal, sys
done = [(name, compile(text, name, "exec")) for name, text in marshal.loads(sys.stdin.buffer.read())]
sys.stdout.buffer.write(marshal.dumps(done))
"""


@cache
def guest_source(mode: str, python: str = "") -> bytes:
    """What BOOT reads: the modules of a guest (`files+commands`, `programs`, `ports+tunnel`), as imported.

    With `python`, the very interpreter that will run it, compiled by that: compiling is a third of the start.
    """
    folder = Path(__file__).parents[1] / "guest"
    modules = [
        (f"plateau_bench.sandbox.guest.{n}", (folder / f"{n}.py").read_text())
        for n in ("core", *mode.split("+"))
    ]
    source = marshal.dumps(modules, 2)  # an old format that every version reads
    if not python:
        return source
    done = subprocess.run(
        [python, "-I", "-S", "-c", _COMPILE], input=source, capture_output=True, check=False
    )
    return source if done.returncode else done.stdout


def guest_command(mode: str, label: str, python: str = "") -> list[str]:
    """The command line of a guest; `Channel.greet` then sends its source and configuration.

    `label` is there for people who look at a list of processes.
    """
    flags = ["-s", "-S"] if mode == "programs" else ["-I", "-S"]  # programs: PYTHONHASHSEED=0 must count
    size = len(guest_source(mode, python))
    return ["python3", *flags, "-c", BOOT, str(size), label]


def plain(data: Mapping[str, Any]) -> bytes:
    """Plain data for the guest, in an old format that every version reads. Never for the way back."""
    return marshal.dumps(json.loads(json.dumps(dict(data))), 2)  # JSON makes exact types of what it accepts


class Stream(Protocol):
    """The part of a socket that a channel uses."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> Any: ...
    def settimeout(self, seconds: float, /) -> Any: ...
    def close(self) -> Any: ...


class Channel:
    """Exact reads and writes over a stream; every failure closes it and raises SandboxError."""

    def __init__(
        self, stream: Stream, destroy: Callable[[], None], why: Callable[[], str] = lambda: ""
    ) -> None:
        self._stream, self._destroy, self._why = stream, destroy, why
        self._lock = threading.Lock()
        self._closed = False
        self._also: list[Callable[[], None]] = []
        self._ahead = bytearray()

    def greet(self, mode: str, config: Mapping[str, Any], python: str = "") -> None:
        """Send the guest its source and its configuration, and wait until it says that it is ready."""
        settings = plain(config)
        self.send(guest_source(mode, python) + struct.pack(CONFIG, len(settings)) + settings, 60.0)
        hello, _ = self.receive(60.0)
        if not hello.get("ready"):
            raise self._dead(f"the guest did not start: {hello}")

    def send(self, data: bytes, timeout_s: float) -> None:
        try:
            self._stream.settimeout(timeout_s)
            self._stream.sendall(data)
        except (OSError, ValueError) as e:
            raise self._dead(e) from e

    def read(self, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes, or SandboxError when the box ends or `deadline` (monotonic) passes."""
        while (missing := size - len(self._ahead)) > 0:
            try:
                self._stream.settimeout(max(deadline - time.monotonic(), 0.001))
                part = self._stream.recv(max(missing, 65536))
            except (OSError, ValueError) as e:
                raise self._dead(e) from e
            if not part:
                raise self._dead("the box ended")
            self._ahead += part
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """One answer: header and body."""
        deadline = time.monotonic() + timeout_s
        head, body = struct.unpack(FRAME, self.read(struct.calcsize(FRAME), deadline))
        if head + body > MAX_FRAME:
            raise self._dead("an answer of impossible size")
        try:
            header = json.loads(self.read(head, deadline))
        except (ValueError, RecursionError) as e:
            raise self._dead("an answer that is not JSON") from e
        if not isinstance(header, dict):
            raise self._dead("an answer that is not an object")
        return header, self.read(body, deadline)

    def call(
        self, header: Mapping[str, Any], body: bytes = b"", timeout_s: float = 60.0
    ) -> tuple[dict, bytes]:
        """One request and its answer."""
        head = plain(header)
        self.send(struct.pack(FRAME, len(head), len(body)) + head + body, timeout_s)
        return self.receive(timeout_s)

    def also_close(self, step: Callable[[], None]) -> None:
        """Something that ends with the box; at once, if that has ended."""
        with self._lock:
            self._also.append(step)
            closed = self._closed
        if closed:
            step()

    def close(self) -> None:
        """Destroy the box; idempotent, never raises."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for step in (*self._also, self._stream.close, self._destroy):
            with suppress(Exception):  # a box that is already gone is what we want
                step()

    def _dead(self, cause: object) -> SandboxError:
        if self._closed:
            return SandboxError("the box is closed")
        why = self._why()
        self.close()
        return SandboxError(f"the box died: {cause}" + (f" ({why})" if why else ""))
