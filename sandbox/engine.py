"""A Docker engine's API as everything here uses it: the connection, images looked up and built, streams."""

import io
import os
import socket
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import BuildError, DockerException, ImageNotFound

from plateau_bench.sandbox.base import SandboxError, SandboxUnavailable

START = "start a Docker engine: sudo systemctl start docker"


def usual_host() -> str:
    """`DOCKER_HOST`, or the socket where an engine of this machine listens."""
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def connect(host: str, *, patience_s: int = 10) -> Any:
    """Return a docker APIClient of an engine that answers. Raises SandboxUnavailable when none does."""
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        raise SandboxUnavailable(f"no Docker engine at {host}; {START}")
    try:
        environment = {**os.environ, "DOCKER_HOST": host}
        api = docker.from_env(timeout=patience_s, max_pool_size=64, environment=environment).api
        api.ping()
    except (DockerException, OSError) as e:
        raise SandboxUnavailable(f"no Docker engine answers ({e}); {START}") from e
    api.timeout = 120
    return api


def find_image(api: Any, name: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image; None if it has none of this name. Raises SandboxError."""
    try:
        return dict(api.inspect_image(name))
    except ImageNotFound:
        return None
    except (DockerException, OSError) as e:
        raise SandboxError(f"the engine does not say what image {name!r} is: {e}") from e


def build_image(api: Any, name: str, **source: Any) -> str:
    """Build an image of this name; returns the last lines of what went wrong, "" when nothing did.

    `source`: where the Dockerfile is and more, as docker-py's `build` takes it.
    """
    said: list[str] = []
    try:
        for line in api.build(tag=name, rm=True, forcerm=True, decode=True, **source):
            text = str(line.get("error") or line.get("stream") or "")
            said = [*said, *text.strip().splitlines()][-4:]
            if "error" in line:
                return " / ".join(said)[-500:]
        return "" if find_image(api, name) else "the engine broke off"
    except (BuildError, DockerException, SandboxError, OSError, TypeError) as e:
        return str(e)[:500]


def tarball(files: Mapping[str, bytes], *, mode: int = 0o644, user: int = 0) -> io.BytesIO:
    """Pack files (name -> content) into a tar, as the API takes them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(data), mode, user, user
            member.mtime = int(time.time())
            tar.addfile(member, io.BytesIO(data))
    packed.seek(0)
    return packed


class Chunks(io.RawIOBase):
    """A transfer, which docker-py gives as pieces of bytes, as a raw stream; closing it ends the transfer."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces, self._rest = iter(pieces), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except OSError as e:
                raise DockerException(f"a transfer broke off: {e}") from e
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        with suppress(Exception):
            self._pieces.close()  # type: ignore[attr-defined] # docker-py's are generators
        super().close()


def frames(raw: bytearray) -> Iterator[tuple[int, bytes]]:
    """Complete frames of an engine's stream, removed from `raw`: (1 stdout or 2 stderr, payload).

    frame:  one byte, three zero bytes, >I length, payload
    """
    while len(raw) >= 8 and len(raw) >= 8 + (length := int.from_bytes(raw[4:8])):
        kind, payload = raw[0], bytes(raw[8 : 8 + length])
        del raw[: 8 + length]
        yield kind, payload


class Attached:
    """A container's attached stream as a plain byte stream; stderr is kept for an error's text."""

    def __init__(self, attached: Any) -> None:
        self._attached = attached  # closing or losing this object closes the connection
        self._response = getattr(attached, "_response", None)
        self.socket = getattr(attached, "_sock", attached)
        self._raw, self._data = bytearray(), bytearray()
        self.stderr = ""

    def early(self) -> bytes:
        """Output of a fast command, which the client read together with the head of the engine's answer."""
        if self._response is None:
            return b""
        self.socket.setblocking(False)
        try:
            return bytes(self._response.raw._fp.fp.peek())
        finally:
            self.socket.setblocking(True)

    def recv(self, size: int) -> bytes:
        while not self._data:
            part = self.socket.recv(max(size, 65536))
            if not part:
                return b""
            self._raw += part
            for kind, payload in frames(self._raw):
                if kind == 1:
                    self._data += payload
                else:
                    self.stderr = (self.stderr + payload.decode(errors="replace"))[-2000:]
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def sendall(self, data: bytes) -> None:
        self.socket.sendall(data)

    def settimeout(self, seconds: float) -> None:
        self.socket.settimeout(seconds)

    def close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        for part in (self._response, self._attached, self.socket):
            with suppress(OSError, AttributeError):
                part.close()  # type: ignore[union-attr]
