"""Unpacks the layers of an image into a folder. A layer is hostile input: nothing it says reaches outside.

Every path is walked one component at a time without following links, so neither `..`, nor an absolute path,
nor a link made by an earlier entry leads out. Devices, pipes, owners, extended attributes and set-user-id
bits are dropped. Sizes, entries and depth are limited.
"""

# ruff: noqa: PTH101, PTH108, PTH118, PTH208

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

MAX_ENTRIES, MAX_DEPTH = 2_000_000, 100
_MAX_HEADER = 16 << 20
_CHUNK = 1 << 20
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class BadImage(ValueError):
    """An image that is damaged or hostile. The message names the entry."""


class _Forward:
    """A stream as tarfile wants it, going forward only, with a limit for all and for one read; hashes it."""

    def __init__(self, raw: IO[bytes], limit: int) -> None:
        self._raw, self._left, self._position = raw, limit, 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise BadImage(f"a header of {size} bytes")
        parts = []
        while size > 0 and (part := self._raw.read(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self._left -= len(data)
        if self._left < 0:
            raise BadImage("it unpacks to more than its limit")
        self._position += len(data)
        self.sha256.update(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise BadImage("entries out of order")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass
        return self._position

    def drain(self) -> str:
        """Read to the end; the digest of all of it."""
        while self.read(_CHUNK):
            pass
        return self.sha256.hexdigest()


class Unpacker:
    """Applies layers, in order, to the empty folder `root`."""

    def __init__(self, root: str, *, max_bytes: int, max_entries: int = MAX_ENTRIES) -> None:
        self._root = root
        self._bytes, self._entries = max_bytes, max_entries
        self.written = 0

    def layer(self, raw: Any, *, whiteouts: bool = True) -> str:
        """Apply one tar, gzip'd or not; returns the sha256 of the plain tar. Raises BadImage, OSError.

        `raw`: a stream of `io`'s, which is closed afterwards.
        `whiteouts`: entries called .wh.NAME remove what lower layers have there (OCI image specification).
        """
        source: Any = io.BufferedReader(raw)
        if source.peek(2).startswith(b"\x1f\x8b"):
            source = gzip.GzipFile(fileobj=source)
        # a tar has at most 1 KiB of padding and header per entry on top of its content, plus long names
        stream = _Forward(source, self._bytes + (1 << 30))
        fresh: set[tuple[str, ...]] = set()
        try:
            with tarfile.open(fileobj=cast("Any", stream), mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined] # it would keep every header in memory
                    self._apply(tar, member, whiteouts, fresh)
            return stream.drain()
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, OverflowError, RecursionError) as e:
            raise BadImage(f"not a readable layer: {e}") from e

    def _apply(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, whiteouts: bool, fresh: set[tuple[str, ...]]
    ) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise BadImage("it has too many entries")
        parts = split(member.name)
        if not parts:  # the root itself
            return
        *above, name = parts
        with self._folder(above) as folder:
            if whiteouts and name.startswith(_WHITEOUT):
                if name == _OPAQUE:
                    for old in os.listdir(folder):
                        if (*above, old) not in fresh:
                            _remove(folder, old)
                elif split(name.removeprefix(_WHITEOUT)):
                    _remove(folder, name.removeprefix(_WHITEOUT))
                return
            self._place(tar, member, folder, name)
        if whiteouts:
            fresh.update(tuple(parts[:n]) for n in range(1, len(parts) + 1))

    def _place(self, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: str) -> None:
        mode = member.mode & 0o777
        if member.isdir():
            if not _is_folder(folder, name):
                _remove(folder, name)
                os.mkdir(name, 0o700, dir_fd=folder)
            with _opened(folder, name) as made:
                os.fchmod(made, mode | 0o700)
        elif member.isreg():
            _remove(folder, name)
            self._write(tar, member, folder, name, mode | 0o400)
        elif member.issym():
            _remove(folder, name)
            os.symlink(member.linkname, name, dir_fd=folder)
        elif member.islnk():
            *above, target = split(member.linkname) or [""]
            with self._folder(above, make=False) as there:
                if not stat.S_ISREG(os.stat(target, dir_fd=there, follow_symlinks=False).st_mode):
                    raise BadImage(f"{member.name!r} is a hard link to what is no file")
                _remove(folder, name)
                os.link(target, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)

    def _write(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: str, mode: int
    ) -> None:
        self.written += member.size
        if self.written > self._bytes:
            raise BadImage("it unpacks to more than its limit")
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            source = tar.extractfile(member)
            while source and (data := source.read(_CHUNK)):
                file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            with suppress(OverflowError, OSError, ValueError):  # Python compares times to trust its caches
                os.utime(fd, (member.mtime, member.mtime))

    @contextmanager
    def _folder(self, parts: list[str], *, make: bool = True) -> Iterator[int]:
        """The folder at this path, open; made where missing. Raises BadImage for a link on the way."""
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=fd)
                try:
                    below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as e:
                    raise BadImage(f"{'/'.join(parts)!r} leads through a link or a file") from e
                os.close(fd)
                fd = below
            yield fd
        except FileNotFoundError as e:
            raise BadImage(f"a hard link to what is not there: {e}") from e
        finally:
            os.close(fd)


def split(path: str) -> list[str]:
    """The components of a path in an image, from its root. Raises BadImage for one that climbs."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path or len(parts) > MAX_DEPTH:
        raise BadImage(f"a path that is not allowed: {path[:200]!r}")
    return parts


@contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_folder(folder: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _remove(folder: int, name: str) -> None:
    """Remove what is there, if anything; never follows a link."""
    if _is_folder(folder, name):
        shutil.rmtree(name, dir_fd=folder)
        return
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def tidy(root: str) -> int:
    """Make a tree that a system tool wrote fit for sharing: no set-user-id bits, every folder ours to
    enter and remove. Returns its size in bytes."""
    total = 0
    for top, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(top, name)
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                os.chmod(path, found.st_mode & 0o777 | 0o700)
            elif stat.S_ISREG(found.st_mode):
                total += found.st_size
                if found.st_mode & 0o7000:
                    os.chmod(path, found.st_mode & 0o777)
            elif not stat.S_ISLNK(found.st_mode):
                os.unlink(path)
    return total
