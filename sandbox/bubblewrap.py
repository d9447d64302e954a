"""Boxes made of kernel namespaces with bubblewrap: no daemon, no image, as root or as an ordinary user.

Protects: other processes, files, network, environment, terminal, Docker socket and user namespaces are out of
reach; the box sees `/usr` read-only, its own /proc and /dev, and tmpfs of limited size; no capability, a
seccomp deny-list, one Linux user of its own per box when the harness is root.

Does not protect, compared with `docker`:
* the kernel is shared and the seccomp filter is a deny-list, not Docker's allow-list;
* there is no cgroup: memory is limited per process (RLIMIT_AS) and per box by the guest, which looks ten
  times a second; tmpfs count on top of it; processes are limited by RLIMIT_NPROC; `cpus` is not enforced;
* before Linux 5.14 an ordinary user's RLIMIT_NPROC counts that user's processes outside, too;
* everything below the host's `/usr` can be read, and the Python in the box is the host's `/usr/bin/python3`;
* `network=True` is the host's own network: its loopback services and abstract sockets are in reach;
* with bubblewrap older than 0.8 the tmpfs have no size limit and nested user namespaces stop at seccomp only.
"""

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from sandbox.base import BASE_IMAGE, ProgramBox, Sandbox, SandboxError, SandboxSpec, SandboxUnavailable
from sandbox.box import SHM_MB, GuestSandbox
from sandbox.channel import Channel, guest_command
from sandbox.owner import alive, owner
from sandbox.programs import LIMITS, GuestProgramBox

INSTALL = "install bubblewrap: sudo apt-get install -y bubblewrap python3 (or dnf, pacman, apk)"
NAMESPACES = (
    "allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1 "
    "kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000"
)
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}
_OWNER = "PLATEAU_OWNER"
"""Whose box it is, in the environment of bwrap itself; nothing of it is seen inside."""
_UID = 1000
"""The user as seen inside; outside, root's boxes get one of 50,000 otherwise unused ids each."""
_host_ids = itertools.count(random.randrange(50_000))

# --die-with-parent follows the *thread* that started the box, so one thread that lives as long as the
# process starts them all.
_starter: Callable[[], ThreadPoolExecutor] = cache(lambda: ThreadPoolExecutor(1, "bubblewrap"))


class BubblewrapBackend:
    """Implements `sandbox.base.Backend`. Raises SandboxUnavailable at once when bubblewrap is missing."""

    name = "bubblewrap"

    def __init__(self, *, workers: int | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        if not shutil.which("bwrap") or not Path("/usr/bin/python3").exists():
            raise SandboxUnavailable(INSTALL)
        self._workers = workers or os.cpu_count() or 1

    def probe(self) -> None:
        """Start a box, for the kernel may refuse namespaces. Raises SandboxUnavailable with what it said."""
        try:
            self.open().close()
        except SandboxError as e:
            raise SandboxUnavailable(f"bubblewrap cannot make a box here ({e}); {NAMESPACES}") from e

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        spec = spec or SandboxSpec()
        if spec.image != BASE_IMAGE:
            raise SandboxUnavailable(f"image {spec.image!r} needs a Docker engine; bubblewrap has no images")
        limits = {
            "RLIMIT_AS": spec.memory_mb << 20,
            "RLIMIT_NPROC": spec.pids,
            "RLIMIT_FSIZE": spec.disk_mb << 20,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_CORE": 0,
        }
        config = {
            "workdir": spec.workdir,
            "limits": limits,
            "output": spec.output_kb << 10,
            "memory": spec.memory_mb << 20,
        }
        return GuestSandbox(spec, _start("commands", config, spec))

    def open_program_box(self) -> ProgramBox:
        config = {"limits": LIMITS, "uids": None}
        return GuestProgramBox(lambda: _start("programs", config, None), self._workers)

    def clean(self) -> int:
        """End what a dead run left. The kernel ends a box with its harness, so there hardly is anything."""
        removed = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "comm").read_text() == "bwrap\n":
                    _, mark, rest = (process / "environ").read_bytes().partition(_OWNER.encode() + b"=")
                    if mark and not alive(rest.partition(b"\0")[0].decode()):
                        os.kill(int(process.name), signal.SIGKILL)
                        removed += 1
        return removed


