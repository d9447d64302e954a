"""Boxes made of kernel namespaces with bubblewrap: no daemon, no image, as root or as an ordinary user.

The system in a box is the host's `/usr`, or an image that `unpacked` has put on disk. Option `unpack_base`:
the base image, too, is an unpacked one, as in docker.

Protects: other processes, files, network, environment, terminal, Docker socket and user namespaces are out
of reach; the box sees its system read-only, its own /proc and /dev, and tmpfs of limited size; no capability,
a seccomp deny-list, one Linux user of its own per box when the harness is root. Where control groups may be
made (see `cgroup`), memory, processes and CPU are limited for the box as a whole. A box never has a network:
for what a spec asks for, the harness accepts at sockets that listen on the box's loopback (see `ports`).

Does not protect, compared with `docker`:
* the kernel is shared and the seccomp filter is a deny-list, not Docker's allow-list;
* without control groups memory is limited per process (RLIMIT_AS) and per box by the guest, which looks ten
  times a second; tmpfs count on top of it; processes are limited by RLIMIT_NPROC; `cpus` is not enforced;
* the number of files on a tmpfs is limited by the guest, which looks ten times a second;
* before Linux 5.14 an ordinary user's RLIMIT_NPROC counts that user's processes outside, too;
* without an image all below the host's `/usr` can be read, and Python is the host's `/usr/bin/python3`;
* boxes of one system see the same files, so two that conspire can signal by file locks;
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
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from plateau_bench.sandbox.backends import cgroup
from plateau_bench.sandbox.backends.cgroup import Cgroup
from plateau_bench.sandbox.backends.owner import alive, owner
from plateau_bench.sandbox.base import (
    BASE_IMAGE,
    ProgramBox,
    Sandbox,
    SandboxError,
    SandboxSpec,
    SandboxUnavailable,
)
from plateau_bench.sandbox.host.channel import Channel, guest_command
from plateau_bench.sandbox.host.commands import INODES_PER_MB, SHM_MB, GuestSandbox, room_mb
from plateau_bench.sandbox.host.programs import LIMITS, MEMORY_MB, PIDS, GuestProgramBox
from plateau_bench.sandbox.images.unpacked import Store, Unpacked, mount_point
from plateau_bench.sandbox.images.untar import split
from plateau_bench.sandbox.network.proxy import with_proxy
from plateau_bench.sandbox.network.services import Ports, receive_listeners

INSTALL = "install bubblewrap: sudo apt-get install -y bubblewrap python3 (or dnf, pacman, apk)"
NAMESPACES = (
    "allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1 "
    "kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000"
)
_IDENTITY = {"HOME": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", **_IDENTITY}
_OWN = {"proc", "sys", "dev", "tmp"}
"""Top-level folders that are never an image's own."""
_SEED = "/.workdir"
"""Where a box finds what its image has in the workspace's place."""
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

    def __init__(
        self,
        *,
        workers: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        unpack_base: bool = False,
    ) -> None:
        if not shutil.which("bwrap") or not Path("/usr/bin/python3").exists():
            raise SandboxUnavailable(INSTALL)
        self._workers = workers or os.cpu_count() or 1
        self._unpack_base = unpack_base
        self.images = Store(say=say)

    def probe(self) -> None:
        """Start a box, for the kernel may refuse namespaces. Raises SandboxUnavailable with what it said."""
        try:
            self.open().close()
        except SandboxError as e:
            raise SandboxUnavailable(f"bubblewrap cannot make a box here ({e}); {NAMESPACES}") from e

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        asked = spec or SandboxSpec()
        spec, visits = with_proxy(asked)
        ports = Ports(spec.services) if spec.services else None
        with ExitStack() as undo:
            image = self._image(spec)
            if image:
                undo.callback(image.release)
            group = cgroup.create(memory_mb=spec.memory_mb + room_mb(spec), pids=spec.pids, cpus=spec.cpus)
            undo.callback(group.close)
            limits = {
                "RLIMIT_NPROC": spec.pids,
                "RLIMIT_FSIZE": spec.disk_mb << 20,
                "RLIMIT_NOFILE": 1024,
                "RLIMIT_CORE": 0,
            }
            if (
                not group.folders
            ):  # address space is a poor measure: some runtimes reserve far more than they use
                limits["RLIMIT_AS"] = spec.memory_mb << 20
            args, seed = _arguments(spec, image)
            config = {
                "workdir": spec.workdir,
                "seed": seed,
                "limits": limits,
                "output": spec.output_kb << 10,
                "memory": spec.memory_mb << 20,
                "inodes": dict.fromkeys(("/tmp", spec.workdir, *spec.mounts), spec.disk_mb * INODES_PER_MB)
                | {"/dev/shm": SHM_MB * INODES_PER_MB},
            }
            python = "" if image else _python()
            channel = _start("files+commands", config, args, group, undo.pop_all(), python, ports)
            return GuestSandbox(asked, channel, visits)

    def _image(self, spec: SandboxSpec) -> Unpacked | None:
        if spec.image != BASE_IMAGE:
            return self.images.open(spec.image)
        return self.images.base() if self._unpack_base else None

    def open_program_box(self) -> ProgramBox:
        return GuestProgramBox(self._open_lane, self._workers)

    def _open_lane(self) -> Channel:
        config = {"limits": LIMITS, "uids": None}
        with ExitStack() as undo:
            group = cgroup.create(memory_mb=2 * MEMORY_MB, pids=PIDS + 16, cpus=None)
            undo.callback(group.close)
            return _start("programs", config, _arguments(None, None)[0], group, undo.pop_all(), _python())

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
        self.images.clean()
        return removed + cgroup.clean()


