"""What every backend must do, as code: `for check in checks.programs.CHECKS: check(backend)`.

Each check opens its own boxes, takes about a second or less, and raises `Unfit` with a sentence when the
backend breaks the contract of `base`. Run by the tests and by `plateau sandbox doctor`; a new backend is
done when all of them pass.
"""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from plateau_bench.sandbox.base import Backend, Program, Sandbox, SandboxError, SandboxSpec

Check = Callable[[Backend], None]


class Unfit(AssertionError):
    """A backend breaks the contract."""


def must(true: bool, sentence: str, found: object) -> None:
    if not true:
        raise Unfit(f"{sentence}; found: {str(found)[:500]}")


def raises(error: type[Exception], act: Callable[[], object], what: str) -> None:
    try:
        found = act()
    except error:
        return
    raise Unfit(f"{what} must raise {error.__name__}; found: {str(found)[:500]}")


def says(box: Sandbox, command: str, output: str, sentence: str) -> None:
    """The command prints exactly this."""
    done = box.run(command)
    must(done.stdout == output, sentence, done)


def commands_run(backend: Backend) -> None:
    """Exit code, both streams, standard input, the shell, and the starting folder."""
    with closing(backend.open()) as box:
        done = box.run("cat; echo err >&2; pwd; exit 3", stdin=b"in\n")
        found = (done.exit_code, done.stdout, done.stderr)
        must(found == (3, "in\n/work\n", "err\n"), "a command runs", done)
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
        usual = ["PATH", "HOME", "LANG", "USER", "PWD", "HOSTNAME", "SHLVL", "_", "OLDPWD"]
        extra = {e for e in found if e not in usual and not e.startswith(("PYTHON", "GPG_KEY"))} - {"GIVEN"}
        must(not extra, "nothing else is set", extra)


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
        at_once = done.stdout == "started\n" and done.duration_s < 1.9
        must(at_once, "the command itself is what is waited for", done)
        says(box, "sleep 3; cat flag", "late\n", "a background process goes on")


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
        data, home = bytes(range(256)) * 5000, SandboxSpec().workdir
        box.write("a/b/c.bin", data)
        box.write(f"{home}/run.sh", b"#!/bin/sh\necho ran\n", mode=0o755)
        must(box.read(f"{home}/a/b/c.bin") == data, "a file comes back unchanged", "other bytes")
        says(box, "./run.sh", "ran\n", "modes are kept, the workspace may execute")
        must(box.run("rm run.sh a/b/c.bin").exit_code == 0, "the box's user owns the files", "cannot remove")
        box.write("big", b"x" * 2000)
        for path, error in (("none", FileNotFoundError), (home, IsADirectoryError), ("big", ValueError)):
            raises(error, partial(box.read, path, max_bytes=1000), f"reading {path!r}")


def links_are_not_followed(backend: Backend) -> None:
    """Neither a read, nor a write, nor a diff goes through a symlink the box made."""
    with closing(backend.open()) as box:
        before = box.snapshot()
        box.run("ln -s /etc/passwd link; ln -s / root; mkfifo pipe; echo x > plain; ln -s plain alias")
        box.write("alias", b"new")
        replaced = box.read("plain") == b"x\n" and box.read("alias") == b"new"
        must(replaced, "a write replaces a link", "followed")
        raises(OSError, lambda: box.read("link"), "reading a symlink")
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
        for secret in ("environ", "mem", "fd/0", "maps"):
            done = box.run(f"head -c 9 /proc/1/{secret}")
            must(not done.stdout and done.exit_code != 0, "process 1 cannot be read", (secret, done))
        box.run("kill -9 1; kill -INT 1; kill -TERM 1; kill -9 -1")
        says(box, "echo alive", "alive\n", "process 1 cannot be killed")


