"""A Docker box without Python keeps the contract, but for what its file's header says it does not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from plateau_bench.sandbox import BASE_IMAGE, Sandbox, SandboxSpec
from plateau_bench.sandbox.backends.docker import DockerBackend
from plateau_bench.sandbox.backends.docker_plain import PlainSandbox
from plateau_bench.sandbox.checks.commands import SANDBOX_CHECKS, Check

from .conftest import available
from .test_docker import image_of

pytestmark = pytest.mark.docker

NEEDS_PYTHON = {"bombs_stay_inside", "memory_is_the_box_s", "names_resolve"}
NEEDS_A_READ_ONLY_IMAGE = {"read_only_elsewhere"}
CHECKS = [c for c in SANDBOX_CHECKS if c.__name__ not in NEEDS_PYTHON | NEEDS_A_READ_ONLY_IMAGE]


class Plain:
    """The docker backend, with boxes of an image that has no Python."""

    name = "docker without python"

    def __init__(self, docker: DockerBackend, image: str) -> None:
        self._docker, self._image = docker, image
        self.open_program_box, self.clean = docker.open_program_box, docker.clean

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        box = self._docker.open(replace(spec or SandboxSpec(), image=self._image))
        assert isinstance(box, PlainSandbox)
        return box


@pytest.fixture(scope="module")
def plain() -> Iterator[Plain]:
    backend = available("docker")
    assert isinstance(backend, DockerBackend)
    recipe = f"FROM {BASE_IMAGE}\nUSER root\nRUN rm -f /usr/bin/python3* /usr/local/bin/python3*\n"
    with image_of(backend, "plateau-test-plain", recipe):
        yield Plain(backend, "plateau-test-plain")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(plain: Plain, check: Check) -> None:
    check(plain)
