"""Whatever lies in the workspace: moving files and telling what changed stays safe, bounded and quick."""

import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from plateau_bench.sandbox import Backend, Diff, Sandbox, SandboxSpec

from .conftest import attempt

pytestmark = pytest.mark.escapes


def quick_diff(box: Sandbox, since: dict[str, str], limit_s: float = 30.0) -> Diff:
    """A diff, in time, after which the box still works."""
    started = time.monotonic()
    found = box.diff(since)
    box.snapshot()
    assert time.monotonic() - started < limit_s
    assert box.run("echo alive").stdout == "alive\n"
    return found


@pytest.mark.parametrize("target", ["/etc", "/proc/1", "/proc/self/root/etc", "../../../../etc", "/"])
def test_links_to_folders_are_not_entered(box: Sandbox, target: str) -> None:
    box.run(["ln", "-s", target, "way"])
    box.run("echo inside > plain")
    found = quick_diff(box, {})
    assert dict(found.written) == {"plain": b"inside\n"}
    assert found.refused == ("way",)
    assert set(box.snapshot()) == {"plain"}


@pytest.mark.parametrize("path", ["link", "folder/link"])
def test_a_link_is_neither_read_nor_written_through(box: Sandbox, path: str) -> None:
    box.run(f"mkdir folder; echo untouched > /tmp/target; ln -s /tmp/target {path}")
    with pytest.raises(OSError):
        box.read(path)
    box.write(path, b"new")
    assert box.read(path) == b"new"
    assert box.run("cat /tmp/target").stdout == "untouched\n"


def test_no_path_leads_to_the_host(box: Sandbox, tmp_path: Path) -> None:
    """Paths are the box's own: the harness's files are not at the end of any."""
    secret = tmp_path / "secret"
    secret.write_text("host")
    up = "../" * 40
    box.run(["ln", "-s", "/proc/self/root", "root"])
    ways = [
        str(secret),
        up + str(secret),
        f"root{secret}",
        f"/proc/self/root{secret}",
        f"/proc/1/root{secret}",
    ]
    for path in ways:
        with pytest.raises(OSError):
            box.read(path)
    for path in ways:
        with suppress(OSError):
            box.write(path, b"box")
    assert secret.read_text() == "host"


def test_a_hard_link_to_the_system(box: Sandbox) -> None:
    box.run("ln /etc/passwd passwd; ln /usr/bin/env env; ln /proc/self/environ environ; ln /proc/1/mem mem")
    assert not box.snapshot()
    assert quick_diff(box, {}) == Diff(written={})


def test_special_files_do_not_hang(box: Sandbox) -> None:
    code = """
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink("/dev/zero", "zero")
os.symlink("loop", "loop")
os.symlink("/dev/stdin", "stdin")
found = None
"""
    attempt(box, code)
    assert set(quick_diff(box, {}).refused) == {"pipe", "socket", "zero", "loop", "stdin"}
    for name in ("pipe", "socket", "zero", "loop", "stdin", "/dev/zero", "/dev/tty", "/proc/kmsg"):
        with pytest.raises((OSError, ValueError)):
            box.read(name)


def test_sparse_files_cost_nothing(backend: Backend) -> None:
    """A file of a terabyte takes no room and must take no time; nor must many that are large together."""
    with closing(backend.open(SandboxSpec(disk_mb=1 << 21))) as box:
        code = """
found = []
for name, size in [("huge", 1 << 40), *((f"part{i}", 99_000_000) for i in range(200))]:
    with open("/work/" + name, "wb") as file:
        try:
            file.truncate(size)
        except OSError as e:
            found.append(errno.errorcode[e.errno])
"""
        before = box.snapshot()
        attempt(box, code)
        found = quick_diff(box, dict(before), 60)
    assert not found.written
    assert len(found.refused) >= 200


def test_changed_large_files_are_noticed(backend: Backend) -> None:
    """What is too large to be read is told by its size and time of change, which a box cannot set back."""
    with closing(backend.open(SandboxSpec(disk_mb=512, memory_mb=1024))) as box:
        box.run("truncate -s 200M big; truncate -s 200M same")
        before = dict(box.snapshot())
        box.run("touch -r big stamp; printf x | dd of=big conv=notrunc 2>&1; touch -r stamp big; rm stamp")
        assert quick_diff(box, before).refused == ("big",)


