"""What programs try on their siblings in a `ProgramBox`, and boxes whose harness dies.

What commands try in a `Sandbox` is in tests/escapes; what every backend must do, in `sandbox.conformance`.
"""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from plateau_bench.sandbox import Backend, Output, Program, ProgramResult, SandboxError, Status

ROOT = Path(__file__).parents[2]


def program(source: str, *args: object, cpu_s: float = 2.0) -> Program:
    return Program(source=source, entry_point="f", calls=[list(args)], cpu_s=cpu_s)


def grade(backend: Backend, *programs: Program) -> list[ProgramResult]:
    with closing(backend.open_program_box()) as box:
        return box.run(programs)


def value(result: ProgramResult) -> object:
    assert result.outputs is not None, result
    assert result.outputs[0].error is None, result
    return result.outputs[0].value


GOOD = program("def f(a):\n    return a + 1", 1)

# The pattern does not match its own text, so what it finds is somebody's secret.
SCAN = r"""
import ctypes, re
def f(own):
    found = set()
    for line in open("/proc/self/maps"):
        span, mode = line.split()[:2]
        if mode[:2] == "rw" and "vvar" not in line:
            low, high = (int(x, 16) for x in span.split("-"))
            found |= set(re.findall(rb"SECRET-\d{9}", ctypes.string_at(low, high - low)))
    return sorted(x.decode() for x in found)
"""


def test_memory_holds_no_other_program(backend: Backend) -> None:
    """Source, arguments and answers of earlier programs are not in a later program's memory."""
    pad = "#" * 3000  # longer than the scan, which would otherwise overwrite what was left there
    source = "#{} SECRET-{:09}\ndef f(a):\n    return a + a"
    lone = [program(source.format(pad, i), f"SECRET-{i + 50:09}") for i in range(9)]
    with closing(backend.open_program_box()) as box:
        assert len(box.run(lone)) == 9
        (result,) = box.run([program(SCAN, "SECRET-777777777")])
    assert value(result) == ["SECRET-777777777"]  # its own argument shows that the scan sees secrets


def test_only_process_1_is_in_sight(backend: Backend) -> None:
    source = (
        "import os\ndef f():\n    return [p for p in os.listdir('/proc') if p.isdigit()], str(os.getpid())"
    )
    seen, own = value(grade(backend, program(source))[0])  # type: ignore[misc]
    assert sorted(seen) == ["1", own]


def test_signals_hit_no_sibling(backend: Backend) -> None:
    """Programs that shoot at every process run beside innocent ones, on both lanes."""
    source = (
        "import os\ndef f():\n    for _ in range(300):\n        for p in [-1, *range(1, 99)]:\n"
        "            if p != os.getpid():\n                try: os.kill(p, 9 if _ % 2 else 17)\n"
        "                except OSError: pass\n"
    )
    results = grade(backend, *[program(source), GOOD] * 10)
    assert [value(r) for r in results[1::2]] == [2] * 10


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("while True: pass", Status.TIME_LIMIT),
        ("os.kill(os.getpid(), 9)", Status.CRASHED),
        ("os._exit(1)", Status.CRASHED),
        ("os.write(3, answer); os._exit(0)", Status.CRASHED),
    ],
)
def test_forged_answer_does_not_hide_the_end(backend: Backend, ending: str, status: Status) -> None:
    claim = b'{"status": "completed", "outputs": [[1]]}'
    source = f"import os\ndef f():\n    answer = {claim}\n    os.write(3, answer)\n    {ending}\n"
    forged, innocent = grade(backend, program(source, cpu_s=0.3), GOOD)
    assert forged.status is status
    assert value(innocent) == 2


def test_forged_answer_must_fit_the_calls(backend: Backend) -> None:
    claim = b'{"status": "completed", "outputs": [[1], [2]]}'
    source = f"import os\ndef f():\n    os.write(3, {claim})\n    os._exit(0)\n"
    assert grade(backend, program(source))[0].status is Status.CRASHED


PROC = """
import os
def f():
    seen = []
    for name in ("mem", "environ", "maps", "fd/0", "fd/10", "root/etc/passwd"):
        try:
            seen.append(open(f"/proc/1/{name}", "rb").read(9).decode())
        except OSError as e:
            seen.append(e.errno)
    for path in ("/proc/1/oom_score_adj", "/proc/sys/kernel/pid_max", "/proc/sysrq-trigger"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            seen.append(path)
        except OSError as e:
            seen.append(e.errno)
    return seen, len(open("/proc/1/stat").read())
"""


