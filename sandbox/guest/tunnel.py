"""Guest beside a `Sandbox`: connections to ports of the box's loopback travel to the harness over one stream.

    frame, both directions:  >BII  kind, connection, number; after DATA that many bytes

The harness runs the same `Mux` at its end. A connection may have WINDOW bytes under way in each direction,
so neither end ever holds more than that for it, however slow its reader is. Only the guest opens connections,
and only as many as the harness has permitted.

Runs as another user than the commands in the box, so they can neither stop nor read it. Python 3.9 is enough.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct

from plateau_bench.sandbox.guest.core import confine, read_config, reply, seccomp_filter
from plateau_bench.sandbox.guest.ports import listen

OPEN, DATA, END, CLOSE, RESET, CREDIT, PERMIT = range(7)
"""OPEN: number is the port. END: no more data comes. CLOSE: nor is any read. RESET: nothing counts any more.
CREDIT: that many bytes more may come. PERMIT: that many connections more may be opened."""
HEAD = struct.Struct(">BII")
WINDOW = 1 << 18
CHUNK = 1 << 16
HIGH = 1 << 20
"""With more than this on its way to the other end, nothing is read here."""
MOST = 200
"""Connections that a box holds; more wait in the kernel's queue."""
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Conn:
    """One connection: `sock` is this end's, or None while it has to wait for one."""

    def __init__(self, key: int, sock: socket.socket | None) -> None:
        self.key, self.sock = key, sock
        self.out = bytearray()  # for `sock`
        self.credit = self.room = WINDOW  # bytes that we, and that the other end, may send
        self.owed = 0  # bytes delivered that the other end has no credit for yet
        self.here_ended = self.there_ended = self.shut = False
        self.mask = -1


class Mux:
    """Connections over one link. `link` has `reader` and `writer` (descriptors), `read()` and `write(data)`,
    which raise BlockingIOError when there is nothing to do.

    Every method raises ValueError when the other end breaks the protocol, EOFError when it is gone.
    """

    def __init__(self, link) -> None:  # type: ignore[no-untyped-def]
        self.link = link
        self.conns: dict[int, Conn] = {}
        self.files: dict[int, Conn] = {}
        self.out, self.data = bytearray(), bytearray()
        self.all, self.narrow = select.poll(), select.poll()

    def step(self, timeout_ms: int | None = None) -> None:
        """Wait until something can be done, and do it."""
        for poller in (self.all, self.narrow):
            poller.register(self.link.reader, select.POLLIN)
            if self.out or self.link.writer == self.link.reader:
                mask = select.POLLOUT if self.out else 0
                mask |= select.POLLIN if self.link.writer == self.link.reader else 0
                poller.register(self.link.writer, mask)
            else:
                with contextlib.suppress(KeyError):
                    poller.unregister(self.link.writer)
        for fd, event in (self.narrow if len(self.out) > HIGH else self.all).poll(timeout_ms):
            if fd in (self.link.reader, self.link.writer):
                if event & ~select.POLLOUT and fd == self.link.reader:
                    self.receive()
            elif fd in self.files:
                self.local(self.files[fd], event)
            else:
                self.other(fd)
        with contextlib.suppress(BlockingIOError):
            if self.out:
                del self.out[: self.link.write(self.out)]

    def other(self, fd: int) -> None:
        """Something else that `all` watches is ready."""

    def opened(self, key: int, port: int) -> None:
        raise ValueError("only a box opens connections")

    def permitted(self, count: int) -> None:
        raise ValueError("only the harness permits connections")

    # --- this end ----------------------------------------------------------------------------------------

    def attach(self, conn: Conn, sock: socket.socket) -> None:
        sock.setblocking(False)
        conn.sock = sock
        self.conns[conn.key] = conn
        self.files[sock.fileno()] = conn
        self.flush(conn)

    def local(self, conn: Conn, event: int) -> None:
        """Read a piece from a connection, or write what waits for it."""
        assert conn.sock
        if conn.here_ended and event & _GONE:  # its owner has closed it for good
            return self.drop(conn, CLOSE)
        if conn.mask & select.POLLIN and event & ~select.POLLOUT:
            try:
                data = conn.sock.recv(min(CHUNK, conn.credit))
            except BlockingIOError:
                return None
            except OSError:
                return self.drop(conn, RESET)
            if data:
                conn.credit -= len(data)
                self.send(DATA, conn.key, len(data), data)
            else:
                conn.here_ended = True
                self.send(END, conn.key)
        return self.flush(conn)

    def flush(self, conn: Conn) -> None:
        """Write what can be written; then see what to wait for."""
        if conn.sock is None:
            return None
        try:
            if conn.out:
                done = conn.sock.send(conn.out)
                del conn.out[:done]
                conn.owed += done
        except BlockingIOError:
            pass
        except OSError:
            return self.drop(conn, RESET)
        if conn.owed >= WINDOW // 2:
            conn.room += conn.owed
            self.send(CREDIT, conn.key, conn.owed)
            conn.owed = 0
        if conn.there_ended and not conn.out:
            if conn.here_ended:
                return self.drop(conn)
            if not conn.shut:
                conn.shut = True
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_WR)
        mask = select.POLLOUT if conn.out else 0
        mask |= select.POLLIN if conn.credit and not conn.here_ended else 0
        if mask != conn.mask or conn.here_ended:
            conn.mask = mask
            if mask or conn.here_ended:  # without credit a hang-up would be told again and again
                self.all.register(conn.sock, mask)
            else:
                with contextlib.suppress(KeyError):
                    self.all.unregister(conn.sock)
        return None

    def drop(self, conn: Conn, tell: int | None = None) -> None:
        """Forget a connection, with a word to the other end or without."""
        self.conns.pop(conn.key, None)
        if tell is not None:
            self.send(tell, conn.key)
        if conn.sock:
            self.files.pop(conn.sock.fileno(), None)
            with contextlib.suppress(KeyError, ValueError):
                self.all.unregister(conn.sock)
            conn.sock.close()

    # --- the other end -----------------------------------------------------------------------------------

    def send(self, kind: int, key: int, number: int = 0, data: bytes = b"") -> None:
        self.out += HEAD.pack(kind, key, number)
        self.out += data

    def receive(self) -> bool:
        """Read a piece from the link, and act on every whole frame. False when there was nothing to read."""
        try:
            data = self.link.read()
        except BlockingIOError:
            return False
        if not data:
            raise EOFError
        self.data += data
        while len(self.data) >= HEAD.size:
            kind, key, number = HEAD.unpack_from(self.data)
            size = HEAD.size
            if kind == DATA:
                if not 0 < number <= CHUNK:
                    raise ValueError("a piece of impossible size")
                size += number
                if len(self.data) < size:
                    break
            payload = bytes(self.data[HEAD.size : size])
            del self.data[:size]
            self.act(kind, key, number, payload)
        return True

    def act(self, kind: int, key: int, number: int, data: bytes) -> None:
        if kind == OPEN:
            return self.opened(key, number)
        if kind == PERMIT:
            return self.permitted(number)
        if kind > PERMIT:
            raise ValueError("no such kind of frame")
        conn = self.conns.get(key)
        if conn is None:  # it has ended here, which the other end did not know yet
            return None
        if kind == RESET:
            if conn.sock and conn.sock.family == socket.AF_INET:  # its owner should see an error, not an end
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.drop(conn)
        if kind == CREDIT:
            conn.credit += number
            if conn.credit > WINDOW:
                raise ValueError("more credit than there is")
        elif conn.there_ended and kind != CLOSE:
            raise ValueError("data after the end")
        elif kind == DATA:
            conn.room -= number
            if conn.room < 0:
                raise ValueError("more data than permitted")
            conn.out += data
        else:
            conn.there_ended = True
            conn.here_ended |= kind == CLOSE
        return self.flush(conn)


