"""What every program box must do; the second half of `conformance`."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from plateau_bench.sandbox.base import Backend, Output, Program, ProgramResult, Status
from plateau_bench.sandbox.checks.commands import SANDBOX_CHECKS, Check, must


def _program(source: str, *firsts: object, cpu_s: float = 1.0) -> Program:
    return Program(source=source, entry_point="f", calls=[[x] for x in firsts], cpu_s=cpu_s)


def _grade(backend: Backend, *programs: Program) -> list[ProgramResult]:
    with closing(backend.open_program_box()) as box:
        return box.run(programs)


def answers_keep_types(backend: Backend) -> None:
    """Every plain value comes back equal and of exactly its type, and arguments are fresh for each call."""
    values: list[object] = [0, 1, True, False, None, 1.0, -0.0, 1e308, 10**300, "", "é\ud800\0"]
    values += [[], [[1], []], (), (1,), {1: (2, [3])}, {"t": [1]}, {(1, 2): 0}]
    with_types = f"def f(i):\n    return V[i]\nV = {values!r}"
    (result,) = _grade(backend, _program(with_types, *range(len(values))))
    must(result.outputs is not None and len(result.outputs) == len(values), "every call is answered", result)
    for value, output in zip(values, result.outputs or (), strict=True):
        same = repr(value) == repr(output.value) and type(value) is type(output.value)
        must(same and output.error is None, f"{value!r} comes back as it is", output)
    (result,) = _grade(backend, _program("def f(a):\n    a.append(1)\n    return a", [], [], [5]))
    fresh = (Output(value=[1]), Output(value=[1]), Output(value=[5, 1]))
    must(result.outputs == fresh, "fresh arguments", result)


def pretenders_are_errors(backend: Backend) -> None:
    """A value of any other type is an error, however equal it claims to be."""
    source = "class I(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\n"
    source += (
        "def f(k):\n    return [I(1), [I(1)], {I(1): 1}, {1}, b'x', 1j, f, float, 10**9999, 'x'*10**6*9][k]\n"
    )
    (result,) = _grade(backend, _program(source, *range(10)))
    errors = [o.error is not None and o.value is None for o in result.outputs or ()]
    must(errors == [True] * 10, "only plain data is an answer", result)


def endings_are_told(backend: Backend) -> None:
    """Each way to end has its status, and none of them disturbs the neighbours."""
    good = _program("def f(a):\n    return a + 1", 1)
    cases = [
        (Status.LOAD_ERROR, "def f(:"),
        (Status.LOAD_ERROR, "raise SystemExit"),
        (Status.LOAD_ERROR, "g = 1"),
        (Status.TIME_LIMIT, "def f(a):\n    while True: pass"),
        (Status.TIME_LIMIT, "while True: pass"),
        (Status.MEMORY_LIMIT, "def f(a): return 'x' * 10**10"),
        (Status.CRASHED, "import os\ndef f(a): os._exit(0)"),
        (Status.CRASHED, "import os\ndef f(a): os.kill(os.getpid(), 9)"),
        (Status.CRASHED, "import os\nos.closerange(0, 99)\ndef f(a): return 1"),
        (Status.CRASHED, "import os\ndef f(a):\n    while True: os.write(3, b'x' * 65536)"),
        (Status.COMPLETED, "import sys\ndef f(a): sys.exit(1)"),
        (Status.COMPLETED, "def f(a): return f(a)"),
        (Status.COMPLETED, "def f(a):\n    print('x' * 10**6)\n    return input"),
    ]
    programs = [p for _, source in cases for p in (_program(source, 1, cpu_s=0.3), good)]
    results = _grade(backend, *programs)
    for (status, source), result in zip(cases, results[::2], strict=True):
        must(result.status is status, f"{source!r} ends as {status}", result)
        answered = result.outputs is not None
        must(answered == (status is Status.COMPLETED), "outputs only when completed", result)
    for result in results[1::2]:
        must(result.outputs == (Output(value=2),), "a neighbour is not disturbed", result)


def cpu_not_wall(backend: Backend) -> None:
    """Waiting does not use up a program's time; computing does, wherever it happens."""
    sleeper = "import time\ndef f(a):\n    time.sleep(1.0)\n    return a"
    threads = (
        "import threading\ndef f(a):\n    ts = [threading.Thread(target=g) for _ in range(3)]\n"
        "    [t.start() for t in ts]\n    [t.join() for t in ts]\ndef g():\n    while True: pass"
    )
    stubborn = (
        "import signal\ndef f(a):\n    signal.setitimer(signal.ITIMER_PROF, 0)\n"
        "    signal.signal(signal.SIGPROF, signal.SIG_IGN)\n    while True: pass"
    )
    slept, threaded, disarmed = _grade(
        backend, *(_program(s, 7, cpu_s=0.3) for s in (sleeper, threads, stubborn))
    )
    must(slept.outputs == (Output(value=7),), "sleeping is not computing", slept)
    must(threaded.status is Status.TIME_LIMIT, "threads count", threaded)
    must(disarmed.status is Status.TIME_LIMIT, "a disarmed timer does not help", disarmed)


