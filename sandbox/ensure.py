"""What `--sandbox auto` does: find a sandbox that works on this machine, or install one."""

import os
import shutil
from collections.abc import Callable, Iterable

from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import Backend, SandboxUnavailable
from plateau_bench.sandbox.images.debian import failure

MANAGERS = {
    "apt-get": "apt-get install -y --no-install-recommends bubblewrap python3",
    "dnf": "dnf install -y bubblewrap python3",
    "pacman": "pacman -S --noconfirm --needed bubblewrap python",
    "apk": "apk add bubblewrap python3",
}
"""Package manager -> the command that installs bubblewrap."""


def ensure_backend(say: Callable[[str], None] = print) -> Backend:
    """Return a backend that works here; installs bubblewrap when neither it nor an engine is there.

    Raises SandboxUnavailable with the line to type when it may not install or installing did not help.
    """
    try:
        return open_backend(say=say)
    except SandboxUnavailable as e:
        missing = e
    command = install_command(filter(shutil.which, MANAGERS))
    if shutil.which("bwrap") or command is None:
        raise missing
    prefix = _privilege()
    if prefix is None:
        raise SandboxUnavailable(f"no sandbox on this machine; type: sudo {command}") from missing
    say(f"installing bubblewrap: {command}")
    if command.startswith("apt-get"):
        failure(*prefix, "apt-get", "update", "-qq")
    if problem := failure(*prefix, *command.split()):
        raise SandboxUnavailable(f"{command} failed ({problem}); type it yourself to see why") from missing
    return open_backend(say=say)


def install_command(managers: Iterable[str]) -> str | None:
    """Return the line that installs bubblewrap with the first of these package managers.

    >>> install_command(["dnf"])
    'dnf install -y bubblewrap python3'
    """
    return next((MANAGERS[name] for name in managers), None)


def _privilege() -> list[str] | None:
    """What to put before a command that needs root; None when it would ask for a password."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if not failure("sudo", "-n", "true") else None
