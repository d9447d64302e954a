"""A Docker box without the guest, for images that have a shell but no usable Python: one `exec` per command.

The same contract, at a price: a command costs tens of milliseconds instead of one; `disk_mb` bounds nothing;
there is no deny-list of system calls beyond the engine's own allow-list; a fork bomb ends the box once its
command is over (SandboxError, never a result); a command that leaves something in the background returns some
time late. The image needs `sh`, `chown`, `mkdir`, `cat`, `timeout`. Process 1 is a shell of root's without a
capability but CHOWN; commands run as an ordinary user with none.
"""

import math
import select
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, NoReturn

from docker.errors import DockerException, NotFound

from plateau_bench.sandbox.base import Diff, Execution, SandboxError, SandboxSpec, Service
from plateau_bench.sandbox.engine import Attached, Chunks, frames, tarball
from plateau_bench.sandbox.guest.commands import MAX_DIFF, MAX_FILE, Tail
from plateau_bench.sandbox.guest.files import ALL
from plateau_bench.sandbox.host.commands import command_line

UID = 1000
HOLD = ["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & wait $!"]
"""Process 1: ends when the attached stream closes, and collects orphans meanwhile."""
_MAX_TAR = 1_000_000_000
_DIRECTORY, _SYMLINK, _NOT_REGULAR = 1 << 31, 1 << 27, 0x8F280000
"""Bits of the engine's file modes."""


