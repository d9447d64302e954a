"""Whatever a box uses up is its own; afterwards it answers, and its neighbours have noticed nothing."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxSpec

from .conftest import attempt

pytestmark = pytest.mark.escapes
SMALL = SandboxSpec(memory_mb=160, disk_mb=32, pids=48, output_kb=64)


@pytest.fixture
def small(backend: Backend) -> Iterator[Sandbox]:
    """A box of little room. Afterwards it must still answer, take a file and give it back."""
    with closing(backend.open(SMALL)) as box:
        yield box
        box.run("sleep 60", timeout_s=0.05)  # sweeps what is still running
        box.run("rm -rf /work/* /tmp/* /dev/shm/*")
        assert box.run("echo alive").stdout == "alive\n"
        box.write("note", b"kept")
        assert box.read("note") == b"kept"


@contextmanager
def neighbour(backend: Backend) -> Iterator[None]:
    """A second box, which must be able to work meanwhile."""
    with closing(backend.open()) as other:
        yield
        done = other.run(
            "for i in $(seq 30); do sleep 0.1 & done; wait; head -c 1000000 /dev/zero > f; wc -c < f"
        )
        assert done.stdout.strip() == "1000000"


@pytest.mark.parametrize(
    "bomb",
    [
        "x() { x | x & x; }; x",
        "python3 -c 'import os\nwhile True:\n try: os.fork()\n except OSError: pass'",
        "while :; do setsid sh -c \"trap '' TERM; sleep 100\" & done",
    ],
    ids=["shell", "python", "sessions"],
)
def test_fork_bomb(backend: Backend, small: Sandbox, bomb: str) -> None:
    with neighbour(backend):
        small.run(bomb, timeout_s=2)


def test_threads(small: Sandbox) -> None:
    code = """
import threading
threading.stack_size(65536)
found = 0
try:
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        found += 1
except RuntimeError:
    pass
"""
    assert 10 < attempt(small, code) < SMALL.pids


@pytest.mark.parametrize(
    "take",
    ["bytearray(2_000_000_000)", "b'x' * 900_000_000", "[b'x' * 1_000_000 for _ in range(900)]"],
    ids=["reserve", "touch", "pieces"],
)
def test_memory_of_one_process(small: Sandbox, take: str) -> None:
    done = small.run(["python3", "-c", f"x = {take}; print('held')"])
    assert done.exit_code != 0
    assert "held" not in done.stdout


def test_memory_of_many_processes(small: Sandbox) -> None:
    one = 'python3 -c \'x = b"x" * 60_000_000; import time; time.sleep(3); print("held")\''
    done = small.run(f"for i in $(seq 12); do {one} & done; wait")
    assert done.stdout.count("held") * 60 <= SMALL.memory_mb


@pytest.mark.parametrize("where", ["/work", "/tmp", "/dev/shm"])
def test_disk(backend: Backend, small: Sandbox, where: str) -> None:
    with neighbour(backend):
        done = small.run(f"cat /dev/zero > {where}/big; stat -c %s {where}/big", timeout_s=60)
    assert 1_000_000 <= int(done.stdout) <= 64 << 20


def test_every_disk_at_once(backend: Backend) -> None:
    """All that can be written is full: that is the box's own trouble, and not the end of it."""
    with closing(backend.open()) as box:  # the sizes that boxes have by default
        fill = "for d in /work /tmp /dev/shm; do cat /dev/zero > $d/big & done; wait"
        box.run(fill, timeout_s=120)
        done = box.run("python3 -c 'print(sum(range(10)))'; echo $?; rm -f /work/big /tmp/big /dev/shm/big")
        assert "0" in done.stdout.split() or "137" in done.stdout.split()
        assert box.run("echo alive").stdout == "alive\n"
        box.write("note", b"kept")


def test_many_small_files(backend: Backend, small: Sandbox) -> None:
    """Empty files take no room on a tmpfs, but memory of the kernel's."""
    code = """
found = 0
try:
    while found < 400_000:
        os.close(os.open(f"/work/{found}", os.O_CREAT | os.O_WRONLY))
        found += 1
except OSError:
    pass
"""
    with neighbour(backend):
        small.write("/tmp/many.py", ("import os\n" + code).encode())
        small.run("python3 /tmp/many.py", timeout_s=20)
        small.diff({})


@pytest.mark.parametrize("stream", [1, 2], ids=["stdout", "stderr"])
def test_output(small: Sandbox, stream: int) -> None:
    done = small.run(
        f"head -c 300000000 /dev/zero | tr '\\0' x >&{stream}; echo end >&{stream}", timeout_s=60
    )
    kept = done.stdout if stream == 1 else done.stderr
    assert done.exit_code == 0
    assert done.truncated
    assert len(kept) == SMALL.output_kb << 10
    assert kept.endswith("xend\n")


def test_output_of_the_forgotten(small: Sandbox) -> None:
    """A background process that floods its inherited streams holds up neither this command nor the next."""
    started = time.monotonic()
    small.run("yes & yes >&2 & echo done")
    assert small.run("echo next").stdout == "next\n"
    assert time.monotonic() - started < 15


def test_output_that_is_no_text(small: Sandbox) -> None:
    done = small.run("head -c 100000 /dev/urandom; printf '\\377\\376\\0\\033]0;x\\007'")
    assert done.exit_code == 0
    assert done.stdout.endswith("\ufffd\ufffd\0\x1b]0;x\x07")


def test_pipes(small: Sandbox) -> None:
    """Buffers in the kernel: pipes and socket pairs, filled and held by as many processes as there may be."""
    code = """
held = 0
if os.fork() == 0:
    for _ in range(30):
        if os.fork() == 0:
            break
    pairs = []
    try:
        while True:
            a, b = socket.socketpair()
            a.setblocking(False)
            pairs.append((a, b))
            while True:
                a.send(b"x" * 65536)
    except BlockingIOError:
        pass
    except OSError:
        time.sleep(60)
    os._exit(0)
time.sleep(2)
found = None
"""
    attempt(small, code)


def test_arguments_and_environment(backend: Backend) -> None:
    """A command line or environment too long for the kernel is a failed command, not a broken box."""
    with closing(backend.open(SandboxSpec(env={"LONG": "x" * 100_000}))) as box:
        assert box.run("echo ${#LONG}").stdout == "100000\n"
        done = box.run(["echo", *["x" * 100_000] * 60])
        assert done.exit_code == 127
        assert box.run(["echo", "x" * 500_000]).exit_code == 127
        assert box.run(["x" * 10_000]).exit_code == 127
        assert box.run("A=$(head -c 3000000 /dev/zero | tr '\\0' x); export A; env true").exit_code != 0
        assert box.run("echo alive").stdout == "alive\n"


def test_standard_input_of_any_size(small: Sandbox) -> None:
    """What a command does not read does not block it."""
    assert small.run("exit 5", stdin=b"x" * 20_000_000).exit_code == 5
    assert small.run("wc -c", stdin=b"x" * 20_000_000).stdout.strip() == "20000000"


def test_processor_is_shared(backend: Backend, small: Sandbox) -> None:
    """Busy loops in a box do not keep another from its turn."""
    small.run("for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done")
    with closing(backend.open()) as other:
        started = time.monotonic()
        assert other.run("python3 -c 'print(sum(range(100000)))'").exit_code == 0
        assert time.monotonic() - started < 30
