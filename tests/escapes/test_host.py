"""What is outside of the box stays unread and unchanged, whatever the kernel offers."""

import secrets
import socket
import time
from pathlib import Path

import pytest

from plateau_bench.sandbox import Sandbox

from .conftest import attempt, outside

pytestmark = pytest.mark.escapes
DENIED = {"EPERM", "EACCES", "ENOSYS", "EROFS", "ENOENT"}


def test_files_of_the_host(box: Sandbox, tmp_path: Path) -> None:
    """Neither home folders, nor temporary files, nor password hashes, nor other disks."""
    secret = tmp_path / "secret"
    secret.write_text("host")
    code = """
found = {path: content(path) for path in [sys.argv[1], "/etc/shadow", "/etc/gshadow", "/root/.profile",
         "/proc/1/root" + sys.argv[1], "/proc/self/root/../.." + sys.argv[1]]}
found["/root"] = trial(os.listdir, "/root") or os.listdir("/root")
found["/home"] = trial(os.listdir, "/home") or os.listdir("/home")
"""
    assert outside("found = content(sys.argv[1])", secret) == "host"
    found = attempt(box, code, secret)
    assert found.pop("/home") in ("ENOENT", [])
    assert set(map(str, found.values())) <= DENIED | {"[]"}


def test_environment_of_the_harness(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = f"secret-{secrets.token_hex(8)}"
    monkeypatch.setenv("PLATEAU_ESCAPES_KEY", secret)
    code = """
found = dict(os.environ)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "root/proc/self/environ"):
        found[f"{pid} {name}"] = content(f"/proc/{pid}/{name}", 100_000)
"""
    assert outside("found = dict(os.environ)")["PLATEAU_ESCAPES_KEY"] == secret
    found = attempt(box, code)
    assert "PATH" in found
    assert secret not in str(found)


def test_process_1_is_sealed(box: Sandbox) -> None:
    code = """
names = ("mem", "environ", "maps", "fd/0", "fd/10", "root/etc/passwd", "cwd/attempt.py", "exe", "stack", "io")
found = [content(f"/proc/1/{name}") for name in names]
found += [trial(os.listdir, f"/proc/1/{name}") for name in ("fd", "map_files", "ns")]
found += [trial(os.readlink, f"/proc/1/{name}") for name in ("exe", "root", "cwd", "ns/pid")]
own = [content("/proc/self/environ", 4)]
own += [trial(os.listdir, "/proc/self/fd"), trial(os.readlink, "/proc/self/exe")]
found = [found, own]
"""
    found, own = attempt(box, code)
    assert own[1:] == [0, 0]  # the same is open for a process's own
    assert set(found) <= DENIED | {0}
    assert found.count(0) <= 1  # the list of namespaces' names


def test_kernel_settings_of_the_host(box: Sandbox) -> None:
    """What can be written below /proc/sys belongs to the box's own namespaces: the host's stays as it was."""
    code = """
targets = [os.path.join(top, name) for root in ("/proc/sys", "/proc/irq", "/proc/bus", "/sys")
           for top, _, names in os.walk(root) for name in names]
targets += ["/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/1/clear_refs", "/proc/kcore", "/proc/mtrr"]
written = []
for path in targets:
    try:
        with open(path, "r+b", buffering=0) as file:
            written.append(path)
            file.write(b"7")
    except OSError:
        pass
own = trial(os.close, os.open("/proc/self/oom_score_adj", os.O_WRONLY))
found = [written, own, len(targets)]
"""
    before = {path: read(path) for path in Path("/proc/sys").rglob("*") if "random" not in path.parts}
    written, own, tried = attempt(box, code)
    assert own == 0
    assert tried > 100
    namespaced = ("fs/mqueue/", "kernel/shm", "kernel/msg", "kernel/sem", "kernel/auto_msgmni")
    namespaced += ("kernel/pid_max", "kernel/ns_last_pid")
    assert [p for p in written if not p.removeprefix("/proc/sys/").startswith(namespaced)] == []
    stable = [Path(path) for path in written if not path.endswith("/ns_last_pid")]
    assert {path: read(path) for path in stable} == {path: before[path] for path in stable}


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_kernel_secrets_are_unread(box: Sandbox) -> None:
    code = """
found = [content(p) for p in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/dev/mem",
         "/dev/kmsg", "/dev/port", "/sys/kernel/debug/tracing/trace", "/sys/firmware/efi/vars")]
found += [call("klogctl", 3, ctypes.create_string_buffer(100), 100)]
"""
    assert set(attempt(box, code)) <= DENIED | {"", "EIO"}


def test_devices(box: Sandbox) -> None:
    """No device of the host is there, none can be made, and none works when brought."""
    code = """
import stat
harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
devices = []
for top, folders, names in os.walk("/dev"):
    for name in names:
        mode = os.lstat(os.path.join(top, name)).st_mode
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) and name not in harmless and top != "/dev/pts":
            devices.append(os.path.join(top, name))
made = [trial(os.mknod, f"/{where}/{kind}", kind | 0o666, os.makedev(*number))
        for where in ("work", "tmp", "dev/shm")
        for kind, number in ((stat.S_IFCHR, (1, 1)), (stat.S_IFCHR, (1, 11)), (stat.S_IFBLK, (254, 0)))]
found = [devices, made, trial(os.mknod, "pipe", stat.S_IFIFO | 0o600)]
"""
    devices, made, pipe = attempt(box, code)
    assert devices == []
    assert set(made) == {"EPERM"}
    assert pipe == 0


def test_mounts(box: Sandbox) -> None:
    code = """
paths = [b"tmpfs", b"/tmp", b"tmpfs"]
found = [call("mount", *paths, 0, None), call("mount", b"/", b"/tmp", None, 4096 | 16384, None),
         call("mount", None, b"/", None, 32, None),  # remount, read-write
         call("mount", None, b"/usr", None, 32 | 4096, None), call("umount2", b"/proc", 2),
         call("umount2", b"/work", 2), call("fsopen", ctypes.c_char_p(b"tmpfs"), 0)]
"""
    assert set(attempt(box, code)) == {"EPERM"}


def test_roots(box: Sandbox) -> None:
    code = """
found = [trial(os.chroot, "/tmp"), call("pivot_root", ctypes.c_char_p(b"/tmp"), ctypes.c_char_p(b"/tmp"))]
"""
    assert set(attempt(box, code)) == {"EPERM"}


def test_namespaces(box: Sandbox) -> None:
    """No new namespace of any kind, by any call, and none to enter."""
    code = """
kinds = dict(user=0x10000000, mount=0x20000, pid=0x20000000, net=0x40000000, ipc=0x08000000, uts=0x04000000,
             cgroup=0x02000000, time=0x80)
found = {}
for name, flag in kinds.items():
    found[name] = call("unshare", flag)
    number = ctypes.c_long(220 if NUMBERS is ARM else 56)
    found["clone " + name] = libc.syscall(number, ctypes.c_long(flag | 17), *[None] * 4)
    if found["clone " + name] == 0:
        os._exit(0)
    for pid in ("self", "1"):
        path = f"/proc/{pid}/ns/{'mnt' if name == 'mount' else name}"
        try:
            found[path] = call("setns", os.open(path, os.O_RDONLY), 0)
        except OSError:
            pass
"""
    assert set(attempt(box, code).values()) <= {"EPERM", -1}


def test_handles_open_nothing(box: Sandbox) -> None:
    """File handles reach through bind mounts to the whole file system under them."""
    code = """
handle = struct.pack("IiQQQQ", 32, 1, 2, 0, 0, 0)
found = call("open_by_handle_at", os.open("/usr", os.O_RDONLY), ctypes.create_string_buffer(handle), 0)
"""
    assert attempt(box, code) == "EPERM"


def test_setuid_programs_gain_nothing(box: Sandbox) -> None:
    code = """
import shutil
own = os.path.abspath("id")
shutil.copy("/usr/bin/id", own)
os.chmod(own, 0o6755)
found = dict(own=subprocess.run([own, "-u"], capture_output=True, text=True).stdout.strip())
found["ids"] = [trial(os.setuid, 0), trial(os.setgid, 0), trial(os.setgroups, [0]), trial(os.seteuid, 0)]
found["su"] = subprocess.run(["sh", "-c", "su -c id; sudo -n id; newgrp root; id -u"],
                             capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
"""
    found = attempt(box, code)
    assert found["own"] == "1000"
    assert set(found["ids"]) <= {"EPERM", "EINVAL"}
    assert "uid=0" not in found["su"]
    assert found["su"].split()[-1] == "1000"


def test_keyring(box: Sandbox) -> None:
    """The kernel's keyrings belong to users, not to namespaces, so they would join box and host."""
    code = """
add = call("add_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"plateau"), ctypes.c_char_p(b"x"), 1, -4)
words = ctypes.c_char_p(b"user"), ctypes.c_char_p(b"plateau")
found = [add, call("keyctl", 0, -3, 1), call("request_key", *words, None, 0)]
"""
    assert set(attempt(box, code)) <= {"EPERM", "ENOSYS"}


def test_wide_kernel_interfaces(box: Sandbox) -> None:
    """bpf, perf events, io_uring, userfaultfd, modules, kexec: attack surface that no task needs."""
    code = """
buffer = ctypes.create_string_buffer(200)
found = dict(bpf=call("bpf", 0, buffer, 120), perf=call("perf_event_open", buffer, 0, -1, -1, 0),
             uring=call("io_uring_setup", 4, buffer), fault=call("userfaultfd", 1),
             module=call("finit_module", 0, buffer, 0), kexec=call("kexec_load", 0, 0, None, 0))
"""
    assert set(attempt(box, code).values()) <= {"EPERM", "ENOSYS"}


def test_clock_and_name_of_the_host(box: Sandbox) -> None:
    code = """
found = [trial(time.clock_settime, time.CLOCK_REALTIME, 0.0), call("sethostname", b"pwned", 5),
         call("setdomainname", b"pwned", 5), call("settimeofday", ctypes.create_string_buffer(16), None),
         call("reboot", 0)]
"""
    name, before = socket.gethostname(), time.time()
    assert set(attempt(box, code)) == {"EPERM"}
    assert socket.gethostname() == name != "box"
    assert time.time() >= before
    assert box.run("uname -n").stdout == "box\n"


def test_terminal(box: Sandbox) -> None:
    """Nothing can be typed into a terminal: there is none of the harness's, and not even into its own."""
    code = """
import fcntl, pty
master, slave = pty.openpty()
found = [trial(os.open, "/dev/tty", os.O_RDWR), trial(fcntl.ioctl, slave, 0x5412, b"x"),
         trial(fcntl.ioctl, slave, 0x541C, b"\\x02"), trial(os.ttyname, 0),
         trial(fcntl.ioctl, slave, 0x5401, bytes(100))]
"""
    tty, push, linux, name, harmless = attempt(box, code)
    assert tty in ("ENXIO", "ENOENT", "EACCES")
    assert (push, linux) == ("EPERM", "EPERM")
    assert name == "ENOTTY"
    assert harmless == 0


def test_nothing_of_the_harness_is_open(box: Sandbox) -> None:
    """A command's open files are its three streams, and they lead nowhere but to the guest."""
    code = """
found = {n: os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
         if os.path.exists(f"/proc/self/fd/{n}")}
"""
    found = attempt(box, code)
    assert found.pop("0") == "/dev/null"
    assert all(found.pop(n).startswith("pipe:") for n in ("1", "2"))
    assert set(found.values()) <= {"/proc/self/fd", "/tmp/attempt.py"}


def test_system_stays_as_it_was(box: Sandbox) -> None:
    """Everything outside the workspace is read-only, hard links to it and bytecode caches included."""
    code = """
places = "/ /usr /usr/lib/python3 /etc /bin /lib /var /opt /dev /proc /sys /run".split()
found = [p for p in places if os.path.isdir(p) and not trial(os.mkdir, p + "/.planted")]
open("plain", "w").close()
env = "/usr/bin/env"
found += [trial(os.link, env, "env"), trial(os.chmod, env, 0o777), trial(os.utime, env),
          trial(os.rename, env, env + "2"), trial(os.link, "plain", "p2")]
"""
    *planted, link, mode, touch, move, harmless = attempt(box, code)
    assert planted == []
    assert link in ("EXDEV", "EPERM")
    assert {mode, touch, move} <= {"EPERM", "EROFS", "EACCES", "EXDEV"}
    assert harmless == 0