def test_names_of_every_kind(box: Sandbox) -> None:
    code = r"""
os.chdir("/work")
names = [b"new\nline", b"\xff\xfe", b"tab\t", b"\x1b[2J", b"...", b"-rf", b"a b", b"x" * 255]
for name in [*names, "\u202egpj".encode()]:
    open(name, "wb").write(b"x")
os.makedirs(b"\xff/below")
os.mkdir("shut", 0)
found = None
"""
    attempt(box, code)
    found = quick_diff(box, {})
    assert set(found.written) == {
        "new\nline",
        "tab\t",
        "\x1b[2J",
        "...",
        "-rf",
        "a b",
        "\u202egpj",
        "x" * 255,
    }
    assert len(found.refused) == 3  # what is not text, the folder of that name, and one that is shut
    assert all(path.isascii() and path.endswith("/") for path in found.refused)


def test_very_deep_folders(box: Sandbox) -> None:
    code = """
os.chdir("/work")
for _ in range(4096):
    os.mkdir("d")
    os.chdir("d")
open("bottom", "w").close()
found = None
"""
    attempt(box, code)
    box.write("top", b"x")
    found = quick_diff(box, {})
    assert dict(found.written) == {"top": b"x"}
    (refused,) = found.refused
    assert set(refused.split("/")) == {"d", ""}


def test_a_great_many_files(backend: Backend) -> None:
    """More entries than a diff looks at: it says so, reports nothing deleted, and the box lives."""
    code = """
os.chdir("/work")
for i in range(130_000):
    os.close(os.open(f"n{i}", os.O_CREAT | os.O_WRONLY))
found = None
"""
    with closing(backend.open(SandboxSpec(disk_mb=1024))) as box:
        box.write("zzz", b"last in order")
        before = dict(box.snapshot())
        attempt(box, code, timeout_s=120)
        found = quick_diff(box, before, 120)
    assert not found.deleted
    assert "./" in found.refused


def test_paths_that_are_long_together(box: Sandbox) -> None:
    """Long names below deep folders: the answer's size is bounded."""
    code = """
os.chdir("/work")
for _ in range(60):
    os.mkdir("f" * 250)
    os.chdir("f" * 250)
found = 0
for i in range(20_000):
    os.close(os.open(f"{i:05}" + "n" * 240, os.O_CREAT | os.O_WRONLY))
"""
    attempt(box, code, timeout_s=60)
    found = quick_diff(box, {}, 60)
    assert sum(map(len, found.written)) <= 16_000_000
    assert found.refused


def test_a_workspace_that_moves_while_it_is_read(box: Sandbox) -> None:
    """Folders swapped for links, files that grow and shrink, all while the guest walks."""
    code = """
if os.fork():
    found = None
else:
    for fd in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    os.chdir("/work")
    while True:
        for step in (lambda: os.mkdir("swap"), lambda: open("swap/passwd", "w").write("mine"),
                     lambda: os.unlink("swap/passwd"), lambda: os.rmdir("swap"),
                     lambda: os.symlink("/etc", "swap"), lambda: os.unlink("swap"),
                     lambda: open("grow", "ab").write(b"x" * 100_000), lambda: os.truncate("grow", 5)):
            trial(step)
"""
    attempt(box, code)
    for _ in range(30):
        found = quick_diff(box, {})
        assert set(found.written) <= {"swap/passwd", "grow"}
        assert found.written.get("swap/passwd", b"") in (b"", b"mine")


def test_files_of_the_box_keep_no_rights_outside(box: Sandbox) -> None:
    """Modes and owners stay inside: a diff carries bytes only."""
    box.run("printf x > s; chmod 6777 s")
    assert dict(quick_diff(box, {}).written) == {"s": b"x"}


def test_a_workspace_that_is_shut(box: Sandbox) -> None:
    """The box's user takes away its own rights; the harness still sees what there is."""
    box.run("echo x > f; chmod 0 /work")
    assert dict(quick_diff(box, {}).written) == {"f": b"x\n"}
