"""What bubblewrap is told: the system that a box sees, its writable folders, its environment."""

import os
import subprocess
from functools import cache
from pathlib import Path

from plateau_bench.sandbox.base import SandboxSpec
from plateau_bench.sandbox.host.commands import SHM_MB
from plateau_bench.sandbox.images.unpacked import Unpacked, mount_point
from plateau_bench.sandbox.images.untar import split

UID = 1000
"""The user as seen in a box."""
_IDENTITY = {"HOME": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}
PATH = "/usr/local/bin:/usr/bin:/bin"
_OWN = {"proc", "sys", "dev", "tmp"}
"""Top-level folders that are never an image's own."""
_SEED = "/.workdir"
"""Where a box finds what its image has in the workspace's place."""
_FILES = {
    "/etc/passwd": f"root:x:0:0::/:/bin/sh\nagent:x:{UID}:{UID}::/tmp:/bin/sh\n",
    "/etc/group": f"root:x:0:\nagent:x:{UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost box\n::1 localhost box\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@cache
def bwrap_says(option: str) -> str:
    """Return what bwrap prints for `--version`, or for `--help`, which names what this version can do."""
    return subprocess.run(["bwrap", option], capture_output=True, text=True, check=False).stdout


def _tmpfs(path: str, size_mb: int) -> list[str]:
    return [*(["--size", str(size_mb << 20)] if "--size" in bwrap_says("--help") else []), "--tmpfs", path]


def arguments(spec: SandboxSpec | None, image: Unpacked | None) -> tuple[list[str], str]:
    """Return all words for bwrap up to the command, and the folder that the workspace starts as a copy of.

    No spec means a program box. Raises ValueError when the image's content does not fit the workspace.
    """
    args = ["bwrap", "--unshare-all", "--unshare-user", "--uid", str(UID), "--gid", str(UID)]
    args += ["--disable-userns"] if "--disable-userns" in bwrap_says("--help") else []
    args += ["--hostname", "box", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1"]
    args += ["--clearenv", *(_image_system(image) if image else _host_system())]
    args += ["--proc", "/proc", "--dev", "/dev", *_tmpfs("/tmp", spec.disk_mb if spec else 16)]
    seed = ""
    if spec:
        if image:
            seed = _prepare(image, spec)
            args += ["--ro-bind", str(image.root / spec.workdir.lstrip("/")), _SEED] if seed else []
        args += [*_tmpfs("/dev/shm", SHM_MB), *_tmpfs(spec.workdir, spec.disk_mb)]
        for folder in spec.mounts:
            args += _tmpfs(folder, spec.disk_mb)
        env = {"PATH": PATH, **(image.env if image else {}), **_IDENTITY, **spec.env}
        args += [] if image or not spec.network else _certificates()
    else:
        env = {"PATH": PATH, "LANG": _IDENTITY["LANG"], "PYTHONHASHSEED": "0"}
    for key, value in env.items():
        args += ["--setenv", key, value]
    return [*args, "--chdir", spec.workdir if spec else "/"], seed


def _host_system() -> list[str]:
    """The host's /usr, and the little of /etc that programs there need."""
    args = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):  # links into /usr, or folders on older systems
        path = Path("/", name)
        if path.is_symlink():
            args += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            args += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in map(Path, ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")):
        args += ["--ro-bind-try", str(path), str(path)]
    return args


def _image_system(image: Unpacked) -> list[str]:
    """Every top-level entry of the image, read-only. Links are made anew, never resolved on the host."""
    args = []
    for entry in sorted(image.root.iterdir()):
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            args += ["--symlink", str(entry.readlink()), f"/{entry.name}"]
        else:
            args += ["--ro-bind", str(entry), f"/{entry.name}"]
    return args


def _prepare(image: Unpacked, spec: SandboxSpec) -> str:
    """Have something to mount on in the image; returns where the box finds what the workspace starts as."""
    seed = ""
    for path in (spec.workdir, *spec.mounts):
        top, *_ = [*split(path), ""]
        if not top:
            raise ValueError(f"{path!r} cannot be writable as a whole: name a folder below it")
        if top in _OWN or not os.path.lexists(image.root / top):
            continue  # bubblewrap makes it
        size = mount_point(image.root, image.root.stat().st_ino, path)
        if path == spec.workdir and size:
            seed = _SEED
            if size > spec.disk_mb << 20:
                raise ValueError(
                    f"image {spec.image!r} has {size >> 20} MiB in {path}, disk_mb is {spec.disk_mb}"
                )
    return seed


def _certificates() -> list[str]:
    """Whom this machine trusts, for TLS."""
    names = ("/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust")
    return [word for name in names for word in ("--ro-bind-try", name, name)]


def files(fds: list[int]) -> list[str]:
    """Return the words that write `_FILES` into a box; the descriptors they are read from join `fds`."""
    args = []
    for path, text in _FILES.items():
        fd = os.memfd_create(path)
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        fds.append(fd)
        args += ["--file", str(fd), path]
    return args
