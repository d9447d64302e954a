"""What lies in a workspace, looked at without following a link and without reading without end."""

# ruff: noqa: PTH101

from __future__ import annotations

import itertools
import os
import stat
from _collections_abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILES, MAX_DEPTH = 100_000, 64
"""Entries and folder levels that are looked at."""
MAX_NAMES, MAX_HASHED = 16_000_000, 1_000_000_000
"""Characters of all paths and bytes of all content that are looked at (sparse files cost a box nothing)."""
ALL = "./"
"""Stands for the whole workspace among the refused paths."""


def files(top: str) -> Iterator[tuple[str, int | None]]:
    """Every entry below `top` but directories: (path, open file), or (path, None) if it is no plain file.

    Never follows a symlink. What cannot be looked into comes as (path + "/", None).
    """
    entries_left, names_left = [MAX_FILES], [MAX_NAMES]

    def walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, int | None]]:
        with os.scandir(folder) as entries:  # a folder of millions must not fill this guest's memory
            some = sorted(entry.name for entry in itertools.islice(entries, max(entries_left[0], 0) + 1))
        for name in some:
            path = prefix + name
            entries_left[0] -= 1
            names_left[0] -= len(path)
            if entries_left[0] < 0 or names_left[0] < 0:
                yield prefix or ALL, None
                return
            if not _is_text(path):
                yield path.encode(errors="backslashreplace").decode() + "/", None
                continue
            fd, mode = None, 0
            try:
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                    fd = os.open(name, flags, dir_fd=folder)
                    mode = os.fstat(fd).st_mode
                if not stat.S_ISDIR(mode):
                    yield path, fd if stat.S_ISREG(mode) else None
                elif fd is not None and depth < MAX_DEPTH:
                    yield from walk(fd, path + "/", depth + 1)
                else:
                    yield path + "/", None
            except OSError:
                yield path + ("/" if stat.S_ISDIR(mode) else ""), None
            finally:
                if fd is not None:
                    os.close(fd)

    if not os.access(top, os.R_OK | os.X_OK):
        os.chmod(top, 0o755)  # the box's user is this guest's
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from walk(root, "", 0)
    finally:
        os.close(root)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


class Identify:
    """What tells a file's content from another: its sha256, as long as not too much has been read.

    A larger file goes by size and time of change, which nobody but the kernel can set. It would be too
    large for a diff anyway.
    """

    def __init__(self) -> None:
        self.left = MAX_HASHED

    def __call__(self, fd: int) -> str:
        found = os.fstat(fd)
        self.left -= found.st_size
        if found.st_size > MAX_HASHED // 10 or self.left < 0:
            self.left += found.st_size
            return f"{found.st_size} bytes, changed {found.st_ctime_ns}"
        digest, offset = sha256(found.st_size), 0
        while part := os.pread(fd, min(1 << 20, found.st_size - offset), offset):  # it may be growing
            digest.update(part)
            offset += len(part)
        return digest.hexdigest()


def sha256(size: int) -> Any:
    """A fresh digest; the interpreter's own where OpenSSL's would take longer to load than it saves."""
    if size < 1 << 20:
        for name in ("_sha2", "_sha256"):  # since Python 3.12, before
            try:
                return __import__(name).sha256()
            except ImportError:
                pass
    import hashlib

    return hashlib.sha256()
