"""Boxes in which what a model wrote runs. Start with `open_backend()`; `base` is the contract.

Imports no other package of plateau but `plugins`, the door for other people's backends.
"""

from typing import Any

from plateau_bench.plugins import load, names
from plateau_bench.sandbox.base import (
    BASE_IMAGE,
    Backend,
    Diff,
    Execution,
    Output,
    Program,
    ProgramBox,
    ProgramResult,
    Sandbox,
    SandboxError,
    SandboxSpec,
    SandboxUnavailable,
    Status,
)

__all__ = [
    "BACKENDS",
    "BASE_IMAGE",
    "Backend",
    "Diff",
    "Execution",
    "Output",
    "Program",
    "ProgramBox",
    "ProgramResult",
    "Sandbox",
    "SandboxError",
    "SandboxSpec",
    "SandboxUnavailable",
    "Status",
    "backend_names",
    "open_backend",
]

BACKENDS = {
    "docker": "plateau_bench.sandbox.backends.docker.DockerBackend",
    "bubblewrap": "plateau_bench.sandbox.backends.bubblewrap.BubblewrapBackend",
}
"""The backends that ship with plateau, in the order in which "auto" tries them."""


def backend_names() -> list[str]:
    """The backends that can be named on this machine: plateau's own, then those of installed packages."""
    return names("backends", BACKENDS)


def open_backend(name: str = "auto", **options: Any) -> Backend:
    """Return the backend of that name; "auto" takes the first of plateau's own that works here.

    `name` may also be the entry point of an installed package, a dotted path, or file.py:Class. `options` go
    to the backend: `workers` (lanes of a program box), `say` (a callback for progress lines). Raises
    SandboxUnavailable, whose message is one line to act on, and ValueError for a backend that is not there.
    """
    if name != "auto":
        backend: Backend = load("backends", name, {"auto": "", **BACKENDS})(**options)
        return backend
    problems = []
    for candidate in BACKENDS:
        try:
            backend = open_backend(candidate, **options)
            backend.probe()  # to be installed is not enough
            return backend
        except (SandboxError, ValueError) as e:
            problems.append(f"{candidate}: {e}")
    raise SandboxUnavailable("no sandbox works on this machine. " + "; ".join(problems))
