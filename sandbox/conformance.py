"""What every backend must do, as code: `for check in CHECKS: check(backend)`.

Each check opens its own boxes, takes about a second or less, and raises `Unfit` with a sentence when the
backend breaks the contract of `base`. Run by the tests and by `plateau sandbox doctor`; a new backend is
done when all of them pass.
"""

import time
from collections.abc import Callable
from contextlib import closing

from sandbox.base import Backend, Output, Program, ProgramResult, SandboxError, SandboxSpec, Status

Check = Callable[[Backend], None]


class Unfit(AssertionError):
    """A backend breaks the contract."""


def must(true: bool, sentence: str, found: object) -> None:
    if not true:
        raise Unfit(f"{sentence}; found: {str(found)[:500]}")


# --- sandboxes -----------------------------------------------------------------------------------------


def commands_run(backend: Backend) -> None:
    """Exit code, both streams, standard input, the shell, and the starting folder."""
    with closing(backend.open()) as box:
        done = box.run("cat; echo err >&2; pwd; exit 3", stdin=b"in\n")
        must(
            (done.exit_code, done.stdout, done.stderr) == (3, "in\n/work\n", "err\n"), "a command runs", done
        )
        done = box.run(["printf", "%s|", "a b", "$HOME"])
        must(done.stdout == "a b|$HOME|", "a word list bypasses the shell", done)
        done = box.run(["no-such-command"])
        must(done.exit_code == 127 and not done.timed_out, "a missing command is a failed command", done)
        done = box.run("kill -9 $$")
        must(done.exit_code == 137, "a killed command has exit code 128 + signal", done)
        must(box.run("x" * 200_000).exit_code != 0, "a very long command is a failed command", "success")


def environment_is_own(backend: Backend) -> None:
    """The box sees the spec's variables and none of the harness's."""
    with closing(backend.open(SandboxSpec(env={"GIVEN": "here"}))) as box:
        found = dict(line.split("=", 1) for line in box.run("env").stdout.splitlines())
        must(found.get("GIVEN") == "here", "spec.env is set", found)
        extra = set(found) - {
            "GIVEN",
            "PATH",
            "HOME",
            "LANG",
            "USER",
            "PWD",
            "HOSTNAME",
            "SHLVL",
            "_",
            "OLDPWD",
        }
        must(not {e for e in extra if not e.startswith(("PYTHON", "GPG_KEY"))}, "nothing else is set", extra)


def time_limit_kills_all(backend: Backend) -> None:
    """A command over its time is a result, in time, and none of its descendants lives on."""
    with closing(backend.open()) as box:
        started = time.monotonic()
        command = "trap '' TERM INT; (setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; echo begun; sleep 1000"
        done = box.run(command, timeout_s=0.5)
        must(done.timed_out and done.exit_code is None, "a time limit is reported", done)
        must(done.stdout == "begun\n", "what was printed before the limit is kept", done)
        must(time.monotonic() - started < 15, "the limit is kept", time.monotonic() - started)
        left = box.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 100[0]'")
        must(left.stdout.strip() == "0", "no descendant survives", left)


def background_lives(backend: Backend) -> None:
    """A command that leaves something in the background returns at once, and that something lives on."""
    with closing(backend.open()) as box:
        done = box.run("(sleep 2; echo late > flag) & echo started", timeout_s=30)
        must(
            done.stdout == "started\n" and done.duration_s < 1.9,
            "the command itself is what is waited for",
            done,
        )
        must(box.run("sleep 3; cat flag").stdout == "late\n", "a background process goes on", "no flag")


def output_keeps_tail(backend: Backend) -> None:
    """Endless output neither fills memory nor hides the end."""
    with closing(backend.open(SandboxSpec(output_kb=4))) as box:
        done = box.run("head -c 3000000 /dev/zero | tr '\\0' x; echo the end")
        must(done.truncated and len(done.stdout) == 4096, "output is cut", len(done.stdout))
        must(done.stdout.endswith("xthe end\n"), "the tail is kept", done.stdout[-20:])
        must(not box.run("echo short").truncated, "short output is whole", "truncated")


def files_move(backend: Backend) -> None:
    """Bytes go in and come out unchanged; failures are Python's own."""
    with closing(backend.open()) as box:
        data = bytes(range(256)) * 5000
        box.write("a/b/c.bin", data)
        box.write("/work/run.sh", b"#!/bin/sh\necho ran\n", mode=0o755)
        must(box.read("/work/a/b/c.bin") == data, "a file comes back unchanged", "other bytes")
        must(box.run("./run.sh").stdout == "ran\n", "modes are kept, the workspace may execute", "no")
        must(box.run("rm run.sh a/b/c.bin").exit_code == 0, "the box's user owns the files", "cannot remove")
        box.write("big", b"x" * 2000)
        for path, error in (("none", FileNotFoundError), ("/work", IsADirectoryError), ("big", ValueError)):
            try:
                box.read(path, max_bytes=1000)
            except error:
                continue
            raise Unfit(f"reading {path!r} must raise {error.__name__}")


