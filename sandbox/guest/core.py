"""The program inside a box: process 1 of its pid namespace, standard library only.

The text of this package is sent into the box over the channel and run there with `python3 -S`; the harness
imports it only for its constants. `commands` runs one command at a time for a `Sandbox`, `programs` one
forked child at a time for a `ProgramBox`, and this file is what both need. Closing the channel ends the
guest, and the end of process 1 ends everything in the box. Python 3.9 is enough for it.

What it relies on: signals from inside a pid namespace do not reach process 1; it is not dumpable, so
equal-uid code can neither trace it nor open its files; a seccomp filter takes away what could still reach
it (`prlimit` or `setpriority` on another process) and what would outlive a program (System V IPC).

Python's start is most of what a box costs, so this imports the built-in cores of modules whose Python halves
(enumerations, regular expressions, data types) it has no use for.
"""

from __future__ import annotations

import _ctypes
import _signal as signal
import fcntl
import gc
import marshal
import os
import resource
import struct
import sys

FRAME = ">II"
"""Sandbox mode, both directions: length of a header, length of a body; then both. The harness's headers are
marshalled (it is to be trusted, and a guest has marshal anyway), the guest's are JSON."""
CONFIG = ">I"
"""Behind the guest's text: length of its configuration, marshalled; then that."""
REQUEST = ">II"
"""Program mode, to the guest: length of the JSON request, CPU limit in us; then the request."""
ANSWER = ">BIII"
"""Program mode, from the guest: VERDICTS index, wait status, CPU in us, answer length; then the answer."""
VERDICTS = ("ended", "cpu", "wall", "flood")
MAX_REQUEST = 8_000_000
MAX_ANSWER = 1_000_000

_ZEROS = bytes(1 << 16)


# --- the channel ---------------------------------------------------------------------------------------


def read_into(fd: int, view: memoryview) -> None:
    """Fill the view from the channel; a closed channel ends this process and with it the box."""
    while len(view):
        n = os.readv(fd, [view])
        if n == 0:
            os._exit(0)
        view = view[n:]


def read_exact(fd: int, size: int) -> bytes:
    data = bytearray(size)
    read_into(fd, memoryview(data))
    return bytes(data)


def read_numbers(fd: int, form: str) -> tuple:
    return struct.unpack(form, read_exact(fd, struct.calcsize(form)))


def read_config() -> dict:
    """What the harness sends behind the guest's text."""
    (size,) = read_numbers(0, CONFIG)
    return marshal.loads(read_exact(0, size))


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(fd, view) :]


def reply(fd: int, header: dict, body: bytes = b"") -> None:
    head = as_json(header).encode()
    write_all(fd, struct.pack(FRAME, len(head), len(body)) + head)
    write_all(fd, body)


def as_json(value: object) -> str:
    """`json.dumps`, whose import takes longer than the rest of the guest's: only for text that needs it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{as_json(k)}:{as_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_json, value)) + "]"
    assert isinstance(value, str)
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    import json

    return json.dumps(value)


def wipe(view: memoryview) -> None:
    for start in range(0, len(view), len(_ZEROS)):
        part = view[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]


# --- system calls no box needs -------------------------------------------------------------------------

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
ALLOW = (0x06, 0, 0, 0x7FFF0000)


def load(offset: int) -> tuple[int, int, int, int]:
    return (0x20, 0, 0, offset)


def jeq(value: int, yes: int, no: int) -> tuple[int, int, int, int]:
    return (0x15, yes, no, value)


def refuse(code: int) -> tuple[int, int, int, int]:
    return (0x06, 0, 0, 0x00050000 | code)


_ARCH: dict[str, dict] = {
    "x86_64": {
        "audit": 0xC000003E,
        "clone": 56,
        "clone3": 435,
        "prlimit64": 302,
        "socket": 41,
        "ioctl": 16,
        "sched": (142, 144, 203, 314),  # sched_setparam, _setscheduler, _setaffinity, _setattr
        "setpriority": 141,
        "ioprio_set": 251,
        # unshare setns mount umount2 pivot_root swapon swapoff reboot kexec_load kexec_file_load
        # init_module finit_module delete_module bpf perf_event_open userfaultfd keyctl add_key request_key
        # io_uring_* open_by_handle_at name_to_handle_at quotactl acct settimeofday clock_settime
        # lookup_dcookie syslog modify_ldt iopl ioperm, the new mount API, mount_setattr
        "box": (272, 308, 165, 166, 155, 167, 168, 169, 246, 320, 175, 313, 176, 321, 298, 323, 250, 248, 249)
        + (425, 426, 427, 304, 303, 179, 163, 164, 227, 212, 103, 154, 172, 173, *range(428, 434), 442),
        # fork vfork execve execveat shmget semget msgget mq_open setpriority ioprio_set, and all of "sched"
        "program": (57, 58, 59, 322, 29, 64, 68, 240, 141, 251, 142, 144, 203, 314),
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "clone": 220,
        "clone3": 435,
        "prlimit64": 261,
        "socket": 198,
        "ioctl": 29,
        "sched": (118, 119, 122, 274),
        "setpriority": 140,
        "ioprio_set": 30,
        "box": (97, 268, 40, 39, 41, 224, 225, 142, 104, 294, 105, 273, 106, 280, 241, 282, 219, 217, 218)
        + (425, 426, 427, 265, 264, 60, 89, 170, 112, 18, 116, *range(428, 434), 442),
        "program": (221, 281, 194, 190, 186, 180, 140, 30, 118, 119, 122, 274),
    },
}
_NEW_NAMESPACES = 0x7E020080
_CLONE_THREAD = 0x10000
_FAMILIES = (1, 2, 10, 16)
"""Sockets a box may have: unix, IPv4, IPv6, netlink. Others (vsock!) ignore the network namespace or are
only attack surface."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PRIO_USER, _IOPRIO_WHO_USER = 2, 3