@cache
def _features() -> str:
    return subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False).stdout


def _tmpfs(path: str, size_mb: int) -> list[str]:
    return [*(["--size", str(size_mb << 20)] if "--size" in _features() else []), "--tmpfs", path]


def _arguments(spec: SandboxSpec | None) -> list[str]:
    """Everything bwrap is told, up to the command; no spec means a program box."""
    args = ["bwrap", "--unshare-all", "--unshare-user", "--uid", str(_UID), "--gid", str(_UID)]
    args += ["--disable-userns"] if "--disable-userns" in _features() else []
    args += ["--hostname", "box", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1"]
    args += ["--clearenv", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):  # links into /usr, or folders on older systems
        path = Path("/", name)
        if path.is_symlink():
            args += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            args += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in map(Path, ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")):
        args += ["--ro-bind-try", str(path), str(path)]
    args += ["--proc", "/proc", "--dev", "/dev", *_tmpfs("/tmp", spec.disk_mb if spec else 16)]
    env = dict(_ENV)
    if spec:
        args += [*_tmpfs("/dev/shm", SHM_MB), *_tmpfs(spec.workdir, spec.disk_mb)]
        for folder in spec.mounts:
            args += _tmpfs(folder, spec.disk_mb)
        env |= spec.env
        if spec.network:
            args += ["--share-net"]
            for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/etc/ca-certificates"):
                args += ["--ro-bind-try", name, name]
    else:
        env = {"PATH": _ENV["PATH"], "LANG": _ENV["LANG"], "PYTHONHASHSEED": "0"}
    for key, value in env.items():
        args += ["--setenv", key, value]
    return args


_FILES = {
    "/etc/passwd": f"root:x:0:0::/:/bin/sh\nagent:x:{_UID}:{_UID}::/tmp:/bin/sh\n",
    "/etc/group": f"root:x:0:\nagent:x:{_UID}:\n",
}


def _start(mode: str, config: dict[str, Any], spec: SandboxSpec | None) -> Channel:
    """Start a guest in a fresh box and wait until it answers. Raises SandboxError with what bwrap said."""
    ours, theirs = socket.socketpair()
    args, fds = _arguments(spec), []
    for path, text in _FILES.items():
        fd = os.memfd_create(path)
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        fds.append(fd)
        args += ["--ro-bind-data", str(fd), path]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", spec.workdir if spec else "/", "--"]
    root = os.geteuid() == 0
    uid = 200_000 + next(_host_ids) % 50_000 if root else None
    log = os.memfd_create("stderr")

    def spawn() -> subprocess.Popen:
        command = [*args, *guest_command(mode, config)]
        return subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=log,
            pass_fds=fds,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), _OWNER: json.dumps(owner())},
            user=uid,
            group=uid,
            extra_groups=[] if root else None,
        )

    try:
        process = _starter().submit(spawn).result()
    except OSError as e:
        ours.close()
        os.close(log)
        raise SandboxError(f"bwrap does not start: {e}") from e
    finally:
        theirs.close()
        for fd in fds:
            os.close(fd)

    def destroy() -> None:  # the guest ends by itself with the channel; this makes sure and collects it
        process.kill()
        process.wait()
        os.close(log)

    channel = Channel(ours, destroy, lambda: _last_line(log))
    hello = channel.greet(mode)
    if not hello.get("ready"):
        channel.close()
        raise SandboxError(f"the guest did not start: {hello}")
    return channel


def _last_line(log: int) -> str:
    with suppress(OSError):
        lines = os.pread(log, 4000, 0).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""
