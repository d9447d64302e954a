"""Boxes made by a Docker engine, through its API only: nothing is mounted, so `DOCKER_HOST` may be remote.

Protects: network none, unprivileged user, every capability dropped, no-new-privileges, the engine's default
seccomp profile and a further deny-list, memory, cpu and pids limits, read-only root, tmpfs of limited size.
The guest talks over the attached stream; when the stream closes it ends, and the engine removes the box.

A program box's guest is root inside with SETUID, SETGID and KILL only; every program gets a user of its own.

Does not protect: the kernel is shared. An image other than the project's own keeps its writable layer, so
`disk_mb` bounds only /tmp there; it must contain `python3`; its working folder is given to the user that
commands run as. An image without a usable `python3` gets a slower box with weaker walls and no network: see
`docker_plain`.

The engine never gives a box a network. What a spec asks for comes through `network.services`: a second
guest, started with `exec` before the first command, as a user whom no command can touch.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from plateau_bench.sandbox.backends.docker_plain import HOLD, PlainSandbox
from plateau_bench.sandbox.backends.owner import alive, owner
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
from plateau_bench.sandbox.engine import Attached, build_image, connect, find_image, usual_host
from plateau_bench.sandbox.host.channel import Channel, guest_command
from plateau_bench.sandbox.host.commands import INODES_PER_MB, SHM_MB, GuestSandbox, room_mb
from plateau_bench.sandbox.host.programs import LIMITS, MEMORY_MB, PIDS, GuestProgramBox
from plateau_bench.sandbox.images.engine_cache import Images
from plateau_bench.sandbox.network.proxy import with_proxy
from plateau_bench.sandbox.network.services import Ports, Tunnel

LABEL = "plateau.owner"
"""Set on every box: JSON of `owner()`, so that `clean` can tell whose box it is."""
_UID = 1000
_TUNNEL_UID = 1001
_PROGRAM_UIDS = (100_000, 160_000)
_ENV = {"HOME": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}


class NoGuest(SandboxError):
    """The image has no Python that the guest could run on."""


class DockerBackend(Backend):
    """Makes boxes with a Docker engine. Raises SandboxUnavailable when no engine answers.

    `base_url`: an engine other than `DOCKER_HOST`'s. `min_free_gb`: what must be free on the engine's disk.
    `patience_s`: how long opening a box waits for an engine that went away, a restart for instance.
    """

    name = "docker"

    def __init__(
        self,
        *,
        workers: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        base_url: str | None = None,
        min_free_gb: float = 2.0,
        patience_s: float = 30.0,
    ) -> None:
        self._url = base_url or usual_host()
        self.api = connect(self._url)
        self._workers = workers or os.cpu_count() or 1
        self._patience_s = patience_s
        self._plain = set[str]()
        """Images whose python3 the guest cannot use."""
        self.images = Images(self.api, say, min_free_gb=min_free_gb)

    def probe(self) -> None:
        """Make sure that the engine has the base image, building it the first time. Raises SandboxError."""
        self.images.resolve(BASE_IMAGE)

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        asked = spec or SandboxSpec()
        spec, visits = with_proxy(asked)
        ports = Ports(spec.services)
        own = spec.image == BASE_IMAGE
        if spec.image in self._plain:
            return self._open_plain(spec)
        # A foreign image's working folder has content of root's; the guest hands it over, then drops.
        uid, caps = (_UID, []) if own else (0, ["CHOWN", "SETUID", "SETGID"])
        home = f"mode=0755,uid={_UID},gid={_UID}"  # the mode alone gets lost on a working_dir
        tmpfs = {"/tmp": _tmpfs(spec.disk_mb, "mode=1777")}
        tmpfs |= {spec.workdir: _tmpfs(spec.disk_mb, home)} if own else {}
        tmpfs |= {path: _tmpfs(spec.disk_mb, home) for path in spec.mounts}
        memory_mb = spec.memory_mb + room_mb(spec, workspace=own)
        host = self._host(memory_mb, spec.pids, cpus=spec.cpus, read_only=own, cap_add=caps, tmpfs=tmpfs)
        limits = {"RLIMIT_NOFILE": 4096, "RLIMIT_CORE": 0}
        config = {"workdir": spec.workdir, "limits": limits, "output": spec.output_kb << 10, "uid": _UID}
        config |= {"memory": spec.memory_mb << 20}
        env = {**_ENV, **spec.env}
        try:
            channel, box = self._start("files+commands", config, spec.image, host, uid, env, spec.workdir)
            if spec.services:
                channel.also_close(self._tunnel(channel, box, ports).close)
            return GuestSandbox(asked, channel, visits, ports.services)
        except NoGuest:
            self.images.say(f"{spec.image} has no python3 that the guest can use, so its boxes are slower")
            plain = self._open_plain(spec)
            self._plain.add(spec.image)
            return plain

    def open_program_box(self) -> ProgramBox:
        return GuestProgramBox(self._open_lane, self._workers)

    def clean(self) -> int:
        removed = 0
        for box in self.api.containers(all=True, filters={"label": LABEL}):
            if not alive(box["Labels"].get(LABEL, "")):
                with suppress(DockerException):
                    self.api.remove_container(box["Id"], v=True, force=True)
                    removed += 1
        return removed

    def facts(self) -> Iterator[Fact]:
        try:
            info, version = self.api.info(), self.api.version()
        except Exception as e:  # the engine's own trouble, in whatever shape
            yield Fact(about="docker", text=f"the engine does not say what it is: {e}", good=False)
            return
        yield Fact(
            about="docker engine",
            text=f"{version.get('Version')} with {info.get('DefaultRuntime')}, "
            f"API {version.get('ApiVersion')}, storage {info.get('Driver')}, "
            f"control groups version {info.get('CgroupVersion')}, {self.api.base_url}",
        )
        options = [option.split(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or []]
        good = "seccomp" in options
        text = "the engine's allow-list, and the guest's deny-list" if good else "only the guest's deny-list"
        yield Fact(about="docker seccomp", text=text, good=good)
        for option, text in (
            ("rootless", "the engine is not root"),
            ("userns", "root in a box is nobody outside"),
        ):
            yield Fact(about=f"docker {option}", text=text if option in options else "off")
        for limit, name in (("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "cpu")):
            if not info.get(limit):
                yield Fact(about=f"docker {name} limit", text="this engine cannot set it", good=False)
        free, least = self.images.free_gb(), self.images.min_free_gb
        yield Fact(
            about="docker disk",
            text="on another machine" if free is None else f"{free:.0f} GB free, {least:g} needed",
            good=None if free is None else free >= least,
        )
        with suppress(SandboxError):
            if base := find_image(self.api, BASE_IMAGE):
                yield Fact(about="docker base image", text=f"{BASE_IMAGE} = {base['Id']}")

    def with_program(self, image: str, script: str, *, what: str) -> str:
        return self.images.with_program(image, script, what)

    def missing(self, images: Iterable[str]) -> list[str]:
        return self.images.missing(images)

    def build(self, image: str, folder: str) -> None:
        if problem := build_image(self.api, image, path=folder):
            raise SandboxError(problem)

    def _open_lane(self) -> Channel:
        host = self._host(
            2 * MEMORY_MB,
            PIDS + 16,
            read_only=True,
            cap_add=["SETUID", "SETGID", "KILL"],
            ipc_mode="none",  # no /dev/shm that could hand something on, and no /dev/mqueue, as follows
            tmpfs={"/tmp": _tmpfs(16, "mode=1777"), "/dev/mqueue": "ro,size=4k,mode=0555"},
        )
        env = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        return self._start(
            "programs", {"limits": LIMITS, "uids": _PROGRAM_UIDS}, BASE_IMAGE, host, 0, env, "/"
        )[0]

    def _tunnel(self, channel: Channel, box: str, ports: Ports) -> Tunnel:
        """Start the guest that carries connections out. Raises SandboxError; then the box is gone, too."""
        mode, user = "ports+tunnel", f"{_TUNNEL_UID}:{_TUNNEL_UID}"
        try:
            command = guest_command(mode, "network")
            job = self.api.exec_create(box, command, stdin=True, user=user, workdir="/")["Id"]
            stream = Attached(self.api.exec_start(job, socket=True))
            Channel(stream, channel.close, lambda: stream.stderr).greet(mode, {"ports": ports.numbers})
            return Tunnel(ports, stream)
        except (DockerException, OSError) as e:
            channel.close()
            raise SandboxError(f"the engine could not start the box's network: {e}") from e

    def _open_plain(self, spec: SandboxSpec) -> Sandbox:
        if spec.services:
            raise SandboxUnavailable(
                f"{spec.image} has no python3, which a network needs; add it to the image"
            )
        host = self._host(spec.memory_mb, spec.pids, cpus=spec.cpus, read_only=False, cap_add=["CHOWN"])
        env = {**_ENV, **spec.env}
        box, stream = self._launch(HOLD, spec.image, host, 0, env, spec.workdir)
        sandbox = PlainSandbox(self.api, spec, box, env, stream.close, lambda: self._remove(box))
        sandbox.hand_over()
        return sandbox

    def _host(self, memory_mb: int, pids: int, *, cpus: float | None = None, **more: Any) -> dict[str, Any]:
        """The walls of every box; `more` as docker-py's `create_host_config` takes it."""
        return self.api.create_host_config(
            auto_remove=True,
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=f"{memory_mb}m",
            memswap_limit=f"{memory_mb}m",
            pids_limit=pids,
            nano_cpus=int(cpus * 1e9) if cpus else None,
            shm_size=f"{SHM_MB}m",
            log_config={"Type": "none", "Config": {}},  # a flooding guest must not fill the engine's disk
            **more,
        )

    def _start(
        self, mode: str, config: dict, image: str, host: dict, uid: int, env: dict[str, str], workdir: str
    ) -> tuple[Channel, str]:
        """Create, attach, start, greet. Raises SandboxError; nothing is left behind on failure."""
        box, stream = self._launch(
            guest_command(mode, config.get("workdir", mode)), image, host, uid, env, workdir
        )
        channel = Channel(stream, lambda: self._see_off(box), lambda: stream.stderr)
        try:
            channel.greet(mode, config)
        except SandboxError as e:
            if stream.stderr and image != BASE_IMAGE:  # Python's own complaint
                raise NoGuest(str(e)) from e
            raise
        return channel, box

    def _launch(
        self, command: list[str], image: str, host: dict, uid: int, env: dict[str, str], workdir: str
    ) -> tuple[str, "Attached"]:
        """A started container and the stream attached to its process 1."""
        options: dict[str, Any] = {
            "entrypoint": [],
            "hostname": "box",
            "user": f"{uid}:{uid}",
            "environment": env,
            "working_dir": workdir,
            "stdin_open": True,
            "detach": False,  # with stdin_open: stdin closes when the harness goes away, whatever the reason
            "stop_signal": "SIGKILL",  # an engine that shuts down need not wait for process 1 to listen
            "labels": {LABEL: json.dumps(owner())},
            "host_config": host,
            # The same empty namespace with loopback, without the engine's hook for it, which is a third of a
            # start. The engine then writes no /etc/hosts either, but our image knows localhost.
            "network_disabled": image == BASE_IMAGE and host["NetworkMode"] == "none",
        }
        box, stream = "", None
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                if not self._listens():
                    raise OSError("nobody is at its socket")
                try:
                    box = self.api.create_container(self.images.resolve(image), command, **options)["Id"]
                except ImageNotFound:
                    again = self.images.resolve(image, gone=True)
                    box = self.api.create_container(again, command, **options)["Id"]
                ends = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                stream = Attached(self.api.attach_socket(box, ends))
                self.api.start(box)
                return box, stream
            except (DockerException, OSError, SandboxError) as e:
                if stream:
                    stream.close()
                self._remove(box)
                box, stream = "", None
                if not self._answers():  # away, perhaps restarting: wait, but never for long
                    if time.monotonic() < deadline:
                        time.sleep(0.5)
                        continue
                    raise SandboxError(f"the engine went away: {e}") from e
                if isinstance(e, SandboxError):
                    raise
                kind = NoGuest if "python3" in str(e) and command[0] == "python3" else SandboxError
                raise kind(f"the engine could not start a box: {e}") from e

    def _answers(self) -> bool:
        with suppress(DockerException, OSError):
            return self._listens() and bool(self.api.ping())
        return False

    def _listens(self) -> bool:
        """False if nobody is at the engine's socket; asked first, for the client leaks failed connections."""
        if not self._url.startswith("unix://"):
            return True
        with closing(socket.socket(socket.AF_UNIX)) as probe, suppress(OSError):
            probe.connect(self._url.removeprefix("unix://"))
            return True
        return False

    def _see_off(self, box: str) -> None:
        """Wait until the engine has removed a box whose stream is closed; cheaper than to order it."""
        if not self._listens():
            return
        try:
            self.api.wait(box, timeout=5, condition="removed")
        except NotFound:
            pass
        except (DockerException, OSError):
            self._remove(box)

    def _remove(self, box: str) -> None:
        with suppress(NotFound, APIError, OSError):  # gone, or on its way out: auto_remove was faster
            if box and self._listens():
                self.api.remove_container(box, v=True, force=True)


def _tmpfs(size_mb: int, more: str) -> str:
    inodes = size_mb * INODES_PER_MB  # a file without content takes memory, too
    return f"rw,exec,nosuid,nodev,size={size_mb}m,nr_inodes={inodes},{more}"