def links_are_not_followed(backend: Backend) -> None:
    """Neither a read, nor a write, nor a diff goes through a symlink the box made."""
    with closing(backend.open()) as box:
        before = box.snapshot()
        box.run("ln -s /etc/passwd link; ln -s / root; mkfifo pipe; echo x > plain; ln -s plain alias")
        box.write("alias", b"new")
        must(
            box.read("plain") == b"x\n" and box.read("alias") == b"new", "a write replaces a link", "followed"
        )
        try:
            box.read("link")
        except OSError:
            pass
        else:
            raise Unfit("reading a symlink must raise OSError")
        diff = box.diff(before)
        must(set(diff.written) == {"plain", "alias"}, "a diff carries regular files only", diff.written)
        must(set(diff.refused) == {"link", "root", "pipe"}, "a diff names what it refused", diff.refused)


def diff_says_what_changed(backend: Backend) -> None:
    with closing(backend.open()) as box:
        for name in ("same", "changed", "gone"):
            box.write(f"d/{name}", name.encode())
        before = box.snapshot()
        must(set(before) == {"d/same", "d/changed", "d/gone"}, "a snapshot names every file", before)
        box.run("echo 2 > d/changed; rm d/gone; echo 3 > d/new; head -c 11000000 /dev/zero > d/huge")
        diff = box.diff(before)
        must(dict(diff.written) == {"d/changed": b"2\n", "d/new": b"3\n"}, "written", diff.written)
        must(diff.deleted == ("d/gone",) and diff.refused == ("d/huge",), "deleted and refused", diff)


