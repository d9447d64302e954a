"""Boxes in which what a model wrote runs. Start with `open_backend()`; `base` is the contract."""

import importlib
from collections.abc import Callable
from typing import Any, cast

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
    "open_backend",
]

BACKENDS = {
    "docker": "plateau_bench.sandbox.backends.docker.DockerBackend",
    "bubblewrap": "plateau_bench.sandbox.backends.bubblewrap.BubblewrapBackend",
}
"""Short name -> class; any other dotted path works too. In order of preference for "auto"."""


def open_backend(name: str = "auto", **options: Any) -> Backend:
    """The backend of that name; "auto" takes the first that works here: docker, else bubblewrap.

    `options` go to the backend: `workers` (lanes of a program box), `say` (a callback for progress lines).
    Raises SandboxUnavailable, whose message is one line to act on, and ValueError for an unknown name.
    """
    if name != "auto":
        return _load(name)(**options)
    problems = []
    for candidate in BACKENDS:
        try:
            backend = _load(candidate)(**options)
            backend.probe()  # type: ignore[attr-defined] # to be installed is not enough
            return backend
        except SandboxError as e:
            problems.append(f"{candidate}: {e}")
    raise SandboxUnavailable("no sandbox works on this machine. " + "; ".join(problems))


def _load(name: str) -> Callable[..., Backend]:
    path = BACKENDS.get(name, name)
    module, _, attribute = path.rpartition(".")
    if not module:
        raise ValueError(f"no sandbox called {name!r}; choose from: auto, {', '.join(BACKENDS)}")
    try:
        return cast("Callable[..., Backend]", getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as e:
        raise SandboxUnavailable(f"{name} needs the package {e.name}: pip install {e.name}") from e
    except AttributeError as e:
        raise ValueError(f"sandbox {name!r}: {module} has no {attribute}") from e