@cache
def _python() -> str:
    """The interpreter that `python3` is in a box."""
    return shutil.which("python3", path=_ENV["PATH"]) or ""


@cache
def told(option: str) -> str:
    """What bwrap says of itself: its `--version`, or in `--help` what this version can do."""
    return subprocess.run(["bwrap", option], capture_output=True, text=True, check=False).stdout


def _tmpfs(path: str, size_mb: int) -> list[str]:
    return [*(["--size", str(size_mb << 20)] if "--size" in told("--help") else []), "--tmpfs", path]


def _arguments(spec: SandboxSpec | None, image: Unpacked | None) -> tuple[list[str], str]:
    """Everything bwrap is told, up to the command, and the folder that the workspace starts as a copy of.

    No spec means a program box. Raises ValueError when the image's content does not fit the workspace.
    """
    args = ["bwrap", "--unshare-all", "--unshare-user", "--uid", str(_UID), "--gid", str(_UID)]
    args += ["--disable-userns"] if "--disable-userns" in told("--help") else []
    args += ["--hostname", "box", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1"]
    args += ["--clearenv", *(_image_system(image) if image else _host_system())]
    args += ["--proc", "/proc", "--dev", "/dev", *_tmpfs("/tmp", spec.disk_mb if spec else 16)]
    env, seed = dict(_ENV), ""
    if spec:
        if image:
            seed = _prepare(image, spec)
            args += ["--ro-bind", str(image.root / spec.workdir.lstrip("/")), _SEED] if seed else []
        args += [*_tmpfs("/dev/shm", SHM_MB), *_tmpfs(spec.workdir, spec.disk_mb)]
        for folder in spec.mounts:
            args += _tmpfs(folder, spec.disk_mb)
        env = {"PATH": _ENV["PATH"], **(image.env if image else {}), **_IDENTITY, **spec.env}
        args += [] if image or not spec.network else _certificates()
    else:
        env = {"PATH": _ENV["PATH"], "LANG": _ENV["LANG"], "PYTHONHASHSEED": "0"}
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


_FILES = {
    "/etc/passwd": f"root:x:0:0::/:/bin/sh\nagent:x:{_UID}:{_UID}::/tmp:/bin/sh\n",
    "/etc/group": f"root:x:0:\nagent:x:{_UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost box\n::1 localhost box\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def _start(
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
    told, tell = os.pipe2(os.O_CLOEXEC)
    log = os.memfd_create("stderr")
    after.callback(os.close, log)
    fds, words = [tell], list[str]()
    if ports:
        mode += "+ports"
        taken, given = socket.socketpair()
        after.callback(taken.close)
        fds.append(given.detach())
        words = [str(number) for number in (fds[-1], *ports.numbers)]
    files = _files(fds) if python else []  # an image has its own
    args = [args[0], *files, *args[1:], "--info-fd", str(tell)]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--"]
    before, as_user = _host_user()

    def spawn() -> subprocess.Popen:
        command = [*before, *args, *guest_command(mode, config.get("workdir", mode), python), *words]
        return subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=log,
            pass_fds=fds,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), _OWNER: json.dumps(owner())},
            **as_user,
        )

    try:
        process = _starter().submit(spawn).result()
    except OSError as e:
        ours.close()
        os.close(told)
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
    try:
        guest = _guest_pid(told)  # also without a group: bwrap dies of a pipe that nobody reads
        if guest:  # alone in the box still, for it waits for its own text
            with suppress(ProcessLookupError):  # it ended already; why, is said below
                group.enter(guest)
    except OSError as e:
        channel.close()
        raise SandboxError(f"the box cannot be limited: {e}") from e
    finally:
        os.close(told)
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


def _files(fds: list[int]) -> list[str]:
    """Arguments that write `_FILES` into a box; the descriptors they are read from are added to `fds`."""
    args = []
    for path, text in _FILES.items():
        fd = os.memfd_create(path)
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        fds.append(fd)
        args += ["--file", str(fd), path]
    return args


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


def _guest_pid(told: int) -> int:
    """The guest's number on this side, from what bwrap writes; 0 if it ended before."""
    text = b""
    while b"}" not in text and (part := os.read(told, 4096)):
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
