"""The docker backend alone: flags, images, boxes without Python, and the reaper."""

import io
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plateau_bench.sandbox import BASE_IMAGE, SandboxError, SandboxSpec, SandboxUnavailable
from plateau_bench.sandbox.backends.docker import LABEL, DockerBackend
from plateau_bench.sandbox.backends.docker_plain import PlainSandbox
from plateau_bench.sandbox.backends.owner import alive, owner
from plateau_bench.sandbox.images.engine_cache import Images

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
    api = docker_backend.api
    kept = docker_backend.open()
    labels = {LABEL: json.dumps(owner() | {"start": "1"})}
    host = api.create_host_config(network_mode="none")
    left = api.create_container(BASE_IMAGE, ["sleep", "1000"], labels=labels, host_config=host)["Id"]
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
    name = "plateau-test-foreign"
    spec = SandboxSpec(image=name, workdir="/app")
    with image_of(docker_backend, name, recipe), closing(docker_backend.open(spec)) as box:
        assert set(box.snapshot()) == {"d/file"}
        assert box.run("id -u; cat d/file; echo more >> d/file").stdout == "1000\ncontent\n"
        status = box.run("grep CapEff /proc/self/status; touch /etc/x /etc/passwd; head -c 9 /proc/1/maps")
        assert status.stdout.split() == ["CapEff:", "0" * 16]
        assert box.run("rm -r d; touch new").exit_code == 0


@pytest.mark.docker
def test_a_foreign_image_has_services_too(docker_backend: DockerBackend) -> None:
    name = "plateau-test-services"
    talk = "import socket; s = socket.create_connection(('127.0.0.1', 8000)); print(s.recv(9).decode())"
    services = {8000: lambda sock: sock.sendall(b"hello")}
    spec = SandboxSpec(image=name, workdir="/app", services=services)
    recipe = f"FROM {BASE_IMAGE}\nWORKDIR /app\n"  # its guest begins as root
    with image_of(docker_backend, name, recipe), closing(docker_backend.open(spec)) as box:
        assert box.run(["python3", "-c", talk]).stdout == "hello\n"
        assert box.run("sleep 9", timeout_s=0.1).timed_out
        assert box.run(["python3", "-c", talk]).stdout == "hello\n"


@pytest.mark.docker
def test_missing_image_is_named(docker_backend: DockerBackend) -> None:
    with pytest.raises(Exception, match="registry.invalid/none"):
        docker_backend.open(SandboxSpec(image="registry.invalid/none:1"))


@pytest.mark.docker
def test_every_wall_is_in_the_engine_s_own_words(docker_backend: DockerBackend) -> None:
    """What `docker inspect` says of a live box, flag by flag."""
    api = docker_backend.api
    before = {box["Id"] for box in api.containers()}
    spec = SandboxSpec(memory_mb=256, pids=50, cpus=0.5, disk_mb=32)
    with closing(docker_backend.open(spec)), closing(docker_backend.open_program_box()):
        found = [api.inspect_container(b["Id"]) for b in api.containers() if b["Id"] not in before]
    mine = json.dumps(owner())
    boxes = [box for box in found if box["Config"]["Labels"].get(LABEL) == mine]
    commands = next(box for box in boxes if box["Config"]["User"] == "1000:1000")
    programs = next(box for box in boxes if box["Config"]["User"] == "0:0")
    for box in (commands, programs):
        host = box["HostConfig"]
        assert host["NetworkMode"] == "none"
        assert box["Config"]["NetworkDisabled"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]  # and no seccomp=..., so the engine's own profile
        assert host["ReadonlyRootfs"] is True
        assert host["Privileged"] is False
        assert host["AutoRemove"] is True
        assert host["LogConfig"]["Type"] == "none"
        assert host["MemorySwap"] == host["Memory"]
        assert not host["Binds"]
        assert not host["Devices"]
        assert host["PidMode"] in ("", "private")
        assert host["IpcMode"] in ("private", "none")
        assert host["UsernsMode"] == ""
        assert {kind for mount in box["Mounts"] for kind in [mount["Type"]]} <= {"tmpfs"}
        assert all(
            "nosuid" in flags and "size=" in flags or "ro" in flags for flags in host["Tmpfs"].values()
        )
        assert box["Config"]["StdinOnce"] is True
        assert box["Image"] == docker_backend.images.ids[BASE_IMAGE]
    host = commands["HostConfig"]
    assert 256 << 20 <= host["Memory"] <= 1 << 30  # the guest keeps to 256 MiB, the rest is for full tmpfs
    assert (host["PidsLimit"], host["NanoCpus"]) == (50, 500_000_000)
    assert host["CapAdd"] is None or host["CapAdd"] == []
    assert set(host["Tmpfs"]) == {"/tmp", "/work"}
    assert "size=32m" in host["Tmpfs"]["/work"]
    host = programs["HostConfig"]
    assert sorted(c.removeprefix("CAP_") for c in host["CapAdd"]) == ["KILL", "SETGID", "SETUID"]
    assert host["IpcMode"] == "none"
    assert set(host["Tmpfs"]) == {"/tmp", "/dev/mqueue"}


