"""What hostile code tries, one property per test, beyond what `sandbox.conformance` asks of every backend."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sandbox import Backend, Output, Program, ProgramResult, SandboxError, SandboxSpec, Status

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


def test_daemon_dies_with_the_time_limit(backend: Backend) -> None:
    daemon = (
        "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "while True:\n    open('/work/beat', 'a').write('x'); time.sleep(0.02)\n"
    )
    with closing(backend.open()) as box:
        box.write("daemon.py", daemon.encode())
        assert box.run("python3 daemon.py; sleep 30", timeout_s=1.0).timed_out
        before = box.read("beat")
        assert before
        assert box.run("sleep 0.3; cat beat").stdout.encode() == before


def test_endless_output_ends_with_the_limit(backend: Backend) -> None:
    with closing(backend.open(SandboxSpec(output_kb=8))) as box:
        done = box.run("yes", timeout_s=1.0)
        assert done.timed_out
        assert done.truncated
        assert len(done.stdout) == 8192


def test_closed_streams_do_not_end_a_command(backend: Backend) -> None:
    with closing(backend.open()) as box:
        assert box.run("exec <&- >&- 2>&-; sleep 0.3; exit 4").exit_code == 4


def test_paths_of_odd_names_are_refused(backend: Backend) -> None:
    with closing(backend.open()) as box:
        before = box.snapshot()
        box.run("touch \"$(printf 'bad\\377name')\" 'new\nline'; mkdir -m 0 shut; ln -s .. up")
        diff = box.diff(before)
    assert set(diff.written) == {"new\nline"}
    assert {"shut/", "up"} < set(diff.refused)
    assert len(diff.refused) == 3


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
from sandbox import SandboxSpec, open_backend
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
