"""Control groups: where they are made, what is written, and whose leftovers are removed."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from plateau_bench.sandbox import SandboxSpec
from plateau_bench.sandbox.backends import cgroup
from plateau_bench.sandbox.backends.bubblewrap import BubblewrapBackend
from plateau_bench.sandbox.backends.cgroup import Parent, parents, settings

from .conftest import available


def v2(root: Path, *groups: tuple[str, str]) -> Path:
    (root / "cgroup.controllers").write_text("cpu memory pids")
    for path, handed in groups:
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path / "cgroup.subtree_control").write_text(handed)
    return root


def test_v2_takes_the_nearest_ancestor_that_delegates(tmp_path: Path) -> None:
    own = "0::/user/session/app\n"
    root = v2(tmp_path, ("", "cpu memory pids"), ("user", "memory pids"), ("user/session/app", ""))
    (found,) = parents(root, own)
    assert found == Parent(folder=root / "user", controllers=frozenset({"memory", "pids"}), v2=True)
    (root / "user/session/cgroup.subtree_control").write_text("cpu memory pids")
    assert parents(root, own)[0].folder == root / "user/session"


def test_v2_without_delegation_is_nowhere(tmp_path: Path) -> None:
    assert parents(v2(tmp_path, ("", "cpu"), ("a", "")), "0::/a\n") == ()
    assert parents(tmp_path / "none", "0::/\n") == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_v2_of_another_user_is_not_ours(tmp_path: Path) -> None:
    root = v2(tmp_path, ("", "memory pids"))
    root.chmod(0o555)
    assert parents(root, "0::/\n") == ()


def test_v1_is_below_our_own_group(tmp_path: Path) -> None:
    for name in ("memory/own", "pids", "cpu,cpuacct/own"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    own = "5:memory:/own\n4:cpu,cpuacct:/own\n3:pids:/docker/abc\n1:name=systemd:/x\n0::/\n"
    found = {tuple(p.controllers): str(p.folder.relative_to(tmp_path)) for p in parents(tmp_path, own)}
    assert found == {("memory",): "memory/own", ("cpu",): "cpu/own", ("pids",): "pids"}
    assert parents(tmp_path, "5:memory:/own\n") == ()  # memory alone is not enough


def test_settings_of_both_versions() -> None:
    parent = Parent(folder=Path("/"), controllers=frozenset({"memory", "pids", "cpu"}), v2=True)
    assert settings(parent, 1 << 20, 7, 0.5) == {
        "memory.max": "1048576",
        "memory.swap.max": "0",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }
    legacy = Parent(folder=Path("/"), controllers=frozenset({"cpu"}), v2=False)
    assert settings(legacy, 1, 1, 2.0) == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "200000"}
    assert settings(legacy, 1, 1, None) == {}


def test_clean_removes_only_what_the_dead_left(tmp_path: Path) -> None:
    mine = cgroup._name(os.getpid())
    dead = mine.rpartition("-")[0] + "-1"  # our number, but of a process that started at another time
    elsewhere = "plateau-1-999999-5"
    for name in (mine, dead, elsewhere):
        (tmp_path / "memory" / f"{name}-0").mkdir(parents=True)
        (tmp_path / "pids" / "deep" / f"{name}-0").mkdir(parents=True)
    assert cgroup.clean(tmp_path) == 1
    left = {path.name for path in tmp_path.rglob("plateau-*")}
    assert left == {f"{mine}-0", f"{elsewhere}-0"}  # another pid namespace's is not ours to judge


@pytest.fixture
def limited() -> BubblewrapBackend:
    backend = available("bubblewrap")
    assert isinstance(backend, BubblewrapBackend)
    if cgroup.note().startswith("none"):
        pytest.skip(f"no control groups here: {cgroup.note()}")
    return backend


def own_groups() -> set[Path]:
    return set(Path("/sys/fs/cgroup").glob(f"**/{cgroup._name(os.getpid())}-*"))


@pytest.mark.bwrap
def test_a_box_is_in_a_group_and_takes_it_along(limited: BubblewrapBackend) -> None:
    with closing(limited.open(SandboxSpec(pids=30, cpus=0.5))) as box:
        folders = own_groups()
        assert folders
        box.run("sleep 30 & sleep 30 &")
        held = [(folder / "cgroup.procs").read_text().split() for folder in folders]
        counts = {len(processes) for processes in held if processes}  # others are on their way out
        assert counts == {3}  # the guest and what it started
        assert box.run("echo alive").stdout == "alive\n"
    cgroup.create(memory_mb=1, pids=1, cpus=None).close()  # sweeps
    deadline = 100
    while own_groups() and (deadline := deadline - 1):
        subprocess.run(["sleep", "0.05"], check=True)
        cgroup._sweep()
    assert not own_groups()


@pytest.mark.bwrap
def test_the_group_bounds_processes_and_address_space_is_free(limited: BubblewrapBackend) -> None:
    with closing(limited.open(SandboxSpec(pids=30, memory_mb=256))) as box:
        reserve = "import mmap; mmap.mmap(-1, 8 << 30); print('reserved')"
        assert box.run(["python3", "-c", reserve]).stdout == "reserved\n"
        done = box.run("for i in $(seq 100); do sleep 5 & done", timeout_s=3)
        assert "fork" in done.stderr.lower() or done.exit_code != 0
