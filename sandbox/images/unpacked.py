"""Images as plain folders, for boxes without an engine: unpacked once, shared read-only, evicted by last use.

    <cache>/images/<digest>/rootfs     the file system
    <cache>/images/<digest>/meta.json  working folder, environment, size; its time is that of the last use
    <cache>/images/<digest>.lock       shared while in use, exclusive while being written or removed
    <cache>/images/names/<name>        the digest that a name meant when an engine was last asked

<cache> is $PLATEAU_CACHE, else /var/cache/plateau for root (whose boxes run as users that cannot enter root's
home folder) and ~/.cache/plateau for everybody else.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxError, SandboxUnavailable
from plateau_bench.sandbox.images.archive import Archive
from plateau_bench.sandbox.images.debian import FINISH, PACKAGES, RELEASE, bootstrap
from plateau_bench.sandbox.images.untar import BadImage, Unpacker, split, tidy

MAX_IMAGE = 64 << 30
RESERVE = 1 << 30
"""Bytes of one image at most, and bytes of the disk that are left to others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """An image on disk, which stays there until `release` is called."""

    name: str
    root: Path
    workdir: str
    env: Mapping[str, str]
    release: Callable[[], None]


class Store:
    """The unpacked images of one cache folder, shared by every process that uses it."""

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder or cache_folder() / "images"
        self._say = say

    def open(self, name: str) -> Unpacked:
        """The image `name`: the path of a tarball (`docker save`, OCI layout), or a name an engine knows.

        Without an engine a name means what it meant when it was last unpacked. Raises SandboxUnavailable,
        whose message says what to do, and SandboxError for a damaged or hostile image.
        """
        try:
            if name.endswith((".tar", ".tar.gz", ".tgz")) or Path(name).is_file():
                return self._from_file(name)
            return self._from_engine(name)
        except BadImage as e:
            raise SandboxError(f"image {name!r} is refused: {e}") from e
        except OSError as e:
            raise SandboxError(f"image {name!r} cannot be unpacked in {self.folder}: {e}") from e

    def base(self) -> Unpacked:
        """`plateau-base`: from an engine that has it, else assembled from Debian packages, as root."""
        digest = "base-" + hashlib.sha256("\0".join((RELEASE, PACKAGES, FINISH)).encode()).hexdigest()[:32]
        meta = {"name": BASE_IMAGE, "workdir": "/work", "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}}

        def fill(root: Path) -> int:
            self._say(f"assembling {BASE_IMAGE} from Debian packages (once, a minute or two)")
            bootstrap(root)
            return tidy(str(root))

        if not (self.folder / digest).exists():
            with suppress(SandboxUnavailable):
                return self.open(BASE_IMAGE)
        return self._have(digest, meta, 500_000_000, fill)

    def evict(self, keep_bytes: int) -> int:
        """Remove what was not used for longest until at most `keep_bytes` are left; returns bytes removed.

        Images in use, by whichever process, stay.
        """
        found = sorted(self._entries(), key=lambda entry: entry[1])
        total, removed = sum(size for _, _, size in found), 0
        for digest, _, size in found:
            if total - removed <= keep_bytes:
                break
            with self._alone(digest) as alone:
                if alone:
                    gone = self.folder / f".gone-{digest}"
                    (self.folder / digest).rename(gone)  # half an image must never look like one
                    shutil.rmtree(gone, ignore_errors=True)
                    removed += size
        return removed

    def clean(self) -> None:
        """Remove what an unpacking or an eviction that was killed has left."""
        for path in (*self.folder.glob(".part-*"), *self.folder.glob(".gone-*")):
            with self._alone(path.name.partition("-")[2]) as alone:
                if alone:
                    shutil.rmtree(path, ignore_errors=True)

    def _entries(self) -> Iterator[tuple[str, float, int]]:
        """Digest, time of last use and size of every image."""
        for path in self.folder.glob("*/meta.json"):
            with suppress(OSError, ValueError, KeyError):
                yield path.parent.name, path.stat().st_mtime, int(json.loads(path.read_text())["bytes"])

    def _from_file(self, name: str) -> Unpacked:
        with closing(Archive(Path(name))) as archive:
            meta = {"name": name, **archive.settings()}

            def fill(root: Path) -> int:
                unpacker = Unpacker(str(root), max_bytes=self._limit())
                for layer, expected in archive.layers():
                    if unpacker.layer(layer) != expected:
                        raise BadImage("a layer does not have the digest that its image says")
                return unpacker.written

            return self._have(archive.digest, meta, archive.size, fill)

    def _from_engine(self, name: str) -> Unpacked:
        note = self.folder / "names" / urllib.parse.quote(name, safe="")
        try:
            from plateau_bench.sandbox.engine import connect, usual_host
            from plateau_bench.sandbox.images.engine_cache import Images

            engine = Images(connect(usual_host(), patience_s=2), self._say)
        except (SandboxError, ImportError) as e:
            try:
                return self._have(note.read_text(), {}, 0, None)
            except OSError:
                raise SandboxUnavailable(
                    f"image {name!r} is not unpacked here and no Docker engine can be asked for it ({e}); "
                    "start one, or give the path of a tarball made with docker save"
                ) from e
        digest, meta, size = engine.describe(name)

        def fill(root: Path) -> int:
            unpacker = Unpacker(str(root), max_bytes=self._limit())
            with engine.export(digest) as stream:
                unpacker.layer(stream, whiteouts=False)
            return unpacker.written

        found = self._have(digest, {"name": name, **meta}, size, fill)
        note.parent.mkdir(exist_ok=True)
        part = note.with_name(f"{note.name}.{os.getpid()}")
        part.write_text(digest)
        part.replace(note)
        return found

    def _have(
        self, digest: str, meta: dict[str, Any], size: int, fill: Callable[[Path], int] | None
    ) -> Unpacked:
        """The image of this digest, locked, unpacked by `fill` if it is not there.

        Raises FileNotFoundError if it is not there and there is no `fill`."""
        if not re.fullmatch("(base-)?[0-9a-f]{32,64}", digest):
            raise BadImage(f"{digest[:80]!r} is no digest")
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / digest
        lock = self._lock(digest)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            while not final.exists():
                if fill is None:
                    raise FileNotFoundError(final)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not final.exists():
                    self._say(f"unpacking {meta['name']}")
                    self._unpack(final, meta, size, fill)
                fcntl.flock(lock, fcntl.LOCK_SH)  # not atomic: hence the loop
            os.utime(final / "meta.json")
            known = json.loads((final / "meta.json").read_text())
        except BaseException:
            lock.close()
            raise
        return Unpacked(
            name=known["name"],
            root=final / "rootfs",
            workdir=known["workdir"],
            env=known["env"],
            release=lock.close,
        )

    def _unpack(self, final: Path, meta: dict[str, Any], size: int, fill: Callable[[Path], int]) -> None:
        self._make_room(size)
        part = self.folder / f".part-{final.name}"  # ours alone: we hold the lock
        shutil.rmtree(part, ignore_errors=True)
        try:
            (part / "rootfs").mkdir(parents=True, mode=0o755)
            total = fill(part / "rootfs")
            _know_localhost(part / "rootfs")
            (part / "meta.json").write_text(json.dumps({**meta, "bytes": total}))
            part.rename(final)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _make_room(self, size: int) -> None:
        need = size + RESERVE
        free = shutil.disk_usage(self.folder).free
        if free < need:
            total = sum(bytes_ for _, _, bytes_ in self._entries())
            self.evict(max(total - (need - free), 0))
            free = shutil.disk_usage(self.folder).free
        if free < need:
            raise SandboxUnavailable(
                f"unpacking needs {need / 1e9:.1f} GB in {self.folder}, {free / 1e9:.1f} GB are free; "
                "free some, or set PLATEAU_CACHE to a folder on a larger disk"
            )

    def _limit(self) -> int:
        return min(MAX_IMAGE, shutil.disk_usage(self.folder).free - RESERVE // 2)

    def _lock(self, digest: str) -> IO[str]:
        return (self.folder / f"{digest}.lock").open("a")

    @contextmanager
    def _alone(self, digest: str) -> Iterator[bool]:
        """Locked for us alone; False when somebody else uses it."""
        with self._lock(digest) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _know_localhost(root: Path) -> None:
    """Write the hosts file that an engine would write, where an image has none or, exported, an empty one."""
    hosts = root / "etc" / "hosts"
    if (root / "etc").is_symlink() or not (root / "etc").is_dir():
        return
    if not os.path.lexists(hosts) or (stat.S_ISREG(hosts.lstat().st_mode) and not hosts.lstat().st_size):
        hosts.unlink(missing_ok=True)  # the old one may be a hard link to something else
        hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")


def cache_folder() -> Path:
    """Where everything that can be made again is kept."""
    if given := os.environ.get("PLATEAU_CACHE"):
        return Path(given).absolute()
    return Path("/var/cache/plateau") if os.geteuid() == 0 else Path.home() / ".cache" / "plateau"


@lru_cache(1000)
def mount_point(root: Path, inode: int, path: str) -> int:  # noqa: ARG001 - the inode tells a new root from an old
    """Have a folder at `path` of an image, for something can only be mounted on what is there: bytes in it.

    Everybody may read what is below: boxes run as users that own none of it. Raises BadImage for a link.
    """
    here = root
    for part in split(path):
        here /= part
        with suppress(FileExistsError):
            here.mkdir(mode=0o755)
        if not stat.S_ISDIR(here.lstat().st_mode):
            raise BadImage(f"{path!r} leads through a link or a file")
    total = 0
    for top, folders, names in os.walk(here):
        for name in (*folders, *names):
            entry = Path(top, name)
            found = entry.lstat()
            wanted = found.st_mode | (0o555 if stat.S_ISDIR(found.st_mode) else 0o444)
            if wanted != found.st_mode and not stat.S_ISLNK(found.st_mode):
                entry.chmod(stat.S_IMODE(wanted))
            total += max(found.st_size, 4096)
    return total
