"""The only way out of a box with a network: an HTTP/1.1 proxy in the harness that knows a list of hosts.

CONNECT makes a tunnel to a listed host, which TLS then uses; plain HTTP comes as `GET http://host/path`.
Names are resolved here, and the connection goes to the very address that was checked. What is refused gets
403 and a line that says why. TLS is not opened: what an allowed host serves, all of it is in reach.

The other end is hostile. A head has 32 KiB and 30 s, an idle connection IDLE_S, a box `max_bytes` in all; of
data under way no more than a piece is held in each direction.
"""

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP, poll

from plateau_bench.sandbox.base import SandboxSpec, Service, Visit
from plateau_bench.sandbox.network.allow import AllowList, valid_name

PORT = 3128
"""Where a box finds it, on its own 127.0.0.1."""
IDLE_S, HALF_S = 300.0, 30.0
"""How long nothing may happen: on a connection, and on one that one end has finished."""
_URL = f"http://127.0.0.1:{PORT}"
ENV = {name: _URL for key in ("HTTP_PROXY", "HTTPS_PROXY") for name in (key, key.lower())}
ENV |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1") | {"NODE_USE_ENV_PROXY": "1"}
_HEAD_BYTES, _HEAD_S, _CONNECT_S = 32_768, 30.0, 15.0
_PIECE = 1 << 17
_MOST_VISITS = 10_000
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,16000}) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)")
_TARGET = re.compile(
    r"(?P<scheme>http://)?(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^][:/?#@]+))"
    r"(?::(?P<port>\d{1,5}))?(?P<path>[/?].*)?"
)
_HOP = {b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"te", b"trailer"}
_HOP |= {b"upgrade", b"host"}


def look_up(host: str) -> list[str]:
    """Return the addresses of a name. Raises OSError."""
    return list(
        dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM))
    )


def with_proxy(spec: SandboxSpec) -> tuple[SandboxSpec, Callable[[], Sequence[Visit]]]:
    """Return the spec with its network turned into a service, the proxy, and what lists the box's visits.

    The environment points the box at the proxy. Raises ValueError for a malformed list.
    """
    if not spec.network:
        return spec, tuple
    if PORT in spec.services:
        raise ValueError(f"SandboxSpec.services: port {PORT} is the proxy's when there is a network")
    proxy = Proxy(spec.network)
    services: dict[int, Service] = {**spec.services, PORT: proxy}
    return replace(spec, env={**ENV, **spec.env}, services=services), proxy.visits