def read_only_elsewhere(backend: Backend) -> None:
    """Only the workspace, /tmp and what was asked for can be written, and only to their size."""
    with closing(backend.open(SandboxSpec(disk_mb=16))) as box:
        must(box.run("touch /usr/x /etc/x /x /dev/x /bin/x").exit_code != 0, "the system is read-only", "no")
        probe = "for d in / /usr /etc /dev /var /home /opt; do touch $d/.probe 2>/dev/null && echo $d; done"
        says(box, probe, "", "nothing else can be written")
        for folder in ("/work", "/tmp"):
            fill = "head -c 40000000 /dev/zero > {0}/big; stat -c %s {0}/big; rm {0}/big"
            done = box.run(fill.format(folder))
            must(int(done.stdout or 0) <= 17 << 20, f"{folder} has a size limit", done)
    with closing(backend.open(SandboxSpec(mounts=("/logs", "/tests")))) as box:
        box.write("/tests/a/t", b"t")
        listed = "echo l > /logs/l; cat /logs/l /tests/a/t"
        says(box, listed, "l\nt", "more writable folders where they are asked for")


def no_network(backend: Backend) -> None:
    """No interface but loopback, and no engine socket."""
    with closing(backend.open()) as box:
        done = box.run("cut -d: -f1 -s /proc/net/dev | tr -d ' '")
        must(done.stdout.split() in ([], ["lo"]), "loopback only", done)
        says(box, "ls /var/run/docker.sock /run/docker.sock", "", "no engine socket")


def names_resolve(backend: Backend) -> None:
    """`localhost` is this box, the user has a name, and a server on loopback can be reached by name."""
    script = (
        "import os, pwd, socket; s = socket.create_server(('localhost', 0)); "
        "c = socket.create_connection(('localhost', s.getsockname()[1])); c.sendall(b'hi'); "
        "print(s.accept()[0].recv(2), bool(pwd.getpwuid(os.getuid()).pw_name))"
    )
    with closing(backend.open()) as box:
        done = box.run(["python3", "-c", script])
        must(done.stdout == "b'hi' True\n", "localhost and the user are known", done)


def bombs_stay_inside(backend: Backend) -> None:
    """A fork bomb and a memory bomb end as failed commands, and the box goes on."""
    with closing(backend.open(SandboxSpec(pids=40, memory_mb=128))) as box:
        done = box.run("for i in $(seq 200); do sleep 100 & done; wait", timeout_s=5)
        must(done.exit_code != 0, "a fork bomb does not succeed", done)
        box.run("x() { x | x & x; }; x", timeout_s=3)
        box.run("sleep 60", timeout_s=0.1)  # its limit sweeps what the bomb left
        says(box, "echo alive", "alive\n", "the box survives a fork bomb")
        done = box.run(["python3", "-c", "x = bytearray(400_000_000); print(len(x))"])
        must(done.exit_code != 0, "memory is limited", done)
        says(box, "echo alive", "alive\n", "the box survives a memory bomb")


def memory_is_the_box_s(backend: Backend) -> None:
    """Many processes together cannot hold more than one could, in the foreground or the background."""
    eat = 'python3 -c \'x = b"x" * 90_000_000; import time; time.sleep(2); print("held")\''
    with closing(backend.open(SandboxSpec(memory_mb=200))) as box:
        done = box.run(f"for i in 1 2 3 4; do {eat} & done; wait")
        must(done.stdout.count("held") < 4, "the limit is for all processes together", done)
        box.run(f"for i in 1 2 3 4; do {eat} >> out 2>&1 & done")
        done = box.run("sleep 4; cat out")
        must(done.stdout.count("held") < 4, "the limit holds in the background", done)
        says(box, "echo alive", "alive\n", "the box survives")


def boxes_are_separate(backend: Backend) -> None:
    """Nothing of one box is seen in another, neither alongside nor afterwards."""
    plant = "echo s > s; echo s > /tmp/s; echo s > /dev/shm/s; setsid sleep 4321 & sleep 0.2"
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
        lambda: programs.run([Program(source="f = abs", entry_point="f", calls=[[1]])]),
    ):
        raises(SandboxError, use, "using a closed box")


SANDBOX_CHECKS: tuple[Check, ...] = (
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
    names_resolve,
    bombs_stay_inside,
    memory_is_the_box_s,
    boxes_are_separate,
    closing_is_final,
)
