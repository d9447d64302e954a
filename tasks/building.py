"""Images of folder tasks that bring a Dockerfile, built ahead of a run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from sandbox.base import SandboxError, SandboxUnavailable
from tasks.base import FolderTests, Task
from tasks.boxes import stages

if TYPE_CHECKING:
    from sandbox.docker import DockerBackend

NEED_GB = 1.0
"""Free space that one image is expected to need where nothing better is known."""


def to_build(tasks: Sequence[Task]) -> dict[str, str]:
    """Image name -> folder with its Dockerfile; tasks with equal environments share an image."""
    images = {task.box.image: task.tags["dockerfile"] for task in tasks if task.tags.get("dockerfile")}
    for own in (stage.tests for task in tasks for stage in stages(task)):
        if isinstance(own, FolderTests) and own.verifier and own.verifier.build:
            images[own.verifier.box.image] = str(own.verifier.build)
    return images


def build(
    images: dict[str, str],
    backend: "DockerBackend",
    *,
    at_once: int = 2,
    done: Callable[[str, str], None] = lambda image, problem: None,
) -> dict[str, str]:
    """Build what the engine does not have; image -> what went wrong, for those that failed.

    Raises SandboxUnavailable before the first build if the engine's disk cannot be expected to hold them all.
    """
    missing = {image: folder for image, folder in images.items() if not _is_there(backend, image)}
    free, need = backend.images.free_gb(), backend.images.min_free_gb + NEED_GB * len(missing)
    if missing and free is not None and free < need:
        raise SandboxUnavailable(
            f"the engine's disk has {free:.1f} GB free, {len(missing)} images may need {need:.1f}; "
            "free some (docker system prune) or build fewer tasks at once (--limit)"
        )
    problems = {}
    with ThreadPoolExecutor(at_once, "build") as pool:
        jobs = {
            pool.submit(_build, backend, image, folder): image for image, folder in sorted(missing.items())
        }
        for image in images.keys() - missing.keys():
            done(image, "")
        for future in as_completed(jobs):
            image, problem = jobs[future], future.result()
            if problem:
                problems[image] = problem
            done(image, problem)
    return problems


def _is_there(backend: "DockerBackend", image: str) -> bool:
    from docker.errors import DockerException, ImageNotFound

    try:
        backend.api.inspect_image(image)
    except ImageNotFound:
        return False
    except (DockerException, OSError) as error:
        raise SandboxError(f"the engine does not answer: {error}") from error
    return True


def _build(backend: "DockerBackend", image: str, folder: str) -> str:
    """What went wrong, or ""."""
    from docker.errors import BuildError, DockerException

    last = ""
    try:
        lines: Any = backend.api.build(path=folder, tag=image, rm=True, forcerm=True, decode=True)
        for line in lines:
            last = str(line.get("stream", "")).strip() or last
            if "error" in line:
                return f"{str(line['error']).strip()} (at: {last})"[:300]
    except (BuildError, DockerException, OSError, TypeError) as error:
        return str(error)[:300]
    return ""