class _Refused(Exception):
    """Status code and reason of an answer that is not the asked host's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Proxy:
    """A `Service` that lets a box reach what is listed. Raises ValueError for a malformed list.

    `resolve`: name to addresses, may raise OSError. `max_bytes`: of all connections together.
    """

    def __init__(
        self,
        allow: Sequence[str],
        *,
        resolve: Callable[[str], Sequence[str]] = look_up,
        max_bytes: int = 20_000_000_000,
    ) -> None:
        self._allow, self._resolve, self._left = AllowList(allow), resolve, max_bytes
        self._visits: list[Visit] = []
        self._lock = threading.Lock()

    def visits(self) -> tuple[Visit, ...]:
        """Every request so far, the first 10,000 of them, in order of arrival."""
        with self._lock:
            return tuple(self._visits)

    def __call__(self, client: socket.socket) -> None:
        try:
            method, target, headers, rest = _read_head(client)
            host, port, path = _split(method, target)
        except _Refused as e:
            return _answer(client, e.status, str(e))
        visit = Visit(host=host, port=port, allowed=True)
        number = self._note(visit)
        sent = received = status = 0
        reason = ""
        try:
            whole, limit = method != b"CONNECT", sys.maxsize
            if whole:
                head, limit = _forwarded(method, path, host, port, headers)
                rest = head + rest[:limit]
                limit -= len(rest) - len(head)
            with self._connect(host, port) as upstream:
                if not whole:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                up, down = _Way(client, upstream, rest, limit), _Way(upstream, client)
                try:
                    reason = _pump(up, down, whole, self._spend)
                finally:
                    sent, received = up.count, down.count
        except _Refused as e:
            reason, status = str(e), e.status
        except OSError as e:
            reason = reason or e.strerror or type(e).__name__
        finally:
            allowed = status != 403
            self._note(replace(visit, allowed=allowed, reason=reason, sent=sent, received=received), number)
        return _answer(client, status, reason) if status else None

    def _note(self, visit: Visit, number: int | None = None) -> int | None:
        with self._lock:
            if number is not None:
                self._visits[number] = visit
            elif len(self._visits) < _MOST_VISITS:
                self._visits.append(visit)
                return len(self._visits) - 1
        return number

    def _spend(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            return self._left >= 0

    def _connect(self, host: str, port: int) -> socket.socket:
        """A connection to an address that was checked. Raises _Refused."""
        if why := self._allow.refuses_name(host, port):
            raise _Refused(403, why)
        if not self._spend(0):
            raise _Refused(403, "this box has used up the bytes it may transfer")
        try:
            found = self._resolve(host)
        except OSError:
            found = []
        if not found:
            raise _Refused(502, f"{host} has no address")
        for address in found:
            if why := self._allow.refuses_address(address, port):
                raise _Refused(403, f"{host}:{port} leads where no box may go: {why}")
        deadline, problem = time.monotonic() + _CONNECT_S, "no time left"
        for address in found:
            upstream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            try:
                upstream.settimeout(max(1.0, deadline - time.monotonic()))
                upstream.connect((address, port))
                return upstream
            except OSError as e:
                upstream.close()
                problem = e.strerror or str(e)
            if time.monotonic() >= deadline:
                break
        raise _Refused(502, f"{host}:{port} does not answer: {problem}")


def _read_head(client: socket.socket) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """Method, target, headers, and what came after them. Raises _Refused, OSError."""
    data, deadline = b"", time.monotonic() + _HEAD_S
    while b"\r\n\r\n" not in data:
        client.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            part = client.recv(8192)
        except TimeoutError:
            raise _Refused(408, "the request's head took too long") from None
        if not part:
            raise ConnectionError("the client went away")
        data += part
        if len(data) > _HEAD_BYTES:
            raise _Refused(431, "the request's head is too long")
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    headers = [_HEADER.fullmatch(line) for line in lines]
    if request is None or None in headers:
        raise _Refused(400, "not an HTTP/1.1 request to a proxy")
    return request[1], request[2], [(h[1].lower(), h[2].strip()) for h in headers if h], rest


def _split(method: bytes, target: bytes) -> tuple[str, int, str]:
    """Host, port, path. Raises _Refused."""
    found = _TARGET.fullmatch(target.decode("ascii"))
    connect = method == b"CONNECT"
    if (
        found is None
        or bool(found["scheme"]) == connect
        or (connect and (found["path"] or not found["port"]))
    ):
        raise _Refused(400, "a proxy takes CONNECT host:port, or http://host/path")
    host = (found["host"] or found["v6"]).lower().removesuffix(".")
    port = int(found["port"] or 80)
    if not valid_name(host) or not 0 < port < 65536:
        raise _Refused(400, "no such host or port")
    path = found["path"] or "/"
    return host, port, path if path.startswith("/") else "/" + path


def _forwarded(
    method: bytes, path: str, host: str, port: int, headers: list[tuple[bytes, bytes]]
) -> tuple[bytes, int]:
    """The head as the host gets it, and the body's length. The host named in it is the one that was checked.

    Raises _Refused where it is unclear how long the body is: the rest would be a request nobody has checked.
    """
    sizes = {value for key, value in headers if key == b"content-length"}
    if any(key == b"transfer-encoding" for key, _ in headers):
        raise _Refused(411, "this proxy needs a Content-Length for plain HTTP; or use HTTPS")
    if len(sizes) > 1 or not all(re.fullmatch(rb"\d{1,15}", size) for size in sizes):
        raise _Refused(400, "more than one Content-Length, or none that is a number")
    named = {
        word.strip().lower() for key, value in headers if key == b"connection" for word in value.split(b",")
    }
    name = f"[{host}]" if ":" in host else host
    lines = [b"%s %s HTTP/1.1" % (method, path.encode()), f"Host: {name}{f':{port}' * (port != 80)}".encode()]
    lines += [b"%s: %s" % (key, value) for key, value in headers if key not in _HOP | named]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]), int(sizes.pop()) if sizes else 0


def _answer(client: socket.socket, status: int, reason: str) -> None:
    line = "".join(c if " " <= c <= "~" else "?" for c in reason)[:400]
    body = f"plateau: {line}\n".encode()
    head = f"HTTP/1.1 {status} {line}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    client.settimeout(1.0)
    client.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
    client.shutdown(socket.SHUT_WR)
    for _ in range(64):  # what is still to come, unread, would take the answer away from its reader
        if not client.recv(_PIECE):
            return


class _Way:
    """One direction: at most one piece is held, and it is written before the next is read."""

    def __init__(
        self, source: socket.socket, sink: socket.socket, first: bytes = b"", limit: int = sys.maxsize
    ) -> None:
        """`limit`: bytes to read from `source` at most, beyond the `first` that have been read already."""
        self.source, self.sink, self.limit = source, sink, limit
        self.data = memoryview(first)
        self.count = len(first)
        self.ended = False

    @property
    def reads(self) -> bool:
        return not (self.data or self.ended or self.limit == 0)

    def turn(self, event: int) -> None:
        """Read if there is something, write on at once, and pass an end on."""
        ended = self.ended
        if event & ~(POLLOUT | POLLRDHUP) and self.reads:
            with suppress(BlockingIOError):
                part = self.source.recv(min(_PIECE, self.limit))
                self.data, self.ended = memoryview(part), not part
                self.count += len(part)
                self.limit -= len(part)
        if self.data:
            with suppress(BlockingIOError):
                self.data = self.data[self.sink.send(self.data) :]
        if self.ended and not ended:
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                self.data = memoryview(b"")


def _pump(up: _Way, down: _Way, whole: bool, spend: Callable[[int], bool]) -> str:
    """Carry both directions of a connection to their ends; why it ended early, or "". Raises OSError.

    `whole`: over with the answer, as plain HTTP is. `spend`: whether that many bytes are left.
    """
    client, upstream = up.source, up.sink
    client.settimeout(0)
    upstream.settimeout(0)
    poller = poll()
    while True:
        client_mask = POLLIN * up.reads | POLLOUT * bool(down.data)
        upstream_mask = POLLIN * down.reads | POLLOUT * bool(up.data)
        done = up.limit == 0 and not up.ended
        poller.register(client, client_mask | POLLRDHUP * done)  # always: one that is gone ends it all
        poller.register(upstream, upstream_mask)
        if not upstream_mask:
            poller.unregister(upstream)
        half = up.ended or down.ended
        events = dict(poller.poll(1000 * (HALF_S if half else IDLE_S)))
        if not events:
            return "idle for too long"
        at_client, at_upstream = events.get(client.fileno(), 0), events.get(upstream.fileno(), 0)
        if at_client & (POLLERR | POLLHUP | POLLNVAL) and not client_mask & POLLIN:
            return "the box went away"
        up.ended |= done and bool(at_client & POLLRDHUP)
        before = up.count + down.count
        up.turn(at_client if client_mask & POLLIN else 0)
        down.turn(at_upstream if upstream_mask & POLLIN else 0)
        if not spend(up.count + down.count - before):
            return "this box has used up the bytes it may transfer"
        if down.ended and not down.data and (whole or up.ended):
            return ""