def test_proc_shows_nothing_of_the_guest(backend: Backend) -> None:
    seen, open_to_all = value(grade(backend, program(PROC))[0])  # type: ignore[misc]
    assert set(seen) <= {1, 2, 13, 30, "/proc/sys/kernel/pid_max"}  # that one is the box's own namespace's
    assert open_to_all > 0  # numbers are there for everybody


SHARED = """
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
def f(create):
    flag, mode = (os.O_CREAT | os.O_RDWR, 0o1666) if create else (os.O_RDWR, 0o666)
    number = 240 if os.uname().machine == "x86_64" else 180
    ways = dict(posix=libc.shm_open(b"/leak", flag, 0o666), key=libc.shmget(0x706C, 4096, mode),
                semaphore=libc.semget(0x706C, 1, mode), messages=libc.msgget(0x706C, mode),
                queue=libc.syscall(number, b"leak", flag, 0o666, None))
    return {name: found >= 0 for name, found in ways.items()}
"""


def test_no_memory_or_queue_is_shared(backend: Backend) -> None:
    """What would outlive a program cannot even be made."""
    planted, found = grade(backend, program(SHARED, True), program(SHARED, False))
    assert set(value(planted).values()) == {False}  # type: ignore[attr-defined]
    assert set(value(found).values()) == {False}  # type: ignore[attr-defined]


def test_a_memory_file_does_not_outlive_its_program(backend: Backend) -> None:
    hold = "import os\ndef f():\n    fd = os.memfd_create('x')\n    os.write(fd, b'secret')\n    return fd"
    look = """
import os
def f():
    found = []
    for fd in range(64):
        try:
            found.append((fd, os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]))
        except OSError:
            pass
    return found
"""
    held, seen = grade(backend, program(hold), program(look))
    assert isinstance(value(held), int)
    assert {kind for fd, kind in value(seen) if fd != 3} <= {"/dev/null"}  # type: ignore[attr-defined]
    assert dict(value(seen))[3] == "pipe"  # type: ignore[call-overload]


def test_locks_hold_up_nobody(backend: Backend) -> None:
    """Locks on what every lane sees, held as long as a program may live, on both lanes."""
    lock = """
import fcntl, glob, os, time
def f():
    names = glob.glob("/usr/lib/python3*/*.py")[:40] + ["/bin/sh", "/usr/bin/env"]
    held = [open(name, "rb") for name in names]
    for file in held:
        try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError: pass
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
"""
    use = "def f(a):\n    import csv, html.parser, tomllib\n    return a + 1"
    results = grade(backend, *[program(lock), program(use, 1)] * 6)
    assert [value(r) for r in results[1::2]] == [2] * 6


def test_idle_processors_are_shared(backend: Backend) -> None:
    """Programs that burn all their time, in threads of top priority, cost their siblings none of theirs."""
    burn = """
import os, threading
def f():
    for take in (lambda: os.nice(-20), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))):
        try: take()
        except OSError: pass
    for _ in range(8): threading.Thread(target=f).start() if threading.active_count() < 9 else None
    while True: pass
"""
    exact = program("def f(a):\n    return sum(range(200_000)) and a + 1", 1, cpu_s=0.5)
    results = grade(backend, *[program(burn, cpu_s=0.3), exact] * 6)
    assert {r.status for r in results[::2]} == {Status.TIME_LIMIT}
    assert [value(r) for r in results[1::2]] == [2] * 6


def test_the_answers_of_others_are_out_of_reach(backend: Backend) -> None:
    """A program has one pipe, its own; closing, filling or poisoning it spoils no other answer."""
    spoil = """
import os
def f():
    for fd in range(64):
        try: os.write(fd, b"\\0" * 100 + b'R{"status": "completed", "outputs": [[7]]}')
        except OSError: pass
    os.closerange(0, 64)
"""
    results = grade(backend, *[program(spoil), GOOD] * 6)
    assert {r.status for r in results[::2]} == {Status.CRASHED}
    assert [value(r) for r in results[1::2]] == [2] * 6


def test_full_disk_is_emptied(backend: Backend) -> None:
    """A program fills the disk with files and a very deep tree; the next finds it empty."""
    source = """
import os
def f():
    try:
        for _ in range(1500):
            os.mkdir("d"); os.chdir("d")
        for i in range(3000):
            open(str(i), "wb").write(b"x" * 10000)
    except OSError as e:
        return e.errno
"""
    room = "def f():\n    return open('big', 'wb').write(b'x' * 900_000)"
    assert [value(r) for r in grade(backend, program(source), program(room))] == [28, 900_000]


