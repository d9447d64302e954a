"""Boxes made by a Docker engine, through its API only: nothing is mounted, so `DOCKER_HOST` may be remote.

Protects: network none, unprivileged user, every capability dropped, no-new-privileges, the engine's default
seccomp profile and a further deny-list, memory, cpu and pids limits, read-only root, tmpfs of limited size.
The guest talks over the attached stream; when the stream closes it ends, and the engine removes the box.

A program box's guest is root inside with SETUID, SETGID and KILL only; every program gets a user of its own.

Does not protect: the kernel is shared. An image other than the project's own keeps its writable layer, so
`disk_mb` bounds only /tmp there; it must contain `python3`; its working folder is given to the user that
commands run as. `network=True` is the engine's bridge, without an allow-list.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from sandbox.base import BASE_IMAGE, ProgramBox, Sandbox, SandboxError, SandboxSpec, SandboxUnavailable
from sandbox.box import GuestSandbox
from sandbox.channel import Channel, guest_command
from sandbox.image import ensure_base_image
from sandbox.programs import LIMITS, MEMORY_MB, PIDS, GuestProgramBox

LABEL = "plateau.owner"
"""Set on every box: JSON of `owner()`, so that `clean` can tell whose box it is."""
START = "start a Docker engine: sudo systemctl start docker"
_UID = 1000
_PROGRAM_UIDS = (100_000, 160_000)
_ENV = {"HOME": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}


class DockerBackend:
    """Implements `sandbox.base.Backend`. Raises SandboxUnavailable when no engine answers."""

    name = "docker"

    def __init__(self, *, workers: int | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
            raise SandboxUnavailable(f"no Docker engine at {host}; {START}")
        try:
            self._api = docker.from_env(timeout=2).api
            self._api.ping()
        except (DockerException, OSError) as e:
            raise SandboxUnavailable(f"no Docker engine answers ({e}); {START}") from e
        self._api.timeout = 120
        self._workers = workers or os.cpu_count() or 1
        self._say = say

    def probe(self) -> None:
        """Have the base image, building it the first time. Raises SandboxError."""
        ensure_base_image(self._api, self._say)

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        spec = spec or SandboxSpec()
        own = spec.image == BASE_IMAGE
        # A foreign image's working folder has content of root's; the guest hands it over, then drops.
        uid, caps = (_UID, []) if own else (0, ["CHOWN", "SETUID", "SETGID"])
        home = f"mode=0755,uid={_UID},gid={_UID}"  # the mode alone gets lost on a working_dir
        tmpfs = {"/tmp": _tmpfs(spec.disk_mb, "mode=1777")}
        tmpfs |= {spec.workdir: _tmpfs(spec.disk_mb, home)} if own else {}
        tmpfs |= {path: _tmpfs(spec.disk_mb, home) for path in spec.mounts}
        host = self._api.create_host_config(
            **self._hardening(spec.memory_mb, spec.pids, own),
            cap_add=caps,
            network_mode="bridge" if spec.network else "none",
            nano_cpus=int(spec.cpus * 1e9),
            shm_size=f"{min(64, spec.memory_mb)}m",
            tmpfs=tmpfs,
        )
        limits = {"RLIMIT_NOFILE": 4096, "RLIMIT_CORE": 0}
        config = {"workdir": spec.workdir, "limits": limits, "output": spec.output_kb << 10, "uid": _UID}
        config |= {"memory": 0}  # the cgroup sees to it
        channel = self._start("commands", config, spec.image, host, uid, {**_ENV, **spec.env}, spec.workdir)
        return GuestSandbox(spec, channel)

    def open_program_box(self) -> ProgramBox:
        return GuestProgramBox(self._open_lane, self._workers)

    def clean(self) -> int:
        removed = 0
        for box in self._api.containers(all=True, filters={"label": LABEL}):
            if not alive(box["Labels"].get(LABEL, "")):
                with suppress(DockerException):
                    self._api.remove_container(box["Id"], v=True, force=True)
                    removed += 1
        return removed

    def _open_lane(self) -> Channel:
        host = self._api.create_host_config(
            **self._hardening(2 * MEMORY_MB, PIDS + 16, True),
            cap_add=["SETUID", "SETGID", "KILL"],
            network_mode="none",
            ipc_mode="none",  # no /dev/shm that could hand something on, and no /dev/mqueue, as follows
            tmpfs={"/tmp": _tmpfs(16, "mode=1777"), "/dev/mqueue": "ro,size=4k,mode=0555"},
        )
        env = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        return self._start(
            "programs", {"limits": LIMITS, "uids": _PROGRAM_UIDS}, BASE_IMAGE, host, 0, env, "/"
        )

    def _hardening(self, memory_mb: int, pids: int, read_only: bool) -> dict[str, Any]:
        return {
            "auto_remove": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "mem_limit": f"{memory_mb}m",
            "memswap_limit": f"{memory_mb}m",
            "pids_limit": pids,
            "read_only": read_only,
            "log_config": {"Type": "none", "Config": {}},  # a flooding guest must not fill the engine's disk
        }

    def _start(
        self, mode: str, config: dict, image: str, host: dict, uid: int, env: dict[str, str], workdir: str
    ) -> Channel:
        """Create, attach, start, greet. Raises SandboxError; nothing is left behind on failure."""
        self._have(image)
        box = ""
        try:
            box = self._api.create_container(
                image,
                guest_command(mode, config),
                entrypoint=[],
                hostname="box",
                user=f"{uid}:{uid}",
                environment=env,
                working_dir=workdir,
                stdin_open=True,
                detach=False,  # with stdin_open: stdin closes when the harness goes away, whatever the reason
                labels={LABEL: json.dumps(owner())},
                host_config=host,
            )["Id"]
            stream = Attached(
                self._api.attach_socket(box, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            )
            channel = Channel(stream, lambda: self._remove(box), lambda: stream.stderr)
            self._api.start(box)
        except (DockerException, OSError) as e:
            self._remove(box)
            raise SandboxError(f"the engine could not start a box: {e}") from e
        hello = channel.greet(mode)
        if not hello.get("ready"):
            channel.close()
            raise SandboxError(f"the guest did not start: {hello}")
        return channel

    def _have(self, image: str) -> None:
        """Make sure the image is there: build the project's own, pull any other."""
        if image == BASE_IMAGE:
            ensure_base_image(self._api, self._say)
            return
        try:
            self._api.inspect_image(image)
        except ImageNotFound:
            self._say(f"pulling {image}")
            try:
                self._api.pull(image)
            except DockerException as e:
                raise SandboxError(f"image {image!r} is not here and cannot be pulled: {e}") from e
        except DockerException as e:
            raise SandboxError(f"image {image!r}: {e}") from e

    def _remove(self, box: str) -> None:
        with suppress(NotFound, APIError, OSError):  # gone, or on its way out: auto_remove was faster
            if box:
                self._api.remove_container(box, v=True, force=True)