@contextmanager
def image_of(backend: DockerBackend, name: str, recipe: str) -> Iterator[str]:
    """An image built from a Dockerfile that downloads nothing; yields its id."""
    file = io.BytesIO(recipe.encode())
    for line in backend.api.build(fileobj=file, tag=name, rm=True, network_mode="none", decode=True):
        assert "error" not in line, line
    try:
        yield backend.api.inspect_image(name)["Id"]
    finally:
        backend.api.remove_image(name, force=True)


@pytest.mark.docker
def test_a_tag_that_moves_changes_nothing(docker_backend: DockerBackend) -> None:
    name, recipe = "plateau-test-moving", f"FROM {BASE_IMAGE}\nUSER root\nRUN echo {{}} > /version\n"
    spec = SandboxSpec(image=name, workdir="/app")
    with image_of(docker_backend, name, recipe.format(1)) as first:
        with closing(docker_backend.open(spec)) as box:
            assert box.run("cat /version").stdout == "1\n"
        docker_backend.api.tag(first, "plateau-test-kept")
        with image_of(docker_backend, name, recipe.format(2)) as second:
            with closing(docker_backend.open(spec)) as box:
                assert box.run("cat /version").stdout == "1\n"
            assert docker_backend.images.ids[name] == first != second
            docker_backend.api.remove_image("plateau-test-kept", force=True)
            with pytest.raises(SandboxError, match="start a new run"):
                docker_backend.open(spec)
        docker_backend.api.tag(BASE_IMAGE, name)  # for image_of to remove


@pytest.mark.docker
def test_an_image_without_python_has_boxes_too(docker_backend: DockerBackend) -> None:
    name = "plateau-test-no-python"
    recipe = f"FROM {BASE_IMAGE}\nUSER root\nRUN rm -f /usr/bin/python3* /usr/local/bin/python3*\n"
    recipe += "RUN mkdir /app && echo content > /app/file\n"
    spec = SandboxSpec(image=name, workdir="/app", memory_mb=128, pids=40)
    with image_of(docker_backend, name, recipe), closing(docker_backend.open(spec)) as box:
        assert isinstance(box, PlainSandbox)
        with pytest.raises(SandboxUnavailable, match="has no python3, which a network needs"):
            docker_backend.open(SandboxSpec(image=name, workdir="/app", network=("example.org",)))
        before = box.snapshot()
        assert set(before) == {"file"}
        done = box.run("cat; id -u; grep CapEff /proc/self/status; echo err >&2; exit 3", stdin=b"in\n")
        assert (done.exit_code, done.stderr) == (3, "err\n")
        assert done.stdout.split() == ["in", "1000", "CapEff:", "0" * 16]
        done = box.run("trap '' TERM; setsid sleep 1000 & echo begun; sleep 1000", timeout_s=1)
        assert (done.timed_out, done.exit_code, done.stdout) == (True, None, "begun\n")
        assert "sleep 100" not in box.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        box.write("d/e/new", bytes(range(256)), mode=0o755)
        assert box.read("/app/d/e/new") == bytes(range(256))
        box.run("rm file; ln -s /etc/passwd link; mkfifo pipe; kill -9 -1")
        diff = box.diff(before)
        assert dict(diff.written) == {"d/e/new": bytes(range(256))}
        assert (diff.deleted, set(diff.refused)) == (("file",), {"link", "pipe"})
        for path, error in (("none", FileNotFoundError), ("d", IsADirectoryError), ("link", OSError)):
            with pytest.raises(error):
                box.read(path)
        with pytest.raises(ValueError, match="at most 10 bytes"):
            box.read("d/e/new", max_bytes=10)
        assert box.run("head -c 3000000 /dev/zero; echo end").truncated
        assert box.run(["no-such-command"]).exit_code == 127
        assert box.run("echo alive").stdout == "alive\n"
    with pytest.raises(SandboxError):
        box.run("true")


