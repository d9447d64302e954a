"""Starts a box with bubblewrap and waits until the guest in it answers."""

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any

from plateau_bench.sandbox.backends.bwrap_arguments import files
from plateau_bench.sandbox.backends.cgroup import Cgroup
from plateau_bench.sandbox.backends.owner import owner
from plateau_bench.sandbox.base import SandboxError, SandboxUnavailable
from plateau_bench.sandbox.host.channel import Channel, guest_command
from plateau_bench.sandbox.network.services import Ports, receive_listeners

OWNER = "PLATEAU_OWNER"
"""Whose box it is, in the environment of bwrap itself; nothing of it is seen inside."""
_host_ids = itertools.count(random.randrange(50_000))
"""The user outside: root's boxes get one of 50,000 otherwise unused ids each."""

# --die-with-parent follows the *thread* that started the box, so one thread that lives as long as the
# process starts them all.
_starter: Callable[[], ThreadPoolExecutor] = cache(lambda: ThreadPoolExecutor(1, "bubblewrap"))


def start(
    mode: str,
    config: dict[str, Any],
    args: list[str],
    group: Cgroup,
    after: ExitStack,
    python: str,
    ports: Ports | None = None,
) -> Channel:
    """Start a guest in a fresh box and wait until it answers. Raises SandboxError with what bwrap said.

    `after` is closed with the box. `python`: the interpreter in the box, if it is one of this machine's.
    """
    ours, theirs = socket.socketpair()
    info, tell = os.pipe2(os.O_CLOEXEC)
    log = os.memfd_create("stderr")
    after.callback(os.close, log)
    fds, words = [tell], list[str]()
    if ports:
        mode += "+ports"
        taken, given = socket.socketpair()
        after.callback(taken.close)
        fds.append(given.detach())
        words = [str(number) for number in (fds[-1], *ports.numbers)]
    own_files = files(fds) if python else []  # an image has its own
    args = [args[0], *own_files, *args[1:], "--info-fd", str(tell)]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--"]
    args += [*guest_command(mode, config.get("workdir", mode), python), *words]
    try:
        process = _spawn(args, theirs.fileno(), log, fds)
    except OSError as e:
        ours.close()
        os.close(info)
        after.close()
        raise SandboxError(f"bwrap does not start: {e}") from e
    finally:
        theirs.close()
        for fd in fds:
            os.close(fd)

    def destroy() -> None:  # the guest ends by itself with the channel; this makes sure and collects it
        process.kill()
        process.wait()
        after.close()

    channel = Channel(ours, destroy, lambda: _last_line(log))
    _limit(group, info, channel)
    try:
        channel.greet(mode, config, python)
    except SandboxError as e:
        raise _clearer(e) from e
    if ports:
        try:
            channel.also_close(receive_listeners(taken, ports).close)
        except SandboxError:
            channel.close()
            raise
    return channel


def _spawn(args: Sequence[str], link: int, log: int, fds: Sequence[int]) -> subprocess.Popen:
    """Start bwrap with `link` as its standard input and output. Raises OSError."""
    before, as_user = _host_user()

    def spawn() -> subprocess.Popen:
        return subprocess.Popen(
            [*before, *args],
            stdin=link,
            stdout=link,
            stderr=log,
            pass_fds=fds,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), OWNER: json.dumps(owner())},
            **as_user,
        )

    return _starter().submit(spawn).result()


def _limit(group: Cgroup, info: int, channel: Channel) -> None:
    """Put the guest, which bwrap names at the descriptor `info`, into its group. Raises SandboxError."""
    try:
        guest = _guest_pid(info)  # also without a group: bwrap dies of a pipe that nobody reads
        if guest:  # alone in the box still, for it waits for its own text
            with suppress(ProcessLookupError):  # it ended already; why, is said with the greeting
                group.enter(guest)
    except OSError as e:
        channel.close()
        raise SandboxError(f"the box cannot be limited: {e}") from e
    finally:
        os.close(info)


def _host_user() -> tuple[list[str], dict[str, Any]]:
    """How root starts a box as a user that nobody else is: words before its command, or options of Popen.

    Python forks to start something as another user, at a price that grows with what the harness holds: 40 ms
    for each GB. setpriv is started without a fork.
    """
    if os.geteuid() != 0:
        return [], {}
    uid = 200_000 + next(_host_ids) % 50_000
    if shutil.which("setpriv"):
        return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"], {}
    return [], {"user": uid, "group": uid, "extra_groups": []}


def _guest_pid(info: int) -> int:
    """The guest's number on this side, from what bwrap writes; 0 if it ended before."""
    text = b""
    while b"}" not in text and (part := os.read(info, 4096)):
        text += part
    with suppress(ValueError, KeyError):
        return int(json.loads(text)["child-pid"])
    return 0


def _clearer(error: SandboxError) -> SandboxError:
    """What bwrap says, in words to act on."""
    if "execvp python3" in str(error):
        return SandboxUnavailable(
            "the image has no python3, which the guest in a box runs on; add it, or use the docker backend"
        )
    if "Can't find source path" in str(error):
        return SandboxUnavailable(f"{error}; set PLATEAU_CACHE to a folder that every user may enter")
    return error


def _last_line(log: int) -> str:
    with suppress(OSError):
        lines = os.pread(log, 4000, 0).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""
