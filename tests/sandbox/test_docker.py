"""The reaper of the docker backend."""

import io
import json
from contextlib import closing

import pytest

from sandbox import BASE_IMAGE, SandboxSpec, SandboxUnavailable
from sandbox.docker import LABEL, DockerBackend, alive, owner

from .conftest import available


@pytest.fixture
def docker_backend() -> DockerBackend:
    backend = available("docker")
    assert isinstance(backend, DockerBackend)
    return backend


def test_owner_is_alive_only_as_itself() -> None:
    mine = owner()
    assert alive(json.dumps(mine))
    for key, value in (("start", "1"), ("pid", "999999999"), ("boot", "another")):
        assert not alive(json.dumps(mine | {key: value})), key
    for key in ("host", "pids"):  # not ours to judge
        assert alive(json.dumps(mine | {key: "another", "pid": "999999999"})), key
    assert not alive("no json")


@pytest.mark.docker
def test_clean_removes_only_what_dead_runs_left(docker_backend: DockerBackend) -> None:
    api = docker_backend._api
    kept = docker_backend.open()
    labels = {LABEL: json.dumps(owner() | {"start": "1"})}
    left = api.create_container(BASE_IMAGE, ["sleep", "1000"], labels=labels)["Id"]
    api.start(left)
    assert docker_backend.clean() == 1
    assert docker_backend.clean() == 0
    assert left not in {box["Id"] for box in api.containers(all=True)}
    assert kept.run("echo alive").stdout == "alive\n"
    kept.close()


def test_no_engine_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(SandboxUnavailable, match="start a Docker engine") as error:
        DockerBackend()
    assert "\n" not in str(error.value)


@pytest.mark.docker
def test_foreign_image_keeps_its_files(docker_backend: DockerBackend) -> None:
    """Its working folder comes with content, which the unprivileged user may change."""
    recipe = (
        f"FROM {BASE_IMAGE}\nWORKDIR /app\nRUN mkdir d && echo content > d/file && ln -s /etc/passwd d/link\n"
    )
    api, name = docker_backend._api, "plateau-test-foreign"
    for line in api.build(
        fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True, network_mode="none", decode=True
    ):
        assert "error" not in line, line
    try:
        with closing(docker_backend.open(SandboxSpec(image=name, workdir="/app"))) as box:
            assert set(box.snapshot()) == {"d/file"}
            assert box.run("id -u; cat d/file; echo more >> d/file").stdout == "1000\ncontent\n"
            status = box.run(
                "grep CapEff /proc/self/status; touch /etc/x /etc/passwd; head -c 9 /proc/1/maps"
            )
            assert status.stdout.split() == ["CapEff:", "0" * 16]
            assert box.run("rm -r d; touch new").exit_code == 0
    finally:
        api.remove_image(name, force=True)


@pytest.mark.docker
def test_missing_image_is_named(docker_backend: DockerBackend) -> None:
    with pytest.raises(Exception, match="registry.invalid/none"):
        docker_backend.open(SandboxSpec(image="registry.invalid/none:1"))
