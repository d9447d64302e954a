"""What `unpacked` needs of a Docker engine: an image's settings, and its file system as one stream."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from sandbox.archive import settings
from sandbox.base import SandboxError, SandboxUnavailable
from sandbox.images import Images


class Engine:
    """An engine that answers. Raises SandboxUnavailable when none does."""

    def __init__(self, say: Callable[[str], None]) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
            raise SandboxUnavailable(f"no Docker engine at {host}")
        try:
            self._api = docker.from_env(timeout=2).api
            self._api.ping()
        except (DockerException, OSError) as e:
            raise SandboxUnavailable(f"no Docker engine answers: {e}") from e
        self._api.timeout = 120
        self._images = Images(self._api, say)

    def inspect(self, name: str) -> tuple[str, dict[str, Any], int]:
        """Digest, settings and size of an image; pulls or builds what is missing. Raises SandboxError."""
        try:
            found = self._api.inspect_image(self._images.resolve(name))
        except DockerException as e:
            raise SandboxError(f"image {name!r}: {e}") from e
        digest = found["Id"].removeprefix("sha256:")
        return digest, settings(found.get("Config") or {}), int(found.get("Size") or 0)

    @contextmanager
    def export(self, digest: str) -> Iterator["Chunks"]:
        """The file system of an image. Raises SandboxError."""
        try:
            box = self._api.create_container(f"sha256:{digest}", ["true"])["Id"]
        except DockerException as e:
            raise SandboxError(f"the engine cannot export an image: {e}") from e
        try:
            yield Chunks(self._api.export(box))
        except DockerException as e:
            raise SandboxError(f"the engine cannot export an image: {e}") from e
        finally:
            with suppress(DockerException):
                self._api.remove_container(box, v=True, force=True)


class Chunks:
    """An iterator of bytes as a stream."""

    def __init__(self, chunks: Any) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
