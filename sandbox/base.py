"""What a box is, whichever backend makes it.

Two kinds of box:

* a `Sandbox` is one workspace in which an agent's commands run;
* a `ProgramBox` grades many small programs, each in its own short-lived, unprivileged child.

The line between "the command failed" and "the box died" is never blurred: a command that fails, is
killed by its limits, or does not exist is an `Execution`; a box that died raises `SandboxError`.
A dead box is the harness's problem (retried, counted as INFRA), never the model's.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from socket import socket
from typing import Any, Protocol

BASE_IMAGE = "plateau-base"
"""The project's own image: Python and a shell, built by `plateau sandbox build`."""


class SandboxError(RuntimeError):
    """The box or its engine broke. Nothing can be concluded about what ran in it."""


class SandboxUnavailable(SandboxError):
    """No box of this kind can be made on this machine. The message says what to install, in one line."""


Service = Callable[[socket], None]
"""Something in the harness that a box may talk to: called in a thread of its own with each connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """What a box offers and where it stops. Raises ValueError for a `network` that is no tuple.

    >>> SandboxSpec(memory_mb=256).network
    ()
    """

    image: str = BASE_IMAGE
    """A name that an engine knows or can pull; bubblewrap also takes the path of a `docker save` tarball."""
    workdir: str = "/work"
    """The writable workspace; commands start here."""
    env: Mapping[str, str] = field(default_factory=dict)
    network: tuple[str, ...] = ()
    """Hosts that may be reached, by HTTP and HTTPS through a proxy in the harness: "example.org",
    "*.example.com", "10.0.0.7:8080"; "*" is every public host. See `sandbox.network.allow`."""
    services: Mapping[int, Service] = field(default_factory=dict)
    """Port on the box's 127.0.0.1 -> who answers there, until `Sandbox.serve` names somebody else."""
    cpus: float = 1.0
    memory_mb: int = 512
    pids: int = 128
    disk_mb: int = 256
    """Size of the workspace and of /tmp, MiB each."""
    output_kb: int = 256
    """stdout and stderr are each cut to their last `output_kb` KiB."""
    mounts: tuple[str, ...] = ()
    """More empty, writable folders outside the workspace (absolute paths), of `disk_mb` each."""

    def __post_init__(self) -> None:
        if not isinstance(self.network, tuple):
            raise ValueError(
                f"SandboxSpec.network is a tuple of hosts, such as ('example.org',), not {self.network!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One request of a box to its proxy: `Visit(host="a.org", port=443, allowed=True, sent=900, ...)`."""

    host: str
    port: int
    allowed: bool
    reason: str = ""
    """Why it was refused or failed."""
    sent: int = 0
    """Bytes from the box; still 0 while the connection lasts, as is `received`."""
    received: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One command that ran in a box: `Execution(exit_code=1, stdout="", stderr="no such file\\n", ...)`."""

    exit_code: int | None
    """None when the command was killed by its time limit."""
    stdout: str
    stderr: str
    duration_s: float
    timed_out: bool = False
    truncated: bool = False
    """True when the head of stdout or stderr was dropped (the tail is kept)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """What changed in the workspace since a snapshot, limited to regular files."""

    written: Mapping[str, bytes]
    """Path relative to the workspace -> new content."""
    deleted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """Paths left behind: symlinks, devices, sockets, files over the size limit."""


class Sandbox(Protocol):
    """One open box. Paths are absolute, or relative to `spec.workdir`."""

    spec: SandboxSpec

    def run(self, command: str | Sequence[str], *, timeout_s: float = 60.0, stdin: bytes = b"") -> Execution:
        """Run a command (a string goes through `sh -c`) and wait; at `timeout_s` all its descendants die.

        Raises SandboxError if the box is dead, never for anything the command did.
        """

    def read(self, path: str, *, max_bytes: int = 10_000_000) -> bytes:
        """Return the content of a regular file.

        Raises FileNotFoundError, IsADirectoryError, OSError (a link), ValueError (too large).
        """

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Create or replace a file and its parent directories, owned by the box's user."""

    def snapshot(self) -> Mapping[str, str]:
        """Return the sha256 of every regular file of the workspace, by its path relative to that."""

    def diff(self, since: Mapping[str, str]) -> Diff:
        """Return what changed since a snapshot. Symlinks and special files are listed, never followed."""

    def visits(self) -> Sequence[Visit]:
        """Return what the box asked of its network so far, allowed or not; nothing without `spec.network`."""

    def serve(self, port: int, service: Service) -> None:
        """Let `service` answer new connections to a port of `spec.services` from now on.

        Raises ValueError for any other port.
        """

    def close(self) -> None:
        """Destroy the box and everything running in it. Idempotent; never raises."""


class Status(StrEnum):
    """How one program ended. Only COMPLETED carries outputs for every call."""

    COMPLETED = "completed"
    LOAD_ERROR = "load_error"
    """The source did not compile, raised on import, or lacks the entry point."""
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    CRASHED = "crashed"
    """The child died before it had answered (signal, os._exit, output flood, malformed answer)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A function-level program and the calls to make; it never sees what the answers should be.

    >>> Program(source="def f(a):\\n    return sum(a)\\n", entry_point="f", calls=(([1, 2],),)).calls
    (([1, 2],),)
    """

    source: str
    entry_point: str
    calls: Sequence[Sequence[Any]]
    """Positional arguments per call, made of JSON values."""
    cpu_s: float = 0.25
    """CPU time of the whole program. CPU, not wall: a busy machine must not fail a correct program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramResult:
    """What a program answered. `outputs[i]` belongs to `calls[i]`; None unless status is COMPLETED."""

    status: Status
    outputs: tuple["Output", ...] | None = None
    detail: str = ""
    """For people: the exception or signal, at most 200 characters, never trusted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One call's answer: a value of exact JSON-like type, or the name of the exception it raised.

    `value` is rebuilt in the harness from plain data: None, bool, int, float, str, list, tuple or dict
    of these, each of exactly that type. Anything else (a subclass of int, say) arrives as an error.
    """

    value: Any = None
    error: str | None = None


class ProgramBox(Protocol):
    """A box that grades many programs. Programs cannot see, signal, slow or forge one another."""

    def run(self, programs: Sequence[Program]) -> list[ProgramResult]:
        """Run every program in a child of its own and return the results in the order of the programs.

        Thread-safe. Raises SandboxError if the box died; then nothing is known about any program.
        """

    def close(self) -> None:
        """Destroy the box. Idempotent; never raises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One line of `plateau sandbox doctor`: `Fact(about="docker disk", text="80 GB free", good=True)`."""

    about: str
    text: str
    good: bool | None = None
    """Whether that is as it should be; None if it is neither good nor bad."""


class Backend(Protocol):
    """A way to make boxes on this machine.

    A class that derives from this one has to write `probe`, `open` and `open_program_box`; what it inherits
    is right for a backend that leaves nothing behind and makes no images.
    """

    name: str

    @abstractmethod
    def probe(self) -> None:
        """Make sure that boxes can be opened here, preparing what that takes. Raises SandboxError."""

    @abstractmethod
    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        """Open a fresh box. Raises SandboxError."""

    @abstractmethod
    def open_program_box(self) -> ProgramBox:
        """Open a fresh grading box. Raises SandboxError."""

    def clean(self) -> int:
        """Remove what earlier, dead runs left behind; returns how many boxes were removed."""
        return 0

    def facts(self) -> Iterable[Fact]:
        """Return what the doctor should say of this backend beyond what it sees in a box. Never raises."""
        return ()

    def with_program(self, image: str, script: str, *, what: str) -> str:
        """Return the name of an image that is `image` after `script` ran in it (sh, as root, with a network).

        It is made once for each pair of both. `what` names the program in messages. Raises SandboxUnavailable
        if the script fails or this backend makes no images.
        """
        raise SandboxUnavailable(f"{what} goes into an image, and {self.name} makes none: --sandbox docker")

    def missing(self, images: Iterable[str]) -> list[str]:
        """Return those of the images that have to be built before a box can use them.

        Raises SandboxUnavailable if there is no room for them or this backend makes no images.
        """
        raise SandboxUnavailable(f"{self.name} makes no images: --sandbox docker")

    def build(self, image: str, folder: str) -> None:
        """Build `image` from the Dockerfile in a folder. Raises SandboxError with what it said last."""
        raise SandboxUnavailable(f"{self.name} makes no images: --sandbox docker")
