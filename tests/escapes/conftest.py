"""What hostile code tries in a box, one property per test, in every backend. `attempt` runs the try.

Where it does no harm, a test first makes the same try outside of any box, where it must succeed: a probe that
cannot find an open door proves nothing about a shut one.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from plateau_bench.sandbox import Backend, Sandbox
from tests.sandbox.conftest import backend

__all__ = ["attempt", "backend", "box", "outside"]

PRELUDE = r"""
import ctypes, errno, json, os, platform, resource, signal, socket, struct, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
X86 = dict(bpf=321, perf_event_open=298, add_key=248, keyctl=250, request_key=249, pivot_root=155,
           finit_module=313, kexec_load=246, userfaultfd=323, io_uring_setup=425, mq_open=240,
           name_to_handle_at=303, open_by_handle_at=304, fsopen=430, pidfd_open=434,
           pidfd_getfd=438)
ARM = dict(bpf=280, perf_event_open=241, add_key=217, keyctl=219, request_key=218, pivot_root=41,
           finit_module=273, kexec_load=104, userfaultfd=282, io_uring_setup=425, mq_open=180,
           name_to_handle_at=264, open_by_handle_at=265, fsopen=430, pidfd_open=434,
           pidfd_getfd=438)
NUMBERS = ARM if platform.machine() == "aarch64" else X86

def word(argument):
    return ctypes.c_long(argument) if isinstance(argument, int) else argument

def call(name, *args):
    "0 when the C function or system call worked, else the name of its error."
    ctypes.set_errno(0)
    if name in NUMBERS and not hasattr(libc, name):
        done = libc.syscall(ctypes.c_long(NUMBERS[name]), *map(word, args))
    else:
        done = getattr(libc, name)(*map(word, args))
    return 0 if done != -1 else errno.errorcode[ctypes.get_errno()]

def trial(function, *args):
    "0 when the function worked, else the name of its error."
    try:
        function(*args)
        return 0
    except OSError as e:
        return errno.errorcode.get(e.errno, type(e).__name__)

def content(path, size=100):
    "The start of a file, or the name of the error."
    try:
        with open(path, "rb") as file:
            return file.read(size).decode(errors="replace")
    except OSError as e:
        return errno.errorcode[e.errno]
"""
POSTLUDE = '\nprint("\\n@" + json.dumps(found))\n'


def attempt(box: Sandbox, code: str, *args: object, timeout_s: float = 30.0) -> Any:
    """Run Python in a box, with PRELUDE's helpers and `sys.argv[1:]`; returns what it left in `found`."""
    box.write("/tmp/attempt.py", (PRELUDE + code + POSTLUDE).encode())
    done = box.run(["python3", "/tmp/attempt.py", *map(str, args)], timeout_s=timeout_s)
    assert done.exit_code == 0, done
    return json.loads(done.stdout.rpartition("\n@")[2])


def outside(code: str, *args: object) -> Any:
    """The same without a box."""
    command = [sys.executable, "-c", PRELUDE + code + POSTLUDE, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done
    return json.loads(done.stdout.rpartition("\n@")[2])


@pytest.fixture
def box(backend: Backend) -> Iterator[Sandbox]:
    with closing(backend.open()) as opened:
        yield opened
