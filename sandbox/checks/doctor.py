"""Says which backends work on this machine, and what protects it from what runs in a box."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plateau_bench.sandbox import BACKENDS, open_backend
from plateau_bench.sandbox.backends import cgroup
from plateau_bench.sandbox.base import BASE_IMAGE, Backend, SandboxError

_SYSCTLS = (
    ("kernel/unprivileged_userns_clone", "0", "only root can make bubblewrap boxes"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor keeps ordinary users from making them"),
    ("user/max_user_namespaces", "0", "nobody can make them"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line: what it is about, what was found, and whether that is as it should be (None: just a fact)."""

    about: str
    text: str
    good: bool | None = None


def examine(*, full: bool = False) -> Iterator[Finding]:
    """Findings, one at a time. `full` runs the conformance checks, too; never raises."""
    root = "root" if os.geteuid() == 0 else "an ordinary user"
    yield Finding(about="machine", text=f"Linux {platform.release()}, {platform.machine()}, as {root}")
    yield Finding(about="control groups", text=_cgroups())
    yield from _namespaces()
    working = 0
    for name in BACKENDS:
        try:
            backend = open_backend(name)
        except SandboxError as e:
            yield Finding(about=name, text=str(e), good=False)
            continue
        yield from {"docker": _docker, "bubblewrap": _bubblewrap}[name](backend)
        usable = False
        for finding in _boxes(backend):
            usable = usable or finding.good is True
            yield finding
        working += usable
        if usable and full:
            yield from _conformance(backend)
    if not working:
        yield Finding(about="verdict", text="no sandbox works here; see the lines above", good=False)
        return
    yield Finding(
        about="not protected against",
        text="a hole in the kernel, which every box shares with this machine; and programs that use all of "
        "its CPU time together. bubblewrap boxes can also read what is below /usr",
    )


def _cgroups() -> str:
    new, old = Path("/sys/fs/cgroup/cgroup.controllers"), Path("/sys/fs/cgroup/memory")
    if new.exists():
        return "version 2"
    return "version 1" if old.exists() else "none found"


def _namespaces() -> Iterator[Finding]:
    if not Path("/proc/self/ns/user").exists():
        yield Finding(about="user namespaces", text="not in this kernel: no bubblewrap boxes", good=False)
        return
    bad = []
    for name, value, meaning in _SYSCTLS:
        with suppress(OSError):
            if Path("/proc/sys", name).read_text().strip() == value:
                bad.append(f"{name.replace('/', '.')} = {value}: {meaning}")
    yield Finding(about="user namespaces", text="; ".join(bad) or "allowed", good=not bad)


def _docker(backend: Any) -> Iterator[Finding]:
    api = backend.api
    try:
        info, version = api.info(), api.version()
    except Exception as e:  # the engine's own trouble, in whatever shape
        yield Finding(about="docker", text=f"the engine does not say what it is: {e}", good=False)
        return
    options = [option.split(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or []]
    yield Finding(
        about="docker engine",
        text=f"{version.get('Version')} with {info.get('DefaultRuntime')}, API {version.get('ApiVersion')}, "
        f"storage {info.get('Driver')}, control groups version {info.get('CgroupVersion')}, {api.base_url}",
    )
    good = "seccomp" in options
    text = "the engine's allow-list, and the guest's deny-list" if good else "only the guest's deny-list"
    yield Finding(about="docker seccomp", text=text, good=good)
    for option, text in (
        ("rootless", "the engine is not root"),
        ("userns", "root in a box is nobody outside"),
    ):
        yield Finding(about=f"docker {option}", text=text if option in options else "off", good=None)
    for limit, name in (("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "cpu")):
        if not info.get(limit):
            yield Finding(about=f"docker {name} limit", text="this engine cannot set it", good=False)
    free = backend.images.free_gb()
    least = backend.images.min_free_gb
    yield Finding(
        about="docker disk",
        text="on another machine" if free is None else f"{free:.0f} GB free, {least:g} needed",
        good=None if free is None else free >= least,
    )
    with suppress(Exception):
        yield Finding(about="docker base image", text=f"{BASE_IMAGE} = {api.inspect_image(BASE_IMAGE)['Id']}")


def _bubblewrap(_: Any) -> Iterator[Finding]:
    from plateau_bench.sandbox.backends.bubblewrap import told

    lacks = [
        text
        for flag, text in (
            ("--size", "the size of files is not limited"),
            ("--disable-userns", "nested user namespaces stop at the deny-list of system calls only"),
        )
        if flag not in told("--help")
    ]
    text = f"{told('--version').strip() or '?'} at {shutil.which('bwrap')}"
    yield Finding(about="bubblewrap", text=text + "".join(f"; {lack}" for lack in lacks), good=not lacks)
    yield Finding(about="bubblewrap seccomp", text="the guest's deny-list; no allow-list")
    groups = cgroup.note()
    watch = "; without a group memory is watched by the guest, ten times a second, and CPU is not limited"
    yield Finding(about="bubblewrap limits", text=groups + (watch if groups.startswith("none") else ""))


def _boxes(backend: Backend) -> Iterator[Finding]:
    """Open one box and look around in it."""
    name = backend.name
    try:
        with closing(backend.open()) as box:
            version = box.run("python3 --version").stdout.strip()
            status = box.run("cat /proc/self/status").stdout.splitlines()
            nets = box.run("cut -d: -f1 -s /proc/net/dev").stdout.split()
            touched = box.run("touch /usr/.probe /etc/.probe").exit_code == 0
    except (SandboxError, OSError) as e:
        yield Finding(about=f"{name} box", text=str(e), good=False)
        return
    yield Finding(about=f"{name} box", text=f"opens, with {version or 'no python3'}", good=True)
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    facts = {
        "no capability": set(fields.get("CapEff", "?")) == {"0"},
        "no new privileges": fields.get("NoNewPrivs") == "1",
        "system calls filtered": fields.get("Seccomp") == "2",
        "an ordinary user": fields.get("Uid", "0").split()[0] != "0",
        "no network": nets in ([], ["lo"]),
        "the system read-only": not touched,
    }
    held = [fact for fact, true in facts.items() if true]
    broken = [fact for fact, true in facts.items() if not true]
    text = ", ".join(held) + ("; MISSING: " + ", ".join(broken) if broken else "")
    yield Finding(about=f"{name} walls", text=text, good=not broken)


def _conformance(backend: Backend) -> Iterator[Finding]:
    from plateau_bench.sandbox.checks.programs import CHECKS

    for check in CHECKS:
        try:
            check(backend)
        except Exception as e:
            yield Finding(about=f"{backend.name} {check.__name__}", text=str(e), good=False)
        else:
            yield Finding(about=f"{backend.name} {check.__name__}", text="passes", good=True)