def unprivileged(backend: Backend) -> None:
    """No root, no capability, no way to new privileges or namespaces."""
    with closing(backend.open()) as box:
        must(box.run("id -u").stdout.strip() not in ("", "0"), "commands are not root", "root")
        status = box.run("cat /proc/self/status").stdout.split("\n")
        fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        must(set(fields["CapEff"] + fields["CapPrm"]) == {"0"}, "no capability", fields)
        must(fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2", "no new privileges, seccomp", fields)
        must(box.run("unshare -Ur true").exit_code != 0, "no new user namespace", "unshare works")
        must(box.run("cat /proc/1/environ /proc/1/mem").exit_code != 0, "process 1 cannot be read", "it can")
        box.run("kill -9 1; kill -INT 1; kill -TERM 1; kill -9 -1")
        must(box.run("echo alive").stdout == "alive\n", "process 1 cannot be killed", "dead")


def read_only_elsewhere(backend: Backend) -> None:
    """Only the workspace and /tmp can be written, and only to their size."""
    with closing(backend.open(SandboxSpec(disk_mb=16))) as box:
        must(box.run("touch /usr/x /etc/x /x /dev/x /bin/x").exit_code != 0, "the system is read-only", "no")
        done = box.run(
            "for d in / /usr /etc /dev /var /home /opt; do touch $d/.probe 2>/dev/null && echo $d; done"
        )
        must(done.stdout == "", "nothing else can be written", done)
        for folder in ("/work", "/tmp"):
            done = box.run(
                f"head -c 40000000 /dev/zero > {folder}/big; stat -c %s {folder}/big; rm {folder}/big"
            )
            must(int(done.stdout or 0) <= 17 << 20, f"{folder} has a size limit", done)


def no_network(backend: Backend) -> None:
    """No interface but loopback, and no engine socket."""
    with closing(backend.open()) as box:
        done = box.run("cut -d: -f1 -s /proc/net/dev | tr -d ' '")
        must(done.stdout.split() in ([], ["lo"]), "loopback only", done)
        must(box.run("ls /var/run/docker.sock /run/docker.sock").stdout == "", "no engine socket", "there is")


def bombs_stay_inside(backend: Backend) -> None:
    """A fork bomb and a memory bomb end as failed commands, and the box goes on."""
    with closing(backend.open(SandboxSpec(pids=40, memory_mb=128))) as box:
        done = box.run("for i in $(seq 200); do sleep 100 & done; wait", timeout_s=5)
        must(done.exit_code != 0, "a fork bomb does not succeed", done)
        box.run("x() { x | x & x; }; x", timeout_s=3)
        box.run("sleep 60", timeout_s=0.1)  # its limit sweeps what the bomb left
        must(box.run("echo alive").stdout == "alive\n", "the box survives a fork bomb", "dead")
        done = box.run(["python3", "-c", "x = bytearray(400_000_000); print(len(x))"])
        must(done.exit_code != 0, "memory is limited", done)
        must(box.run("echo alive").stdout == "alive\n", "the box survives a memory bomb", "dead")


def boxes_are_separate(backend: Backend) -> None:
    """Nothing of one box is seen in another, neither alongside nor afterwards."""
    plant = "echo s > /work/s; echo s > /tmp/s; echo s > /dev/shm/s; setsid sleep 4321 & sleep 0.2"
    probe = "ls /work /tmp /dev/shm; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 432[1]'"
    with closing(backend.open()) as box, closing(backend.open()) as other:
        box.run(plant)
        must(box.run(probe).stdout.count("s\n") == 3, "the probe sees what was planted", box.run(probe))
        done = other.run(probe)
        must(done.stdout.split() == ["/dev/shm:", "/tmp:", "/work:"], "a neighbour sees nothing", done)
    with closing(backend.open()) as box:
        done = box.run(probe)
        must(done.stdout.split() == ["/dev/shm:", "/tmp:", "/work:"], "a successor sees nothing", done)


def closing_is_final(backend: Backend) -> None:
    """A closed box raises SandboxError and nothing else; closing twice is fine."""
    box, programs = backend.open(), backend.open_program_box()
    for thing in (box, programs, box, programs):
        thing.close()
    for use in (
        lambda: box.run("true"),
        lambda: box.read("x"),
        lambda: programs.run([_program("f = abs", 1)]),
    ):
        try:
            use()
        except SandboxError:
            continue
        raise Unfit("a closed box must raise SandboxError")


# --- program boxes -------------------------------------------------------------------------------------


def _program(source: str, *firsts: object, cpu_s: float = 1.0) -> Program:
    return Program(source=source, entry_point="f", calls=[[x] for x in firsts], cpu_s=cpu_s)


def _grade(backend: Backend, *programs: Program) -> list[ProgramResult]:
    with closing(backend.open_program_box()) as box:
        return box.run(programs)


def answers_keep_types(backend: Backend) -> None:
    """Every plain value comes back equal and of exactly its type, and arguments are fresh for each call."""
    values: list[object] = [
        0,
        1,
        True,
        False,
        None,
        1.0,
        -0.0,
        1e308,
        10**300,
        "",
        "é\ud800\0",
        [],
        [[1], []],
    ]
    with_types = "def f(i):\n    return V[i]\nV = " + repr(
        [*values, (), (1,), {1: (2, [3])}, {"t": [1]}, {(1, 2): 0}]
    )
    values += [(), (1,), {1: (2, [3])}, {"t": [1]}, {(1, 2): 0}]
    (result,) = _grade(backend, _program(with_types, *range(len(values))))
    must(result.outputs is not None and len(result.outputs) == len(values), "every call is answered", result)
    for value, output in zip(values, result.outputs or (), strict=True):
        same = repr(value) == repr(output.value) and type(value) is type(output.value)
        must(same and output.error is None, f"{value!r} comes back as it is", output)
    (result,) = _grade(backend, _program("def f(a):\n    a.append(1)\n    return a", [], [], [5]))
    must(
        result.outputs == (Output(value=[1]), Output(value=[1]), Output(value=[5, 1])),
        "fresh arguments",
        result,
    )


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
        must(
            (result.outputs is not None) == (status is Status.COMPLETED),
            "outputs only when completed",
            result,
        )
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
    homes = [{n.rstrip("0123456789") for n in r[0].outputs[0].value} for r in (clean, after) if r[0].outputs]
    must(homes == [{"/tmp/"}] * 2, "a program finds its own empty folder and no more", (clean, after))


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
    must(
        open_doors in ([], ["kill"]),
        "every door is shut (a kill of process 1 may vanish silently)",
        open_doors,
    )


CHECKS: tuple[Check, ...] = (
    commands_run,
    environment_is_own,
    time_limit_kills_all,
    background_lives,
    output_keeps_tail,
    files_move,
    links_are_not_followed,
    diff_says_what_changed,
    unprivileged,
    read_only_elsewhere,
    no_network,
    bombs_stay_inside,
    boxes_are_separate,
    closing_is_final,
    answers_keep_types,
    pretenders_are_errors,
    endings_are_told,
    cpu_not_wall,
    order_is_kept,
    nothing_is_left,
    programs_are_walled,
)
