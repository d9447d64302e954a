"""Images of folder tasks that bring a Dockerfile, built ahead of a run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from plateau_bench.sandbox.base import SandboxUnavailable
from plateau_bench.tasks.base import FolderTests, Task
from plateau_bench.tasks.grading.boxes import stages

if TYPE_CHECKING:
    from plateau_bench.sandbox.backends.docker import DockerBackend

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
    """Build the images that the engine does not have; return image -> what went wrong, for those that failed.

    Raises SandboxUnavailable before the first build if the engine's disk cannot be expected to hold them all.
    """
    from plateau_bench.sandbox.engine import build_image, find_image

    missing = {image: folder for image, folder in images.items() if not find_image(backend.api, image)}
    free, need = backend.images.free_gb(), backend.images.min_free_gb + NEED_GB * len(missing)
    if missing and free is not None and free < need:
        raise SandboxUnavailable(
            f"the engine's disk has {free:.1f} GB free, {len(missing)} images may need {need:.1f}; "
            "free some (docker system prune) or build fewer tasks at once (--limit)"
        )
    problems = {}
    with ThreadPoolExecutor(at_once, "build") as pool:
        jobs = {
            pool.submit(build_image, backend.api, image, path=folder): image
            for image, folder in sorted(missing.items())
        }
        for image in images.keys() - missing.keys():
            done(image, "")
        for future in as_completed(jobs):
            image, problem = jobs[future], future.result()
            if problem:
                problems[image] = problem
            done(image, problem)
    return problems
