"""A `Sandbox` over a channel: the harness's half of `guest/commands.py`, the same for every backend."""

import json
import threading
from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from plateau_bench.sandbox.base import Diff, Execution, SandboxError, SandboxSpec, Service, Visit
from plateau_bench.sandbox.host.channel import Channel, plain

_GRACE_S = 30.0
"""How much longer than a command's own limit the guest may take to answer before the box counts as dead."""
SHM_MB = 64
"""Size of /dev/shm."""
INODES_PER_MB = 256
"""Files that a tmpfs may have, where the backend can say so: one for every page."""
_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, OSError, ValueError)


def room_mb(spec: SandboxSpec, *, workspace: bool = True) -> int:
    """What a box's memory cgroup grants on top of `memory_mb`, MiB: all its tmpfs, full, and their inodes.

    With less, a command could fill the disks until the kernel ends the guest, since nothing else is left.
    The guest itself keeps what processes hold below `memory_mb`.
    """
    return 5 * (spec.disk_mb * (1 + workspace + len(spec.mounts)) + SHM_MB) // 4 + 32


def command_line(command: str | Sequence[str], stdin: bytes) -> tuple[list[str], bytes]:
    """The words to start and the input to give them. Raises ValueError for what is no command."""
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if not argv or any("\0" in word for word in argv):
        raise ValueError("a command needs at least one word and may not contain NUL characters")
    if len(argv[-1]) > 100_000 and isinstance(command, str):  # longer than one argument can be
        return ["sh", "-s"], command.encode(errors="surrogateescape")
    return argv, stdin


class GuestSandbox:
    """Implements `sandbox.base.Sandbox`. What the guest answers is checked, never trusted."""

    def __init__(
        self,
        spec: SandboxSpec,
        channel: Channel,
        visits: Callable[[], Sequence[Visit]] = tuple,
        services: MutableMapping[int, Service] | None = None,
    ) -> None:
        """`services`: what answers at the box's ports, looked up anew for every connection."""
        self.spec = spec
        self.visits = visits
        self._channel = channel
        self._services = {} if services is None else services
        self._turn = threading.Lock()

    def run(self, command: str | Sequence[str], *, timeout_s: float = 60.0, stdin: bytes = b"") -> Execution:
        argv, stdin = command_line(command, stdin)
        head, body = self._call(
            {"op": "run", "argv": argv, "timeout": timeout_s}, stdin, timeout_s + _GRACE_S
        )
        with self._reading("run"):
            split = int(head["out"])
            return Execution(
                exit_code=None if head["exit"] is None else int(head["exit"]),
                stdout=body[:split].decode(errors="replace"),
                stderr=body[split:].decode(errors="replace"),
                duration_s=float(head["duration"]),
                timed_out=bool(head["timed_out"]),
                truncated=bool(head["truncated"]),
            )

    def read(self, path: str, *, max_bytes: int = 10_000_000) -> bytes:
        return self._call({"op": "read", "path": path, "max": max_bytes})[1]

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        self._call({"op": "write", "path": path, "mode": mode}, data)

    def snapshot(self) -> Mapping[str, str]:
        _, body = self._call({"op": "snapshot"}, timeout_s=300.0)
        with self._reading("snapshot"):
            found: dict[str, str] = json.loads(body)
            if type(found) is not dict or not all(_inside(p) and type(d) is str for p, d in found.items()):
                raise TypeError("not paths and digests")
            return found

    def diff(self, since: Mapping[str, str]) -> Diff:
        head, body = self._call({"op": "diff"}, plain(since), 300.0)
        written: dict[str, bytes] = {}
        with self._reading("diff"):
            offset = 0
            for path, size in head["written"]:
                if not _inside(path) or not 0 <= size <= len(body) - offset:
                    raise ValueError(path)
                written[path] = body[offset : offset + size]
                offset += size
            deleted, refused = (tuple(map(str, head[key])) for key in ("deleted", "refused"))
            return Diff(written=written, deleted=tuple(p for p in deleted if p in since), refused=refused)

    def serve(self, port: int, service: Service) -> None:
        if port not in self.spec.services:
            raise ValueError(f"port {port} is none of this box's services: {sorted(self.spec.services)}")
        self._services[port] = service

    def close(self) -> None:
        self._channel.close()

    def _call(self, header: dict[str, Any], body: bytes = b"", timeout_s: float = 60.0) -> tuple[dict, bytes]:
        with self._turn:
            head, data = self._channel.call(header, body, timeout_s)
        if "error" in head:
            kinds = {kind.__name__: kind for kind in _ERRORS}
            raise kinds.get(str(head["error"]), OSError)(str(head.get("text"))[:500])
        return head, data

    @contextmanager
    def _reading(self, op: str) -> Generator[None, Any, Any]:
        """What cannot be read means a broken box."""
        try:
            yield
        except (KeyError, TypeError, ValueError, RecursionError) as e:
            self.close()
            raise SandboxError(f"the box died: malformed answer to {op}") from e


def _inside(path: object) -> bool:
    """True for a plain relative path that stays below the workspace."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    return not {"", ".", ".."} & set(path.split("/"))
