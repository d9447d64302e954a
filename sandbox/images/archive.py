"""Reads an image from a tarball: what `docker save` writes, or an OCI layout. It is hostile input."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from plateau_bench.sandbox.images.untar import BadImage

_MAX_DOCUMENT, _MAX_ENTRIES = 16 << 20, 100_000
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, KeyError, TypeError, IndexError)


class Archive:
    """The one image in a tarball. Raises BadImage, and FileNotFoundError for the tarball itself."""

    def __init__(self, path: Path) -> None:
        self.size = 3 * path.stat().st_size  # layers are often compressed
        with ExitStack() as undo:
            file = undo.enter_context(path.open("rb"))
            try:
                self._tar = undo.enter_context(tarfile.open(fileobj=file, mode="r:*"))
                self._members = {m.name.removeprefix("./"): m for m in self._limited()}
                config, self._layers = self._manifest()
                data = self._read(config)
            except _DAMAGE as e:
                raise BadImage(f"neither a docker save nor an OCI layout: {e}") from e
            self._config = _document(data)
            self.digest = hashlib.sha256(data).hexdigest()
            if config.startswith("blobs/sha256/") and config.rpartition("/")[2] != self.digest:
                raise BadImage("its configuration does not have the digest it says")
            self.close = undo.pop_all().close

    def settings(self) -> dict[str, Any]:
        """Working folder and environment."""
        return settings(self._config.get("config") or {})

    def layers(self) -> Iterator[tuple[IO[bytes], str]]:
        """Each layer, lowest first, and the sha256 that its plain tar must have."""
        expected = (self._config.get("rootfs") or {}).get("diff_ids")
        if not isinstance(expected, list) or len(expected) != len(self._layers):
            raise BadImage("it does not name a digest for each layer")
        for name, digest in zip(self._layers, expected, strict=True):
            yield self._open(name), str(digest).removeprefix("sha256:")

    def _limited(self) -> Iterator[tarfile.TarInfo]:
        for count, member in enumerate(self._tar):
            if count > _MAX_ENTRIES:
                raise BadImage("it has too many entries")
            yield member

    def _manifest(self) -> tuple[str, list[str]]:
        """Names, in the tarball, of the configuration and of the layers."""
        if "manifest.json" in self._members:
            images = _document(self._read("manifest.json"), list)
            if len(images) != 1:
                raise BadImage(f"it holds {len(images)} images; save one")
            return str(images[0]["Config"]), [str(name) for name in images[0]["Layers"]]
        document = _document(self._read("index.json"))
        for _ in range(3):  # an index may lead to an index
            if "layers" in document:
                layers = [_blob(layer["digest"]) for layer in document["layers"]]
                return _blob(document["config"]["digest"]), layers
            document = _document(self._read(_blob(_choose(document["manifests"])["digest"])))
        raise BadImage("its index leads nowhere")

    def _open(self, name: str) -> IO[bytes]:
        try:
            file = self._tar.extractfile(self._members[name])
        except (KeyError, RecursionError) as e:
            raise BadImage(f"{name!r} is missing") from e
        if file is None:
            raise BadImage(f"{name!r} is no file")
        if file.read(4) == b"\x28\xb5\x2f\xfd":
            raise BadImage("its layers are compressed with zstd; save it with gzip or without compression")
        file.seek(0, io.SEEK_SET)
        return file

    def _read(self, name: str) -> bytes:
        data = self._open(name).read(_MAX_DOCUMENT + 1)
        if len(data) > _MAX_DOCUMENT:
            raise BadImage(f"{name!r} is too large")
        return data


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What a box needs of an image's configuration, checked."""
    words = [str(word).split("=", 1) for word in config.get("Env") or [] if "=" in str(word)]
    workdir = str(config.get("WorkingDir") or "/")
    if "\0" in workdir + "".join(map("".join, words)):
        raise BadImage("its configuration has NUL characters")
    return {"workdir": workdir, "env": {key: value for key, value in words if key}}


def _choose(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest for this machine, or the only one."""
    mine = _MACHINES.get(platform.machine(), platform.machine())
    fitting = [m for m in manifests if (m.get("platform") or {}).get("architecture") == mine]
    if not fitting and len(manifests) != 1:
        raise BadImage(f"it holds {len(manifests)} images, none for {mine}")
    return (fitting or manifests)[0]


def _blob(digest: object) -> str:
    return "blobs/" + str(digest).replace(":", "/", 1)


def _document(data: bytes, kind: type = dict) -> Any:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise BadImage("a document in it is not JSON") from e
    if not isinstance(document, kind):
        raise BadImage("a document in it is not what it should be")
    return document
