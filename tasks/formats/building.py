"""Images of folder tasks that bring a Dockerfile, built ahead of a run."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from plateau_bench.sandbox.base import Backend, SandboxError
from plateau_bench.tasks.base import FolderTests, Task
from plateau_bench.tasks.grading.boxes import stages


def to_build(tasks: Sequence[Task]) -> dict[str, str]:
    """Image name -> folder with its Dockerfile; tasks with equal environments share an image."""
    images = {task.box.image: task.tags["dockerfile"] for task in tasks if task.tags.get("dockerfile")}
    for own in (stage.tests for task in tasks for stage in stages(task)):
        if isinstance(own, FolderTests) and own.verifier and own.verifier.build:
            images[own.verifier.box.image] = str(own.verifier.build)
    return images


def build(images: Mapping[str, str], backend: Backend, *, at_once: int = 2) -> Iterator[tuple[str, str]]:
    """Build the images that the backend lacks; give each image when it is done, and what went wrong.

    Raises SandboxUnavailable before the first build if there is no room for them all or the backend makes
    no images.
    """
    missing = sorted(backend.missing(images))
    with ThreadPoolExecutor(at_once, "build") as pool:
        jobs = {pool.submit(backend.build, image, images[image]): image for image in missing}
        yield from ((image, "") for image in images.keys() - set(missing))
        for future in as_completed(jobs):
            problem = ""
            try:
                future.result()
            except SandboxError as error:
                problem = str(error)
            yield jobs[future], problem