def _tmpfs(size_mb: int, more: str) -> str:
    return f"rw,exec,nosuid,nodev,size={size_mb}m,{more}"


class Attached:
    """A container's attached stream as a plain byte stream: undoes the engine's framing of stdout and stderr.

    frame:  one byte 1 (stdout) or 2 (stderr), three zero bytes, >I length, payload
    """

    def __init__(self, attached: Any) -> None:
        self._attached = attached  # closing or losing this object closes the connection
        self._socket = getattr(attached, "_sock", attached)
        self._raw, self._data = bytearray(), bytearray()
        self.stderr = ""

    def recv(self, size: int) -> bytes:
        while not self._data:
            part = self._socket.recv(max(size, 65536))
            if not part:
                return b""
            self._raw += part
            while len(self._raw) >= 8 and len(self._raw) >= 8 + (length := int.from_bytes(self._raw[4:8])):
                payload = self._raw[8 : 8 + length]
                if self._raw[0] == 1:
                    self._data += payload
                else:
                    self.stderr = (self.stderr + payload.decode(errors="replace"))[-2000:]
                del self._raw[: 8 + length]
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(data)

    def settimeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for part in (getattr(self._attached, "_response", None), self._attached, self._socket):
            with suppress(OSError, AttributeError):
                part.close()  # type: ignore[union-attr]


def owner() -> dict[str, str]:
    """This process, named so that no other process, restart or machine can be mistaken for it."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "pids": _link("/proc/self/ns/pid"),
        "pid": str(os.getpid()),
        "start": _start_time(os.getpid()),
    }


def alive(label: str) -> bool:
    """False only if the harness process that made the box certainly is gone."""
    try:
        its = json.loads(label)
        pid, start, boot, pids = int(its["pid"]), its["start"], its["boot"], its["pids"]
    except (ValueError, KeyError, TypeError):
        return False
    mine = owner()
    if its.get("host") != mine["host"] or (boot == mine["boot"] and pids != mine["pids"]):
        return True  # another machine's or another container's harness: not ours to judge
    return bool(boot == mine["boot"] and _start_time(pid) == start)


def _start_time(pid: int) -> str:
    """Clock ticks after boot at which a process started; "" if there is no such process."""
    return (_text(f"/proc/{pid}/stat").rpartition(")")[2].split() + [""] * 20)[19]


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
