"""A root folder with Python, a shell and git, assembled from Debian packages: no registry, no engine."""

import os
import shutil
import subprocess
from pathlib import Path

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxUnavailable

RELEASE, PACKAGES = "bookworm", "python3,git,patch,procps,libnss-myhostname"
FINISH = """set -e
groupadd --gid 1000 agent
useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp agent
mkdir /work
rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
"""


def bootstrap(root: Path) -> None:
    """Fill `root`. Takes a minute or two. Raises SandboxUnavailable, whose message says what to do."""
    if os.geteuid() != 0:
        raise SandboxUnavailable(
            f"no registry answers; as root: debootstrap can make {BASE_IMAGE} (plateau sandbox build)"
        )
    if not shutil.which("debootstrap"):
        run("apt-get", "install", "-y", "--no-install-recommends", "debootstrap")
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root))
    run("chroot", str(root), "sh", "-c", FINISH)


def run(*command: str) -> None:
    """Run a system tool to its end. Raises SandboxUnavailable with its last line."""
    if problem := failure(*command):
        raise SandboxUnavailable(f"cannot make {BASE_IMAGE}: {command[0]} failed: {problem}")


def failure(*command: str) -> str:
    """Run a system tool to its end; the last line of what it said if it failed, "" if it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as e:
        return str(e)
    if not done.returncode:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return said[-1][:300] if said else f"exit {done.returncode}"
