"""Guest of a `Sandbox` that may reach services of the harness: before it begins, it gives its listeners away.

The channel of such a box is a Unix socket, so the harness can hold the listeners itself: nothing in the box
has to run for them, and nothing in the box can end them.
"""

from __future__ import annotations

import array
import socket
import sys


def listen(port: int) -> socket.socket:
    """A listener on the box's loopback. Raises OSError."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def main() -> None:
    from plateau_bench.sandbox.guest.commands import main as commands  # `tunnel` needs `listen` only

    with socket.socket(fileno=int(sys.argv[3])) as out:
        listeners = [listen(int(port)) for port in sys.argv[4:]]
        fds = array.array("i", [s.fileno() for s in listeners])
        out.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        for s in listeners:
            s.close()
    commands()
