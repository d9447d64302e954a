"""The project's base image: built from `base/Dockerfile`, or without any registry by debootstrap.

The image carries a digest of its recipe as a label, so it is rebuilt exactly when the recipe changes.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.errors import DockerException

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxUnavailable
from plateau_bench.sandbox.engine import build_image, find_image
from plateau_bench.sandbox.images.debian import FINISH, PACKAGES, RELEASE, bootstrap, run

LABEL = "plateau.recipe"
_FOLDER = Path(__file__).parent / "base"
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
        problem = build_image(api, BASE_IMAGE, path=str(_FOLDER), labels={LABEL: recipe()})
        if problem:
            say(f"no registry ({problem}); assembling it from Debian packages instead")
            _assemble(api)
        say(f"base image {BASE_IMAGE} is ready")


def _up_to_date(api: Any) -> bool:
    found = find_image(api, BASE_IMAGE)
    return found is not None and (found["Config"]["Labels"] or {}).get(LABEL) == recipe()


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
