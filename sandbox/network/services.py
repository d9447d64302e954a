"""Services of the harness on a box's own loopback, and thereby the only way out of a box there is.

A box never has a network. A service is a function that is called with a connected socket for every connection
to its port in the box, in a thread of its own; it need not close the socket. Two ways lead there:

* `Listeners`: the harness holds the box's listening sockets themselves (bubblewrap);
* `Tunnel`: a second guest accepts in the box, and connections share one stream (docker, near or far).

The box is hostile. Per box, at most MOST services run at once and RATE connections a second begin; more wait
in the kernel's queue. All boxes together leave half of this process's file descriptors alone, and a box may
use no more of them than are free, so that greedy boxes always leave a share to the next one.
"""

import os
import resource
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from select import POLLIN, poll
from typing import Any, Protocol

from plateau_bench.sandbox.base import SandboxError, Service
from plateau_bench.sandbox.guest.tunnel import CHUNK, PERMIT, RESET, Conn, Mux

MOST = 64
RATE, BURST = 100.0, 256
PERMITS = 4
"""How many connections a tunnel may open before the first of them is served."""
_STARVED_S = 0.05
_FILES_EACH = 4
"""Descriptors of this process that one connection may take, with the one that its service opens."""


class _Room:
    """How many connections fit into this process."""

    def __init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.free = max(16, min(1024, files // 2 // _FILES_EACH)) if files > 0 else 1024
        self.lock = threading.Lock()


_room = _Room()


class Ports:
    """Runs the services of one box."""

    def __init__(self, services: Mapping[int, Service]) -> None:
        self.numbers = tuple(sorted(services))
        for port in self.numbers:
            if type(port) is not int or not 1024 <= port <= 65535:
                raise ValueError(f"SandboxSpec.services: {port!r} is not a port from 1024 to 65535")
        self.services = dict(services)
        """Looked up for every connection, so who answers may change while the box is open."""
        self._running: set[socket.socket] = set()
        self._held = 0
        self._tokens, self._filled = float(BURST), time.monotonic()
        self.closed = False

    def reserve(self) -> bool:
        """Whether there is room for one more connection; `run` uses it up, `release` gives it back."""
        with _room.lock:
            now = time.monotonic()
            self._tokens = min(BURST, self._tokens + RATE * (now - self._filled))
            self._filled = now
            if self.closed or self._tokens < 1 or self._held >= min(MOST, _room.free):
                return False
            self._tokens -= 1
            self._held += 1
            _room.free -= 1
            return True

    def release(self) -> None:
        with _room.lock:
            self._held -= 1
            _room.free += 1

    def run(self, port: int, sock: socket.socket) -> None:
        """Serve a connection in a new thread."""
        sock.setblocking(True)
        with _room.lock:
            self._running.add(sock)
        thread = threading.Thread(target=self._serve, args=(port, sock), name=f"port-{port}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread left
            self._end(sock)

    def close(self) -> None:
        """End every connection; the services' threads follow."""
        with _room.lock:
            self.closed = True
            for sock in self._running:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, port: int, sock: socket.socket) -> None:
        try:
            if not self.closed:
                self.services[port](sock)
        except OSError:  # the box's end of it went away
            pass
        finally:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        with _room.lock:
            self._running.discard(sock)
            sock.close()
        self.release()


class Listeners:
    """Accepts what arrives at a box's listening sockets, by port."""

    def __init__(self, ports: Ports, sockets: Mapping[int, socket.socket]) -> None:
        self._ports, self._sockets = ports, sockets
        self._thread = threading.Thread(target=self._loop, name="box-listeners", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ports.close()
        for sock in self._sockets.values():
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes them
        self._thread.join(5)

    def _loop(self) -> None:
        ready, by_fd = poll(), {sock.fileno(): (port, sock) for port, sock in self._sockets.items()}
        for fd in by_fd:
            ready.register(fd, POLLIN)
        while not self._ports.closed:
            for fd, _ in ready.poll():
                if self._ports.reserve():
                    self._accept(*by_fd[fd])
                elif not self._ports.closed:
                    time.sleep(_STARVED_S)
        for sock in self._sockets.values():
            sock.close()

    def _accept(self, port: int, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            self._ports.release()
            time.sleep(_STARVED_S)
            return
        self._ports.run(port, sock)


def receive_listeners(link: socket.socket, ports: Ports) -> Listeners:
    """Receive the listening sockets that `guest.ports` sends. Raises SandboxError."""
    link.settimeout(60)
    try:
        _, fds, _, _ = socket.recv_fds(link, 1, len(ports.numbers))
    except OSError as e:
        raise SandboxError(f"the box gave no ports: {e}") from e
    if len(fds) != len(ports.numbers):
        for fd in fds:
            os.close(fd)
        raise SandboxError("the box gave no ports")
    found = {port: socket.socket(fileno=fd) for port, fd in zip(ports.numbers, fds, strict=True)}
    for sock in found.values():
        sock.setblocking(False)
    return Listeners(ports, found)


class TunnelStream(Protocol):
    """An attached stream; `socket` is what it runs over."""

    socket: Any

    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Link:
    """A stream as `Mux` wants it: it never waits."""

    def __init__(self, stream: TunnelStream) -> None:
        self._stream = stream
        stream.socket.settimeout(0)
        self.reader = self.writer = stream.socket.fileno()

    def read(self) -> bytes:
        try:
            return self._stream.recv(4 * CHUNK)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def write(self, data: bytearray) -> int:
        try:
            return int(self._stream.socket.send(data))
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None


class Tunnel(Mux):
    """The harness's end of `guest.tunnel`, over a stream on which that has said that it is ready."""

    def __init__(self, ports: Ports, stream: TunnelStream) -> None:
        super().__init__(_Link(stream))
        self._ports, self._stream = ports, stream
        self._waiting: deque[tuple[int, Conn]] = deque()
        self._permits = PERMITS
        self.send(PERMIT, 0, PERMITS)
        self._thread = threading.Thread(target=self._loop, name="box-tunnel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ports.close()
        with suppress(OSError):
            self._stream.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        self._thread.join(5)

    def opened(self, key: int, port: int) -> None:
        if self._permits < 1 or port not in self._ports.numbers or key in self.conns:
            raise ValueError("a connection that was not permitted")
        self._permits -= 1
        conn = self.conns[key] = Conn(key, None)
        self._waiting.append((port, conn))

    def receive(self) -> bool:
        """Read until nothing more is there, for no poll tells of what a stream has buffered itself."""
        while super().receive():
            pass
        return False

    def _loop(self) -> None:
        try:
            while not self._ports.closed:
                self.step(round(1000 * _STARVED_S) if self._waiting else None)
                while self._waiting and self._ports.reserve():
                    self._begin(*self._waiting.popleft())
        except (OSError, EOFError, ValueError):  # the box has no network any more; nothing else
            pass
        finally:
            for conn in list(self.conns.values()):
                self.drop(conn)
            self._stream.close()

    def _begin(self, port: int, conn: Conn) -> None:
        self._permits += 1
        self.send(PERMIT, 0, 1)
        if self.conns.get(conn.key) is not conn:  # it went away again
            return self._ports.release()
        try:
            ours, theirs = socket.socketpair()
        except OSError:  # no descriptor left
            self._ports.release()
            return self.drop(conn, RESET)
        self.attach(conn, ours)
        return self._ports.run(port, theirs)
