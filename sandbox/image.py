"""The project's base image: built from `image/Dockerfile`, or without any registry by debootstrap.

The image carries a digest of its recipe as a label, so it is rebuilt exactly when the recipe changes.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.errors import BuildError, DockerException, ImageNotFound

from sandbox.base import BASE_IMAGE, SandboxError, SandboxUnavailable
from sandbox.debian import FINISH, PACKAGES, RELEASE, bootstrap, run

LABEL = "plateau.recipe"
_FOLDER = Path(__file__).parent / "image"
_building = threading.Lock()


def recipe() -> str:
    """Digest of everything that decides what is in the image."""
    parts = [(_FOLDER / "Dockerfile").read_text(), RELEASE, PACKAGES, FINISH]
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
    with tempfile.TemporaryDirectory(prefix="plateau-image-") as folder:
        root = Path(folder, "root")
        bootstrap(root)
        archive = Path(folder, "root.tar")
        run("tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), ".")
        changes = [f"LABEL {LABEL}={recipe()}", "WORKDIR /work", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
        try:
            api.import_image_from_file(str(archive), repository=BASE_IMAGE, changes=changes)
        except (DockerException, OSError) as e:
            raise SandboxUnavailable(f"the engine refused the image {BASE_IMAGE}: {e}") from e