class Pipes:
    """This process's own standard input and output as a link."""

    reader, writer = 0, 1

    def read(self) -> bytes:
        return os.read(0, 4 * CHUNK)

    def write(self, data: bytearray) -> int:
        return os.write(1, data)


class Guest(Mux):
    """The end in the box: accepts connections."""

    def __init__(self, listeners: dict[int, tuple[socket.socket, int]]) -> None:
        super().__init__(Pipes())
        self.listeners, self.permits, self.last, self.accepting = listeners, 0, 0, False

    def permitted(self, count: int) -> None:
        self.permits += count

    def step(self, timeout_ms: int | None = None) -> None:
        accepting = self.permits > 0 and len(self.conns) < MOST
        if accepting != self.accepting:
            self.accepting = accepting
            for fd in self.listeners:
                if accepting:
                    self.all.register(fd, select.POLLIN)
                else:
                    self.all.unregister(fd)
        super().step(timeout_ms)

    def other(self, fd: int) -> None:
        if fd not in self.listeners or self.permits < 1:  # it was closed in this very step
            return
        listener, port = self.listeners[fd]
        try:
            sock, _ = listener.accept()
        except OSError:  # it went away again, or descriptors are used up
            return
        self.permits -= 1
        self.last += 1
        self.send(OPEN, self.last, port)
        self.attach(Conn(self.last, sock), sock)


def main() -> None:
    ports = read_config()["ports"]
    confine(seccomp_filter(os.uname().machine, program=False))
    listeners = [listen(port) for port in ports]
    reply(1, {"ready": True})
    for fd in (0, 1):
        os.set_blocking(fd, False)
    guest = Guest({s.fileno(): (s, port) for s, port in zip(listeners, ports)})  # noqa: B905
    with contextlib.suppress(EOFError, OSError):
        while True:
            guest.step()
    os._exit(0)
