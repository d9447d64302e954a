"""The harness's end of a tunnel against a guest that keeps to nothing; how connections share the process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.sandbox.guest.tunnel import (
    CHUNK,
    CLOSE,
    CREDIT,
    DATA,
    END,
    HEAD,
    OPEN,
    PERMIT,
    RESET,
    WINDOW,
)
from plateau_bench.sandbox.network.services import BURST, MOST, PERMITS, Ports, Tunnel


class Stream:
    """A plain socket as an attached stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def recv(self, size: int, /) -> bytes:
        return self.socket.recv(size)

    def close(self) -> None:
        self.socket.close()


def echo(sock: socket.socket) -> None:
    while part := sock.recv(65536):
        sock.sendall(part)


@contextmanager
def guest(service: Callable[[socket.socket], None] = echo) -> Iterator[tuple[socket.socket, Tunnel]]:
    """The box's end of the link, in the test's hands; port 8000 is `service`."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    tunnel = Tunnel(Ports({8000: service}), Stream(theirs))
    with ours:
        try:
            assert frame(ours) == (PERMIT, 0, PERMITS, b"")
            yield ours, tunnel
        finally:
            tunnel.close()
    assert not [t for t in threading.enumerate() if t.name == "box-tunnel"]


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def frame(sock: socket.socket) -> tuple[int, int, int, bytes]:
    kind, key, number = HEAD.unpack(exactly(sock, HEAD.size))
    return kind, key, number, exactly(sock, number) if kind == DATA else b""


def deliver(sock: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        sock.sendall(data)


def ended(sock: socket.socket) -> bool:
    """Whether the harness has hung up."""
    with suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def test_a_connection_from_its_opening_to_its_end() -> None:
    with guest() as (link, _):
        link.sendall(HEAD.pack(OPEN, 1, 8000) + HEAD.pack(DATA, 1, 5) + b"hello")
        assert frame(link) == (PERMIT, 0, 1, b"")
        assert frame(link) == (DATA, 1, 5, b"hello")
        link.sendall(HEAD.pack(END, 1, 0))
        assert frame(link)[0] in (END, CLOSE)


def test_a_service_that_ends_closes_the_connection_for_good() -> None:
    with guest(lambda sock: sock.sendall(b"bye")) as (link, _):
        link.sendall(HEAD.pack(OPEN, 1, 8000))
        assert [frame(link)[0] for _ in range(4)] == [PERMIT, DATA, END, CLOSE]
        link.sendall(HEAD.pack(DATA, 1, 1) + b"x" + HEAD.pack(OPEN, 2, 8000))  # the first is late: ignored
        assert frame(link)[0] == PERMIT


def test_no_more_than_a_window_is_on_its_way() -> None:
    def flood(sock: socket.socket) -> None:
        while True:
            sock.sendall(bytes(CHUNK))

    with guest(flood) as (link, _):
        link.sendall(HEAD.pack(OPEN, 1, 8000))
        assert frame(link)[0] == PERMIT
        got = 0
        while got < WINDOW:
            got += frame(link)[2]
        assert got == WINDOW
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(1)
        link.settimeout(10)
        link.sendall(HEAD.pack(CREDIT, 1, 1000))
        assert frame(link)[:3] == (DATA, 1, 1000)


@pytest.mark.parametrize(
    "frames",
    [
        HEAD.pack(OPEN, 1, 8001),
        HEAD.pack(OPEN, 1, 8000) + HEAD.pack(OPEN, 1, 8000),
        b"".join(HEAD.pack(OPEN, key, 8000) for key in range(PERMITS + 1)),
        HEAD.pack(PERMIT, 0, 1),
        HEAD.pack(9, 0, 0),
        HEAD.pack(DATA, 1, CHUNK + 1),
        HEAD.pack(DATA, 1, 0),
        HEAD.pack(OPEN, 1, 8000) + HEAD.pack(CREDIT, 1, 1),
        HEAD.pack(OPEN, 1, 8000) + HEAD.pack(END, 1, 0) + HEAD.pack(DATA, 1, 1) + b"x",
        HEAD.pack(OPEN, 1, 8000) + (HEAD.pack(DATA, 1, CHUNK) + bytes(CHUNK)) * (4 * WINDOW // CHUNK),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_guest_out_of_protocol_loses_its_tunnel(frames: bytes) -> None:
    """In one piece, so that nothing is served in between."""
    wait = threading.Event()
    with guest(lambda _: wait.wait(10) and None) as (link, _):
        threading.Thread(target=deliver, args=(link, frames), daemon=True).start()
        assert ended(link)
        wait.set()


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.integers(0, 70_000), st.binary(max_size=20)))
)
@settings(max_examples=60, deadline=None)
def test_any_frames_leave_nothing_behind(frames: list[tuple[int, int, int, bytes]]) -> None:
    with guest() as (link, _), suppress(OSError):
        for kind, key, number, data in frames:
            number = len(data) if kind == DATA else 8000 if kind == OPEN and number % 2 else number
            link.sendall(HEAD.pack(kind, key, number) + (data if kind == DATA else b""))


def test_resets_do_not_open_the_gate() -> None:
    """Opening and resetting at once is limited like any other connection."""
    with guest() as (link, tunnel):
        deadline, opened, permits = time.monotonic() + 2.0, 0, PERMITS
        link.settimeout(0.05)
        while time.monotonic() < deadline:
            while permits:
                opened, permits = opened + 1, permits - 1
                link.sendall(HEAD.pack(OPEN, opened, 8000) + HEAD.pack(RESET, opened, 0))
            with suppress(TimeoutError):
                kind, _, number, _ = frame(link)
                permits += number if kind == PERMIT else 0
        assert opened < BURST + 100 * 2.5 + PERMITS


def test_a_greedy_box_leaves_room_for_the_next() -> None:
    greedy, modest = Ports({8000: echo}), Ports({8000: echo})
    held = 0
    while greedy.reserve():
        held += 1
    assert 8 <= held <= MOST
    assert modest.reserve()
    for ports, count in ((greedy, held), (modest, 1)):
        for _ in range(count):
            ports.release()


@pytest.mark.parametrize("port", [0, 80, 70_000, "8000", True])
def test_ports_out_of_range_are_named(port: int) -> None:
    with pytest.raises(ValueError, match="is not a port from 1024 to 65535"):
        Ports({port: echo})
