"""Process 1 of a box, which holds the line to the harness, cannot be read, steered, starved or ended."""

import pytest

from plateau_bench.sandbox import Sandbox

from .conftest import attempt

pytestmark = pytest.mark.escapes


def alive(box: Sandbox) -> None:
    assert box.run("echo alive").stdout == "alive\n"


def test_tracing(box: Sandbox) -> None:
    code = """
child = subprocess.Popen(["sleep", "60"])
found = [call("ptrace", 16, 1, 0, 0), call("ptrace", 0x4206, 1, 0, 0), call("ptrace", 16, child.pid, 0, 0)]
child.kill()
"""
    attach, seize, own = attempt(box, code)
    assert {attach, seize} == {"EPERM"}
    assert own in (0, "EPERM")  # engines differ on tracing one's own; both are fine
    alive(box)


def test_memory(box: Sandbox) -> None:
    code = """
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
target = ctypes.create_string_buffer(b"here")
buffer = ctypes.create_string_buffer(8)
mine, theirs = Iovec(ctypes.addressof(buffer), 4), Iovec(ctypes.addressof(target), 4)
def reach(pid):
    spans = ctypes.byref(mine), 1, ctypes.byref(theirs), 1
    return [call(f"process_vm_{verb}v", pid, *spans, 0) for verb in ("read", "write")]
found = [reach(1), reach(os.getpid())]
"""
    guest, own = attempt(box, code)
    assert set(guest) <= {"EPERM", "ENOSYS"}
    assert own in ([0, 0], ["EPERM"] * 2, ["ENOSYS"] * 2)


@pytest.mark.parametrize("way", ["kill", "group", "queue", "pidfd", "everyone"])
def test_signals(box: Sandbox, way: str) -> None:
    """Every signal there is, in every way of sending one."""
    code = """
way = sys.argv[1]
for number in [n for n in range(1, 65) if n not in (32, 33)]:
    if way == "everyone" and number == signal.SIGKILL:
        continue  # that one takes this process along; the next command tries it
    if way != "kill":
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        if way == "kill":
            os.kill(1, number)
        elif way == "group":
            os.killpg(1, number)
        elif way == "queue":
            libc.sigqueue(1, number, None)
        elif way == "pidfd":
            signal.pidfd_send_signal(os.pidfd_open(1), number)
        elif number not in (signal.SIGSTOP,):
            os.kill(-1, number)
    except OSError:
        pass
found = "sent"
"""
    assert attempt(box, code, way) == "sent"
    if way == "everyone":
        box.run("kill -STOP -1; kill -KILL -1")
    alive(box)


def test_signals_by_the_kernel(box: Sandbox) -> None:
    """A file or timer that signals process 1 on somebody's behalf."""
    code = """
import fcntl
r, w = os.pipe()
found = []
for number in (9, 19, 15, 0):
    try:
        fcntl.fcntl(r, fcntl.F_SETOWN, 1)
        fcntl.fcntl(r, 10, number)  # F_SETSIG
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        os.write(w, b"x")
        found.append(number)
    except OSError:
        pass
"""
    assert attempt(box, code)
    alive(box)


def test_limits_of_the_guest(box: Sandbox) -> None:
    """An equal user may change another process's limits: without files or CPU time the guest would fail."""
    code = """
which = dict(files=resource.RLIMIT_NOFILE, cpu=resource.RLIMIT_CPU, memory=resource.RLIMIT_AS)
found = {name: trial(resource.prlimit, 1, limit, (0, 0)) for name, limit in which.items()}
child = subprocess.Popen(["sleep", "60"])
found["own"] = trial(resource.prlimit, child.pid, resource.RLIMIT_NOFILE, (50, 50))
child.kill()
"""
    found = attempt(box, code)
    assert found.pop("own") == 0
    assert set(found.values()) == {"EPERM"}
    alive(box)


def test_priority_of_the_guest(box: Sandbox) -> None:
    code = """
number = 30 if NUMBERS is ARM else 251
found = [trial(os.setpriority, os.PRIO_PROCESS, 1, 19), trial(os.setpriority, os.PRIO_USER, 0, 19),
         trial(os.sched_setaffinity, 1, {0}),
         trial(os.sched_setscheduler, 1, os.SCHED_IDLE, os.sched_param(0)),
         -libc.syscall(number, 1, 1, 3 << 13), -libc.syscall(number, 3, 1000, 3 << 13)]
own = [trial(os.setpriority, os.PRIO_PROCESS, 0, 19)]
own += [trial(os.sched_setaffinity, 0, os.sched_getaffinity(0))]
found = [found, own]
"""
    found, own = attempt(box, code)
    assert own == [0, 0]
    assert 0 not in found
    alive(box)


def test_files_of_the_guest_cannot_be_taken(box: Sandbox) -> None:
    code = """
handle = os.pidfd_open(1)
found = [call("pidfd_getfd", handle, n, 0) for n in range(20)]
found += [content(f"/proc/1/fd/{n}") for n in range(20)]
"""
    assert set(attempt(box, code)) <= {"EPERM", "EACCES", "ENOSYS"}


def test_channel_cannot_be_garbled(box: Sandbox) -> None:
    """A command writes answers of its own into every file it has, then closes them all."""
    code = """
head = json.dumps({"exit": 0, "out": 6, "duration": 0.0, "timed_out": False, "truncated": False}).encode()
fake = struct.pack(">II", len(head), 6) + head + b"forged"
for fd in range(3, 1024):
    try:
        os.write(fd, fake)
    except OSError:
        pass
os.write(1, fake)
found = None
print("\\n@null", flush=True)
os.closerange(0, 1024)
os._exit(0)
"""
    attempt(box, code)
    done = box.run("echo real; exit 7")
    assert (done.exit_code, done.stdout) == (7, "real\n")


def test_closed_streams_do_not_end_a_command(box: Sandbox) -> None:
    assert box.run("exec <&- >&- 2>&-; sleep 0.3; exit 4").exit_code == 4


def test_nobody_pretends_to_be_the_guest(box: Sandbox) -> None:
    """A second copy of the guest, or its text, finds nothing to answer to."""
    code = """
found = [os.getppid(), content("/proc/1/cmdline", 30), trial(os.listdir, "/proc/1/task/1/fd")]
"""
    parent, line, files = attempt(box, code)
    assert parent == 1
    assert line.startswith("python3")
    assert files == "EACCES"


def test_file_descriptors_run_out(box: Sandbox) -> None:
    """Many processes hold as many files as they may, in the background."""
    code = """
full = open("full", "ab", buffering=0)
for _ in range(20):
    if os.fork() == 0:
        try:
            while True:
                os.open("/dev/null", os.O_RDONLY)
        except OSError:
            full.write(b"x")
        time.sleep(60)
        os._exit(0)
deadline = time.monotonic() + 20
while time.monotonic() < deadline and os.path.getsize("full") < 20:
    time.sleep(0.05)
found = os.path.getsize("full")
"""
    assert attempt(box, code) == 20
    alive(box)
    box.write("note", b"kept")
    assert box.read("note") == b"kept"