def when(number: int, tests: list[tuple[int, int]], yes: tuple, no: tuple | None = None) -> list[tuple]:
    """For system call `number`: `yes` if any (argument index, value) holds, else `no` (None: read on)."""
    body: list[tuple] = []
    for argument, value in tests:
        body += [load(16 + 8 * argument), jeq(value, 0, 1), yes]
    body.append(no or load(0))
    return [jeq(number, 0, len(body)), *body]


def seccomp_filter(machine: str, program: bool) -> bytes | None:
    """Classic BPF that refuses what no box needs, or, on top of that, what no program needs: processes,
    exec, lasting IPC, and reaching for another process's limits and priorities.

    None for a machine whose system call numbers are not listed here: then the other walls stand alone.
    """
    arch = _ARCH.get(machine)
    if arch is None or sys.maxsize < 2**32:
        return None
    code = [load(4), jeq(arch["audit"], 1, 0), refuse(_ENOSYS), load(0)]
    code += [(0x35, 0, 1, 0x40000000), refuse(_ENOSYS)]  # x32 numbers
    for number in arch["program" if program else "box"]:
        code += [jeq(number, 0, 1), refuse(_EPERM)]
    # the flags of clone3 are out of reach; libc falls back to clone
    code += [jeq(arch["clone3"], 0, 1), refuse(_ENOSYS)]
    if program:
        code += [jeq(arch["clone"], 0, 4), load(16), (0x45, 1, 0, _CLONE_THREAD), refuse(_EPERM), load(0)]
        code += [jeq(arch["prlimit64"], 0, 4), load(16), jeq(0, 1, 0), refuse(_EPERM), load(0)]
    else:  # an equal user may change the guest's limits and priority, unless it is refused here
        for number in (arch["prlimit64"], *arch["sched"]):
            code += when(number, [(0, 1)], refuse(_EPERM))
        code += when(arch["setpriority"], [(0, _PRIO_USER), (1, 1)], refuse(_EPERM))
        code += when(arch["ioprio_set"], [(0, _IOPRIO_WHO_USER), (1, 1)], refuse(_EPERM))
    code += when(arch["socket"], [(0, family) for family in _FAMILIES], ALLOW, refuse(_EAFNOSUPPORT))
    code += when(arch["ioctl"], [(1, _TIOCSTI), (1, _TIOCLINUX)], refuse(_EPERM))
    code += [jeq(arch["clone"], 0, 3), load(16), (0x45, 0, 1, _NEW_NAMESPACES), refuse(_EPERM)]
    code += [ALLOW]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


class _Short(_ctypes._SimpleCData):
    _type_ = "H"


class _Text(_ctypes._SimpleCData):
    _type_ = "z"


class _Filter(_ctypes.Structure):
    _fields_ = [("length", _Short), ("code", _Text)]


_PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]


def prctl(*args: object) -> int:
    """The C function; what it answers."""
    return _ctypes.call_function(_PRCTL, args)


def confine(code: bytes | None) -> None:
    """No new privileges, not dumpable, and the filter, for this process and all it starts. Raises OSError."""
    refused = prctl(38, 1, 0, 0, 0) or prctl(4, 0, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE
    if refused or (code and prctl(22, 2, _ctypes.byref(_Filter(len(code) // 8, code)), 0, 0)):  # _SECCOMP
        raise OSError("the kernel refused no-new-privileges or the seccomp filter")


def become(uid: int) -> None:
    """Be another user for good. Raises OSError."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def set_limits(limits: dict) -> None:
    for name, value in limits.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def kill_everything() -> None:
    """Kill and reap every other process of the box; the kernel holds a lock meanwhile, so no fork escapes."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return
    while True:  # as process 1 we inherit every orphan, so this ends when nothing else lives
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def begin() -> tuple[int, int, int, dict]:
    """Take the channel, harden this process, say hello: read end, write end, wake-up pipe, configuration."""
    if os.getpid() != 1:  # kill_everything() anywhere else would end the caller's own session
        sys.exit("guest: this program only runs as process 1 of a box")
    config = read_config()
    rfd, wfd = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (0, 1))
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # for process 1 this means: not delivered
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    gc.disable()
    confine(seccomp_filter(os.uname().machine, program=False))
    reply(wfd, {"ready": True})
    return rfd, wfd, wake, config
