"""Says which backends work on this machine, and what protects it from what runs in a box."""

import os
import platform
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from plateau_bench.sandbox import backend_names, open_backend
from plateau_bench.sandbox.base import Backend, Fact, SandboxError
from plateau_bench.sandbox.checks.programs import CHECKS

_SYSCTLS = (
    ("kernel/unprivileged_userns_clone", "0", "only root can make bubblewrap boxes"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor keeps ordinary users from making them"),
    ("user/max_user_namespaces", "0", "nobody can make them"),
)


def examine(*, full: bool = False) -> Iterator[Fact]:
    """Give one fact after another. `full` runs the conformance checks, too; never raises."""
    root = "root" if os.geteuid() == 0 else "an ordinary user"
    yield Fact(about="machine", text=f"Linux {platform.release()}, {platform.machine()}, as {root}")
    yield Fact(about="control groups", text=_cgroups())
    yield from _namespaces()
    working = 0
    for name in backend_names():
        try:
            backend = open_backend(name)
        except (SandboxError, ValueError) as e:
            yield Fact(about=name, text=str(e), good=False)
            continue
        yield from backend.facts()
        usable = False
        for fact in _boxes(backend):
            usable = usable or fact.good is True
            yield fact
        working += usable
        if usable and full:
            yield from _conformance(backend)
    if not working:
        yield Fact(about="verdict", text="no sandbox works here; see the lines above", good=False)
        return
    yield Fact(
        about="not protected against",
        text="a hole in the kernel, which every box shares with this machine; and programs that use all of "
        "its CPU time together",
    )


def _cgroups() -> str:
    new, old = Path("/sys/fs/cgroup/cgroup.controllers"), Path("/sys/fs/cgroup/memory")
    if new.exists():
        return "version 2"
    return "version 1" if old.exists() else "none found"


def _namespaces() -> Iterator[Fact]:
    if not Path("/proc/self/ns/user").exists():
        yield Fact(about="user namespaces", text="not in this kernel: no bubblewrap boxes", good=False)
        return
    bad = []
    for name, value, meaning in _SYSCTLS:
        with suppress(OSError):
            if Path("/proc/sys", name).read_text().strip() == value:
                bad.append(f"{name.replace('/', '.')} = {value}: {meaning}")
    yield Fact(about="user namespaces", text="; ".join(bad) or "allowed", good=not bad)


def _boxes(backend: Backend) -> Iterator[Fact]:
    """Open one box and look around in it."""
    name = backend.name
    try:
        with closing(backend.open()) as box:
            version = box.run("python3 --version").stdout.strip()
            status = box.run("cat /proc/self/status").stdout.splitlines()
            nets = box.run("cut -d: -f1 -s /proc/net/dev").stdout.split()
            touched = box.run("touch /usr/.probe /etc/.probe").exit_code == 0
    except (SandboxError, OSError) as e:
        yield Fact(about=f"{name} box", text=str(e), good=False)
        return
    yield Fact(about=f"{name} box", text=f"opens, with {version or 'no python3'}", good=True)
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    walls = {
        "no capability": set(fields.get("CapEff", "?")) == {"0"},
        "no new privileges": fields.get("NoNewPrivs") == "1",
        "system calls filtered": fields.get("Seccomp") == "2",
        "an ordinary user": fields.get("Uid", "0").split()[0] != "0",
        "no network": nets in ([], ["lo"]),
        "the system read-only": not touched,
    }
    held = [wall for wall, stands in walls.items() if stands]
    broken = [wall for wall, stands in walls.items() if not stands]
    text = ", ".join(held) + ("; MISSING: " + ", ".join(broken) if broken else "")
    yield Fact(about=f"{name} walls", text=text, good=not broken)


def _conformance(backend: Backend) -> Iterator[Fact]:
    for check in CHECKS:
        try:
            check(backend)
        except Exception as e:
            yield Fact(about=f"{backend.name} {check.__name__}", text=str(e), good=False)
        else:
            yield Fact(about=f"{backend.name} {check.__name__}", text="passes", good=True)
