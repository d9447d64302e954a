"""Opens a box with bubblewrap: what it is told, how it is started, and the wait until the guest answers."""

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from plateau_bench.sandbox.backends.cgroup import Cgroup
from plateau_bench.sandbox.backends.owner import owner
from plateau_bench.sandbox.base import SandboxError, SandboxSpec, SandboxUnavailable
from plateau_bench.sandbox.host.channel import Channel, guest_command
from plateau_bench.sandbox.host.commands import SHM_MB
from plateau_bench.sandbox.images.unpacked import Unpacked, mount_point
from plateau_bench.sandbox.images.untar import split
from plateau_bench.sandbox.network.services import Ports, receive_listeners

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
OWNER = "PLATEAU_OWNER"
"""Whose box it is, in the environment of bwrap itself; nothing of it is seen inside."""
_host_ids = itertools.count(random.randrange(50_000))
"""The user outside: root's boxes get one of 50,000 otherwise unused ids each."""

# --die-with-parent follows the *thread* that started the box, so one thread that lives as long as the
# process starts them all.
_starter: Callable[[], ThreadPoolExecutor] = cache(lambda: ThreadPoolExecutor(1, "bubblewrap"))


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


def start(
    mode: str,
    config: dict[str, Any],
    args: list[str],
    group: Cgroup,
    after: ExitStack,
    python: str,
    ports: Ports | None = None,
) -> Channel:
    """Start a guest in a fresh box and wait until it answers. Raises SandboxError with what bwrap said.

    `after` is closed with the box. `python`: the interpreter in the box, if it is one of this machine's.
    """
    ours, theirs = socket.socketpair()
    info, tell = os.pipe2(os.O_CLOEXEC)
    log = os.memfd_create("stderr")
    after.callback(os.close, log)
    fds, words = [tell], list[str]()
    if ports:
        mode += "+ports"
        taken, given = socket.socketpair()
        after.callback(taken.close)
        fds.append(given.detach())
        words = [str(number) for number in (fds[-1], *ports.numbers)]
    own_files = files(fds) if python else []  # an image has its own
    args = [args[0], *own_files, *args[1:], "--info-fd", str(tell)]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--"]
    args += [*guest_command(mode, config.get("workdir", mode), python), *words]
    try:
        process = _spawn(args, theirs.fileno(), log, fds)
    except OSError as e:
        ours.close()
        os.close(info)
        after.close()
        raise SandboxError(f"bwrap does not start: {e}") from e
    finally:
        theirs.close()
        for fd in fds:
            os.close(fd)

    def destroy() -> None:  # the guest ends by itself with the channel; this makes sure and collects it
        process.kill()
        process.wait()
        after.close()

    channel = Channel(ours, destroy, lambda: _last_line(log))
    _limit(group, info, channel)
    try:
        channel.greet(mode, config, python)
    except SandboxError as e:
        raise _clearer(e) from e
    if ports:
        try:
            channel.also_close(receive_listeners(taken, ports).close)
        except SandboxError:
            channel.close()
            raise
    return channel


def _spawn(args: Sequence[str], link: int, log: int, fds: Sequence[int]) -> subprocess.Popen:
    """Start bwrap with `link` as its standard input and output. Raises OSError."""
    before, as_user = _host_user()

    def spawn() -> subprocess.Popen:
        return subprocess.Popen(
            [*before, *args],
            stdin=link,
            stdout=link,
            stderr=log,
            pass_fds=fds,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), OWNER: json.dumps(owner())},
            **as_user,
        )

    return _starter().submit(spawn).result()


def _limit(group: Cgroup, info: int, channel: Channel) -> None:
    """Put the guest, which bwrap names at the descriptor `info`, into its group. Raises SandboxError."""
    try:
        guest = _guest_pid(info)  # also without a group: bwrap dies of a pipe that nobody reads
        if guest:  # alone in the box still, for it waits for its own text
            with suppress(ProcessLookupError):  # it ended already; why, is said with the greeting
                group.enter(guest)
    except OSError as e:
        channel.close()
        raise SandboxError(f"the box cannot be limited: {e}") from e
    finally:
        os.close(info)


def _host_user() -> tuple[list[str], dict[str, Any]]:
    """How root starts a box as a user that nobody else is: words before its command, or options of Popen.

    Python forks to start something as another user, at a price that grows with what the harness holds: 40 ms
    for each GB. setpriv is started without a fork.
    """
    if os.geteuid() != 0:
        return [], {}
    uid = 200_000 + next(_host_ids) % 50_000
    if shutil.which("setpriv"):
        return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"], {}
    return [], {"user": uid, "group": uid, "extra_groups": []}


def _guest_pid(info: int) -> int:
    """The guest's number on this side, from what bwrap writes; 0 if it ended before."""
    text = b""
    while b"}" not in text and (part := os.read(info, 4096)):
        text += part
    with suppress(ValueError, KeyError):
        return int(json.loads(text)["child-pid"])
    return 0


def _clearer(error: SandboxError) -> SandboxError:
    """What bwrap says, in words to act on."""
    if "execvp python3" in str(error):
        return SandboxUnavailable(
            "the image has no python3, which the guest in a box runs on; add it, or use the docker backend"
        )
    if "Can't find source path" in str(error):
        return SandboxUnavailable(f"{error}; set PLATEAU_CACHE to a folder that every user may enter")
    return error


def _last_line(log: int) -> str:
    with suppress(OSError):
        lines = os.pread(log, 4000, 0).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""
