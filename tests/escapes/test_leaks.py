"""What one box leaves behind is not in the next, nor beside it. Each plant is seen in its own box first."""

import os
from contextlib import closing

import pytest

from plateau_bench.sandbox import Backend, Sandbox

from .conftest import attempt

pytestmark = pytest.mark.escapes


def separate(backend: Backend, plant: str, probe: str, *args: object) -> None:
    """`probe` leaves something true in `found` in the box where `plant` ran, and nowhere else."""
    with closing(backend.open()) as beside, closing(backend.open()) as box:
        attempt(box, plant + "\nfound = None", *args)
        assert attempt(box, probe, *args), "the probe does not see what was planted"
        assert not attempt(beside, probe, *args), "seen in a box beside"
    with closing(backend.open()) as successor:
        assert not attempt(successor, probe, *args), "seen in the next box"


def test_files(backend: Backend) -> None:
    plant = """
for top in ("/work", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", "/etc", "/usr/lib", "/home", "/"):
    trial(lambda: open(top + "/leak-" + sys.argv[1], "w").close())
"""
    probe = """
found = [os.path.join(top, name) for top, folders, names in os.walk("/") if not top.startswith("/proc")
         for name in names if name == "leak-" + sys.argv[1]]
"""
    separate(backend, plant, probe, os.getpid())


def test_shared_memory_by_name(backend: Backend) -> None:
    code = "fd = libc.shm_open(b'/leak', {}, 0o600)\nfound = fd >= 0"
    separate(backend, code.format("os.O_CREAT | os.O_RDWR"), code.format("os.O_RDWR"))


@pytest.mark.parametrize("kind", ["shmget", "semget", "msgget"])
def test_system_v_ipc(backend: Backend, kind: str) -> None:
    arguments = {"shmget": "4096, {}", "semget": "1, {}", "msgget": "{}"}[kind]
    code = f"found = libc.{kind}(ctypes.c_int(0x706C6174), {arguments}) >= 0"
    separate(backend, code.format("0o1666"), code.format("0o666"))


def test_message_queues(backend: Backend) -> None:
    code = "found = libc.mq_open(b'/leak', {}, 0o600, None) >= 0"
    prepare = "libc = ctypes.CDLL('librt.so.1') if not hasattr(libc, 'mq_open') else libc\n"
    separate(backend, prepare + code.format("os.O_CREAT | os.O_RDWR"), prepare + code.format("os.O_RDWR"))


SERVE = """
server = socket.socket(socket.AF_UNIX)
server.bind("\\0leak")
server.listen(8)
tcp = socket.create_server(("127.0.0.1", 4599))
if os.fork() == 0:
    for fd in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    time.sleep(60)
    os._exit(0)
"""


@pytest.mark.parametrize("kind", ["abstract", "tcp"])
def test_sockets(backend: Backend, kind: str) -> None:
    probe = """
if sys.argv[1] == "abstract":
    found = trial(socket.socket(socket.AF_UNIX).connect, "\\0leak") == 0
else:
    found = trial(socket.socket().connect, ("127.0.0.1", 4599)) == 0
"""
    separate(backend, SERVE, probe, kind)


def test_processes_and_their_memory(backend: Backend) -> None:
    """A neighbour's processes are neither listed nor to be reached by number."""
    plant = """
if os.fork() == 0:
    for fd in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    os.execvp("sleep", ["sleep", "2222" + sys.argv[1]])
time.sleep(0.3)
"""
    probe = """
found = []
for pid in range(1, 40_000):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if ("2222" + sys.argv[1]).encode() in file.read() and pid != os.getpid():
                found.append(pid)
    except OSError:
        pass
found = [pid for pid in found if b"sleep" == open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0")[0]]
"""
    separate(backend, plant, probe, os.getpid())


def test_host_ids_differ(backend: Backend, box: Sandbox) -> None:
    """Limits that the kernel counts per user, as of processes, are not shared by two boxes."""
    eat = """
held = 0
try:
    for _ in range(300):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        held += 1
except OSError:
    pass
found = held
"""
    with closing(backend.open()) as other:
        box.write("eat.py", ("import os, time\n" + eat + "\nopen('held', 'w').write(str(found))\n").encode())
        box.run("python3 eat.py >/dev/null 2>&1")
        assert int(box.read("held")) > 50
        assert other.run("for i in $(seq 20); do sleep 1 & done; wait; echo free").stdout == "free\n"