class PlainSandbox:
    """Implements `sandbox.base.Sandbox` with the engine's exec and archive calls."""

    def __init__(
        self,
        api: Any,
        spec: SandboxSpec,
        box: str,
        env: Mapping[str, str],
        *ends: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._api, self._box, self._env, self._ends = api, box, dict(env), ends
        self._turn = threading.Lock()
        self._closed = False

    def hand_over(self) -> None:
        """Give the workspace to the user that commands run as."""
        folders = [self.spec.workdir, *self.spec.mounts]
        script = 'mkdir -p -- "$@" && chown -R "$0" -- "$@"'
        done = self._exec(["sh", "-c", script, f"{UID}:{UID}", *folders], 60.0, user="0:0")
        if done.exit_code != 0:
            self._dead(f"the workspace cannot be handed over: {done.stderr[:200]}")

    def run(self, command: str | Sequence[str], *, timeout_s: float = 60.0, stdin: bytes = b"") -> Execution:
        argv, stdin = command_line(command, stdin)
        limit = str(max(1, math.ceil(timeout_s)))  # the harness's own clock comes first; this one survives it
        with self._turn:
            return self._exec(["timeout", "-k", "1", limit, *argv], timeout_s, stdin=stdin)

    def read(self, path: str, *, max_bytes: int = 10_000_000) -> bytes:
        with self._turn, self._archive(self._path(path)) as (stream, stat):
            mode = int(stat["mode"])
            if mode & _DIRECTORY:
                raise IsADirectoryError(path)
            if mode & _SYMLINK:
                raise OSError(f"{path} is a symlink")
            if mode & _NOT_REGULAR or stat["size"] > max_bytes:
                raise ValueError(f"{path} is not a regular file of at most {max_bytes} bytes")
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isreg() else None
                    return file.read(max_bytes) if file else b""
            raise FileNotFoundError(path)

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        target = self._path(path)
        packed = tarball({target.name: data}, mode=mode, user=UID)
        with self._turn:
            made = self._exec(["mkdir", "-p", "--", str(target.parent)], 30.0)
            if made.exit_code != 0:
                raise OSError(f"{path}: {made.stderr.strip()[:200]}")
            try:
                if not self._api.put_archive(self._box, str(target.parent), packed):
                    raise OSError(f"{path}: the engine refused it")
            except DockerException as e:
                self._judge(e)
                raise OSError(f"{path}: {e}") from e

    def snapshot(self) -> Mapping[str, str]:
        return {path: sha256(data).hexdigest() for path, data in self._files() if data is not None}

    def diff(self, since: Mapping[str, str]) -> Diff:
        written: dict[str, bytes] = {}
        seen, refused, total = set(), [], 0
        for path, data in self._files():
            seen.add(path)
            if data is None:
                refused.append(path)
            elif sha256(data).hexdigest() != since.get(path):
                total += len(data)
                if len(data) > MAX_FILE or total > MAX_DIFF:
                    refused.append(path)
                else:
                    written[path] = data
        deleted = tuple(p for p in since if p not in seen) if ALL not in refused else ()
        return Diff(written=written, deleted=deleted, refused=tuple(refused))

    def visits(self) -> tuple[()]:
        return ()

    def serve(self, port: int, service: Service) -> None:
        raise ValueError(f"port {port}: a box of an image without python3 has no services")

    def close(self) -> None:
        self._closed = True
        for end in self._ends:
            with suppress(Exception):  # a box that is already gone is what we want
                end()

    # inside

    def _path(self, path: str) -> PurePosixPath:
        return PurePosixPath(self.spec.workdir, path)

    def _exec(self, argv: list[str], timeout_s: float, *, stdin: bytes = b"", user: str = "") -> Execution:
        if self._closed:
            raise SandboxError("the box is closed")
        started = time.monotonic()
        try:
            job = self._api.exec_create(
                self._box, argv, stdin=bool(stdin), user=user or f"{UID}:{UID}",
                environment=self._env, workdir=self.spec.workdir,
            )["Id"]  # fmt: skip
            attached = Attached(self._api.exec_start(job, socket=True))
            late, out, err = self._collect(attached, job, started + timeout_s, stdin)
            code = self._api.exec_inspect(job)["ExitCode"]
            if late or code in (None, 125, 126, 127, 137):
                if not self._api.inspect_container(self._box)["State"]["Running"]:
                    self._dead("it ended during a command")
                if late:
                    self._sweep()
        except (DockerException, OSError) as e:
            self._dead(e)
        return Execution(
            exit_code=None if late else int(137 if code is None else code),
            stdout=out.data.decode(errors="replace"),
            stderr=err.data.decode(errors="replace"),
            duration_s=time.monotonic() - started,
            timed_out=late,
            truncated=out.cut or err.cut,
        )

    def _sweep(self) -> None:
        """Kill every process of the box's user; if there is no process left to do that with, the box."""
        try:
            job = self._api.exec_create(self._box, ["sh", "-c", "kill -9 -1"], user=f"{UID}:{UID}")["Id"]
            self._api.exec_start(job)
            swept = self._api.exec_inspect(job)["ExitCode"] in (0, 1)  # 1: there was nothing to kill
        except (DockerException, OSError):
            swept = False
        if not swept:
            self.close()

    def _collect(
        self, attached: Attached, job: str, deadline: float, stdin: bytes
    ) -> tuple[bool, Tail, Tail]:
        """Whether the deadline passed, and the tails of both streams."""
        out, err = Tail(self.spec.output_kb << 10), Tail(self.spec.output_kb << 10)
        link, raw = attached.socket, bytearray(attached.early())
        feeder = threading.Thread(target=_feed, args=(link, stdin), daemon=True)
        feeder.start()
        look, pause = time.monotonic() + 0.5, 0.5
        late = False
        try:
            while True:
                for kind, payload in frames(raw):
                    (err if kind == 2 else out).add(payload)
                now = time.monotonic()
                if now >= deadline:
                    late = True
                    break
                if select.select([link], [], [], max(0.0, min(deadline, look) - now))[0]:
                    part = link.recv(65536)
                    if not part:
                        break
                    raw += part
                elif time.monotonic() >= look:  # something in the background may hold the stream open
                    if not self._api.exec_inspect(job)["Running"]:
                        break
                    pause = min(2 * pause, 5.0)
                    look = time.monotonic() + pause
        finally:
            attached.close()
        out.trim()
        err.trim()
        return late, out, err

    @contextmanager
    def _archive(self, path: PurePosixPath) -> Iterator[tuple[Chunks, dict[str, Any]]]:
        """A path as a tar, and what the engine says of it. Raises SandboxError if the tar breaks off."""
        if self._closed:
            raise SandboxError("the box is closed")
        try:
            pieces, stat = self._api.get_archive(self._box, str(path))
        except NotFound as e:
            self._judge(e)
            raise FileNotFoundError(str(path)) from e
        except (DockerException, OSError) as e:
            self._dead(e)
        try:
            with Chunks(pieces) as stream:
                yield stream, stat
        except (tarfile.TarError, EOFError, DockerException) as e:
            self._dead(e)

    def _files(self) -> Iterator[tuple[str, bytes | None]]:
        """Every entry of the workspace but folders: (path, content), None for what is not carried out."""
        with (
            self._turn,
            self._archive(PurePosixPath(self.spec.workdir)) as (stream, _),
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                path = "/".join(PurePosixPath(member.name).parts[1:])
                if member.isdir() or not path:
                    continue
                if member.offset_data + member.size > _MAX_TAR:
                    yield ALL, None  # what follows was not looked at
                    return
                file = archive.extractfile(member) if member.isreg() else None
                yield path, file.read() if file and member.size <= MAX_FILE else None

    def _judge(self, cause: object) -> None:
        """Raise SandboxError if the box is gone."""
        with suppress(DockerException, OSError):
            if self._api.inspect_container(self._box)["State"]["Running"]:
                return
        self._dead(cause)

    def _dead(self, cause: object) -> NoReturn:
        self.close()
        raise SandboxError(f"the box died: {cause}")


def _feed(link: Any, stdin: bytes) -> None:
    with suppress(OSError):
        if stdin:
            link.sendall(stdin)
            link.shutdown(socket.SHUT_WR)