def order_is_kept(backend: Backend) -> None:
    """Many programs, of mixed size and speed: results come in the order of the programs."""
    sizes = [i * 997 % 60_000 for i in range(120)]
    source = "def f(a):\n    for _ in range({}): pass\n    return [{}, len(a)]"
    programs = [_program(source.format(i % 7 * 3000, i), "x" * size) for i, size in enumerate(sizes)]
    for i, result in enumerate(_grade(backend, *programs)):
        must(result.outputs == (Output(value=[i, sizes[i]]),), f"result {i} is in place", result)
    must(_grade(backend) == [], "no programs, no results", "some")


def many_callers(backend: Backend) -> None:
    """One box serves many threads, each getting its own answers."""
    with closing(backend.open_program_box()) as box, ThreadPoolExecutor(6) as threads:
        work = [[_program(f"def f(a):\n    return a * {i}", n) for n in range(5)] for i in range(12)]
        for i, results in enumerate(threads.map(box.run, work)):
            own = [(Output(value=n * i),) for n in range(5)]
            must([r.outputs for r in results] == own, "own answers", results)


def nothing_is_left(backend: Backend) -> None:
    """What a program writes, however it hides it, is gone before the next one starts."""
    plant = """
import os
def f(a):
    open("here", "w").write("x")
    os.makedirs("d/" * 60)
    os.chmod("d", 0)
    done = []
    for top in ("/tmp", "/dev/shm", "/dev/mqueue", "/dev", "/var/tmp", "/run", "/work", "/"):
        try:
            open(top + "/leak", "w").write("x")
            done.append(top)
        except OSError:
            pass
    return done
"""
    probe = """
import os
def f(a):
    tops = (".", "/tmp", "/dev/shm", "/dev/mqueue", "/var/tmp", "/run", "/work")
    return [t + "/" + n for t in tops if os.path.isdir(t) for n in os.listdir(t)]
"""
    with closing(backend.open_program_box()) as box:
        clean = box.run([_program(probe, 0)])
        planted = [box.run([_program(plant, 0)]) for _ in range(3)]
        after = box.run([_program(probe, 0)])
    must(planted[0][0].outputs == (Output(value=["/tmp"]),), "only /tmp can be written", planted)
    seen = [
        sorted(n.rstrip("0123456789") for n in r[0].outputs[0].value) for r in (clean, after) if r[0].outputs
    ]
    must(len(seen) == 2 and seen[0] == seen[1], "the next program finds what the first one found", seen)
    must([n for n in seen[0] if n[:2] in ("./", "/t", "/w")] == ["/tmp/"], "an empty folder of its own", seen)


def programs_are_walled(backend: Backend) -> None:
    """No processes, no exec, no IPC that lasts, no hold on the guest, nothing in the environment."""
    source = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def refused(call):
    try:
        return call() == -1
    except OSError:
        return True
def f(a):
    tries = {
        "fork": os.fork, "exec": lambda: os.execv("/bin/true", ["true"]),
        "shmget": lambda: libc.shmget(1, 4096, 0o1666), "msgget": lambda: libc.msgget(1, 0o1666),
        "semget": lambda: libc.semget(1, 1, 0o1666), "mq": lambda: libc.mq_open(b"/x", 66, 0o666, None),
        "kill": lambda: os.kill(1, 9) or 1, "nice": lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
        "prlimit": lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)),
        "affinity": lambda: os.sched_setaffinity(1, {0}), "unshare": lambda: libc.unshare(0x10000000),
        "ptrace": lambda: libc.ptrace(16, 1, 0, 0), "guest": lambda: os.listdir("/proc/1/fd") and 1,
    }
    return [n for n, call in tries.items() if not refused(call)] + list(os.environ)
"""
    (result,) = _grade(backend, _program(source, 0))
    open_doors = result.outputs[0].value if result.outputs else result
    # a kill of process 1 may vanish silently
    must(open_doors in ([], ["kill"]), "every door is shut", open_doors)


PROGRAM_CHECKS: tuple[Check, ...] = (
    answers_keep_types,
    pretenders_are_errors,
    endings_are_told,
    cpu_not_wall,
    order_is_kept,
    many_callers,
    nothing_is_left,
    programs_are_walled,
)
CHECKS = SANDBOX_CHECKS + PROGRAM_CHECKS