def test_box_outlives_a_crowd_of_bombs(backend: Backend) -> None:
    bombs = [
        "import os\nwhile True: os.fork()",
        "x = [bytearray(10**7) for _ in range(10**4)]",
        "import threading\nwhile True: threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
        "import os\nfor fd in range(4096): os.dup(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()",
        "x = 10 ** 10 ** 10",
        "import os\nos.abort()",
    ]
    results = grade(backend, *[p for b in bombs for p in (program(b, cpu_s=0.2), GOOD)])
    assert Status.COMPLETED not in {r.status for r in results[::2]}
    assert [value(r) for r in results[1::2]] == [2] * len(bombs)


@pytest.mark.slow
def test_endless_sleep_ends(backend: Backend) -> None:
    result, innocent = grade(backend, program("import time\ntime.sleep(10**6)"), GOOD)
    assert result.status is Status.TIME_LIMIT
    assert value(innocent) == 2


def test_a_stopped_program_does_not_hold_its_lane(backend: Backend) -> None:
    stop = program("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)")
    started = time.monotonic()
    results = grade(backend, stop, GOOD, stop, GOOD)
    assert [r.status for r in results[::2]] == [Status.TIME_LIMIT] * 2
    assert [value(r) for r in results[1::2]] == [2, 2]
    assert time.monotonic() - started < 30


def test_box_lives_on_when_its_thread_ends(backend: Backend) -> None:
    boxes = []
    opener = threading.Thread(target=lambda: boxes.append(backend.open()))
    opener.start()
    opener.join()
    time.sleep(0.2)
    with closing(boxes[0]) as box:
        assert box.run("echo alive").stdout == "alive\n"


def test_killed_harness_leaves_no_box(backend: Backend) -> None:
    """SIGKILL of the harness ends its boxes, busy or idle."""
    script = """
import sys, threading, time
from plateau_bench.sandbox import SandboxSpec, open_backend
backend = open_backend(sys.argv[1], workers=1)
spec = SandboxSpec(workdir=sys.argv[2])
busy, idle = backend.open(spec), backend.open(spec)
threading.Thread(target=lambda: busy.run("sleep 60")).start()
time.sleep(0.3)
print("up", flush=True)
time.sleep(60)
"""
    mark = f"/work-{os.getpid()}"
    command = [sys.executable, "-c", script, backend.name, mark]
    harness = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert harness.stdout is not None
    assert harness.stdout.readline() == b"up\n"
    assert len(guests(mark)) == 2
    harness.kill()
    harness.wait()
    harness.stdout.close()
    deadline = time.monotonic() + 20
    while guests(mark):
        assert time.monotonic() < deadline, "boxes outlived their harness"
        time.sleep(0.1)


def guests(mark: str) -> list[str]:
    """Guests on this machine with these words in their configuration."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().decode(errors="replace"))
    return [line for line in lines if line.startswith("python3") and mark in line]


def test_dead_box_is_an_error_not_a_failed_command(backend: Backend) -> None:
    box = backend.open()
    threading.Timer(0.5, box.close).start()
    with pytest.raises(SandboxError):
        box.run("sleep 30")


def test_program_users_differ_with_privilege(backend: Backend) -> None:
    """In docker every program has a user of its own; in bubblewrap they share one, one after another."""
    users = {value(r) for r in grade(backend, *[program("import os\ndef f(): return os.getuid()")] * 6)}
    assert 0 not in users
    assert len(users) >= (3 if backend.name == "docker" else 1)


def test_answers_have_a_size(backend: Backend) -> None:
    """What is too large is an error of the call, whether by count, by bytes, or only once it is encoded."""
    source = "def f(k):\n    return [[0] * 300_000, 'x' * 10**6, '\u20ac' * 400_000, 'x' * 10_000][k]"
    calls = [[0], [1], [3]]
    (result, wide) = grade(backend, Program(source=source, entry_point="f", calls=calls), program(source, 2))
    assert result.outputs == (
        Output(error="unfit value: too large"),
        Output(error="unfit value: too large"),
        Output(error="unfit value: too large"),
    )
    assert wide.outputs == (Output(error="unfit value: too large together"),)


def test_answers_are_values(backend: Backend) -> None:
    """Outputs are rebuilt as plain data, so nothing of the program's own compares them."""
    source = "class T(tuple):\n    __eq__ = lambda s, o: True\ndef f(): return T((1,))"
    assert grade(backend, program(source))[0].outputs == (Output(error="unfit value: T"),)