@pytest.mark.docker
def test_a_full_disk_is_one_line(docker_backend: DockerBackend) -> None:
    full = DockerBackend(min_free_gb=1e6)
    if full.images.free_gb() is None:
        pytest.skip("the engine's disk is another machine's")
    with pytest.raises(SandboxUnavailable, match="GB free") as error:
        full.open()
    assert "\n" not in str(error.value)


class Engine:
    """The few calls that `Images` makes, over a disk that holds three images."""

    def __init__(self) -> None:
        self.images, self.busy = {"old": "i1", "busy": "i2", "new": "i3"}, {"i2"}

    def info(self) -> dict[str, str]:
        return {"ID": "engine"}

    def remove_image(self, image: str) -> None:
        if image in self.busy:
            raise OSError("in use")
        self.images = {name: i for name, i in self.images.items() if i != image}

    def inspect_image(self, name: str) -> dict[str, str]:
        return {"Id": self.images[name]}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    """Only what we pulled, never what is in use, and no more than needed."""
    ledger = tmp_path / "images.json"
    entries = {i: {"name": name, "used": used} for i, name, used in (("i3", "new", 3), ("i1", "old", 1))}
    entries |= {"i2": {"name": "busy", "used": 0}, "i4": {"name": "gone by hand", "used": 2}}
    ledger.write_text(json.dumps({"engine": entries, "another": {"i9": {"name": "theirs", "used": 0}}}))
    engine = Engine()

    class Disk(Images):
        _engine = ("engine", "")

        def free_gb(self) -> float:
            return 10.0 - 3 * len(engine.images)

    images = Disk(engine, lambda _: None, ledger=ledger)
    images.ids["new"] = "i3"  # this run's own
    assert images.evict(4.0) == ["old"]
    assert engine.images == {"busy": "i2", "new": "i3"}
    assert images.evict(9.0) == ["gone by hand"]
    left = json.loads(ledger.read_text())
    assert set(left["engine"]) == {"i2", "i3"}
    assert left["another"] == {"i9": {"name": "theirs", "used": 0}}


@pytest.mark.docker
def test_a_program_is_put_into_an_image_once(docker_backend: DockerBackend) -> None:
    said: list[str] = []
    backend = DockerBackend(say=said.append)
    script = f"echo installed-{os.getpid()} > /opt/program"
    name = backend.with_program(BASE_IMAGE, script, what="tool: install")
    try:
        assert backend.with_program(BASE_IMAGE, script, what="tool: install") == name
        assert sum("tool: install: once" in line for line in said) == 1
        with closing(backend.open(SandboxSpec(image=name))) as box:
            assert box.run("cat /opt/program").stdout == f"installed-{os.getpid()}\n"
        assert backend.missing([name, "plateau-test-absent"]) == ["plateau-test-absent"]
        with pytest.raises(SandboxUnavailable, match="tool: install failed on plateau-base"):
            backend.with_program(BASE_IMAGE, "exit 3", what="tool: install")
    finally:
        backend.api.remove_image(name, force=True)


@pytest.mark.docker
def test_a_build_that_fails_says_why(docker_backend: DockerBackend, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nCOPY absent /\n")
    with pytest.raises(SandboxError, match="absent"):
        docker_backend.build("plateau-test-build", str(tmp_path))
