"""The project's base image: built from `image/Dockerfile`, or without any registry by debootstrap.

The image carries a digest of its recipe as a label, so it is rebuilt exactly when the recipe changes.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.errors import BuildError, DockerException, ImageNotFound

from sandbox.base import BASE_IMAGE, SandboxError, SandboxUnavailable

LABEL = "plateau.recipe"
RELEASE, PACKAGES = "bookworm", "python3,git,patch,procps"
_FOLDER = Path(__file__).parent / "image"
_FINISH = """set -e
groupadd --gid 1000 agent
useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp agent
mkdir /work
rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
"""
_building = threading.Lock()


def recipe() -> str:
    """Digest of everything that decides what is in the image."""
    parts = [(_FOLDER / "Dockerfile").read_text(), RELEASE, PACKAGES, _FINISH]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def ensure_base_image(api: Any, say: Callable[[str], None] = lambda _: None) -> None:
    """Have the base image on the engine behind `api` (a docker APIClient), building it if needed.

    Raises SandboxUnavailable when it can neither be built from a registry nor with debootstrap.
    """
    with _building:
        if _up_to_date(api):
            return
        say(f"building the base image {BASE_IMAGE} (once, a minute or two)")
        problem = _build(api)
        if problem:
            say(f"no registry ({problem}); assembling it from Debian packages instead")
            _assemble(api)
        say(f"base image {BASE_IMAGE} is ready")


def _up_to_date(api: Any) -> bool:
    try:
        labels = api.inspect_image(BASE_IMAGE)["Config"]["Labels"] or {}
    except ImageNotFound:
        return False
    except (DockerException, OSError) as e:
        raise SandboxError(f"the engine does not answer: {e}") from e
    return bool(labels.get(LABEL) == recipe())


def _build(api: Any) -> str:
    """Build from the Dockerfile; returns what went wrong, "" when nothing did."""
    try:
        lines = api.build(path=str(_FOLDER), tag=BASE_IMAGE, rm=True, labels={LABEL: recipe()}, decode=True)
        for line in lines:
            if "error" in line:
                return str(line["error"]).strip().splitlines()[-1][:200]
    except (BuildError, DockerException, OSError) as e:
        return str(e)[:200]
    return ""


def _assemble(api: Any) -> None:
    """Make the image with debootstrap on this machine and hand it to the engine as one layer."""
    if os.geteuid() != 0:
        raise SandboxUnavailable(
            f"no registry answers; as root: debootstrap can make {BASE_IMAGE} (plateau sandbox build)"
        )
    if not shutil.which("debootstrap"):
        _run("apt-get", "install", "-y", "--no-install-recommends", "debootstrap")
    with tempfile.TemporaryDirectory(prefix="plateau-image-") as folder:
        root = Path(folder, "root")
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root))
        _run("chroot", str(root), "sh", "-c", _FINISH)
        archive = Path(folder, "root.tar")
        _run("tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), ".")
        changes = [f"LABEL {LABEL}={recipe()}", "WORKDIR /work", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
        try:
            api.import_image_from_file(str(archive), repository=BASE_IMAGE, changes=changes)
        except (DockerException, OSError) as e:
            raise SandboxUnavailable(f"the engine refused the image {BASE_IMAGE}: {e}") from e


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as e:
        raise SandboxUnavailable(f"cannot make {BASE_IMAGE}: {e}") from e
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SandboxUnavailable(f"cannot make {BASE_IMAGE}: {command[0]} failed: {' '.join(last)[:300]}")
