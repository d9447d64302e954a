"""Boxes made of kernel namespaces with bubblewrap: no daemon, no image, as root or as an ordinary user.

The system in a box is the host's `/usr`, or an image that `unpacked` has put on disk. Option `unpack_base`:
the base image, too, is an unpacked one, as in docker.

Protects: other processes, files, network, environment, terminal, Docker socket and user namespaces are out
of reach; the box sees its system read-only, its own /proc and /dev, and tmpfs of limited size; no capability,
a seccomp deny-list, one Linux user of its own per box when the harness is root. Where control groups may be
made (see `cgroup`), memory, processes and CPU are limited for the box as a whole. A box never has a network:
for what a spec asks for, the harness accepts at sockets that listen on the box's loopback (see
`network.services`).

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

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from plateau_bench.sandbox.backends import cgroup
from plateau_bench.sandbox.backends.bwrap import OWNER, PATH, arguments, bwrap_says, start
from plateau_bench.sandbox.backends.owner import alive
from plateau_bench.sandbox.base import (
    BASE_IMAGE,
    Backend,
    Fact,
    ProgramBox,
    Sandbox,
    SandboxError,
    SandboxSpec,
    SandboxUnavailable,
)
from plateau_bench.sandbox.host.channel import Channel
from plateau_bench.sandbox.host.commands import INODES_PER_MB, SHM_MB, GuestSandbox, room_mb
from plateau_bench.sandbox.host.programs import LIMITS, MEMORY_MB, PIDS, GuestProgramBox
from plateau_bench.sandbox.images.unpacked import Store, Unpacked
from plateau_bench.sandbox.network.proxy import with_proxy
from plateau_bench.sandbox.network.services import Ports

INSTALL = "install bubblewrap: sudo apt-get install -y bubblewrap python3 (or dnf, pacman, apk)"
NAMESPACES = (
    "allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1 "
    "kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000"
)


class BubblewrapBackend(Backend):
    """Makes boxes with bubblewrap. Raises SandboxUnavailable at once when bubblewrap is missing."""

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
        ports = Ports(spec.services)
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
            if not group.folders:  # a poor measure: some runtimes reserve far more than they use
                limits["RLIMIT_AS"] = spec.memory_mb << 20
            args, seed = arguments(spec, image)
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
            given = ports if ports.numbers else None
            channel = start("files+commands", config, args, group, undo.pop_all(), python, given)
            return GuestSandbox(asked, channel, visits, ports.services)

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
            return start("programs", config, arguments(None, None)[0], group, undo.pop_all(), _python())

    def clean(self) -> int:
        """End what a dead run left. The kernel ends a box with its harness, so there hardly is anything."""
        removed = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "comm").read_text() == "bwrap\n":
                    _, mark, rest = (process / "environ").read_bytes().partition(OWNER.encode() + b"=")
                    if mark and not alive(rest.partition(b"\0")[0].decode()):
                        os.kill(int(process.name), signal.SIGKILL)
                        removed += 1
        self.images.clean()
        return removed + cgroup.clean()

    def facts(self) -> Iterator[Fact]:
        lacks = [
            text
            for flag, text in (
                ("--size", "the size of files is not limited"),
                ("--disable-userns", "nested user namespaces stop at the deny-list of system calls only"),
            )
            if flag not in bwrap_says("--help")
        ]
        text = f"{bwrap_says('--version').strip() or '?'} at {shutil.which('bwrap')}"
        yield Fact(about="bubblewrap", text=text + "".join(f"; {lack}" for lack in lacks), good=not lacks)
        yield Fact(about="bubblewrap seccomp", text="the guest's deny-list; no allow-list")
        groups = cgroup.note()
        watch = "; without a group memory is watched by the guest, ten times a second, and CPU is not limited"
        yield Fact(about="bubblewrap limits", text=groups + (watch if groups.startswith("none") else ""))
        yield Fact(about="bubblewrap files", text="boxes without an image can read what is below /usr")


@cache
def _python() -> str:
    """The interpreter that `python3` is in a box."""
    return shutil.which("python3", path=PATH) or ""
