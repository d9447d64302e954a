"""The proxy and its list without a box: what is let through, what is not, and what it costs the harness."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.sandbox import SandboxSpec
from plateau_bench.sandbox.network.allow import AllowList
from plateau_bench.sandbox.network.proxy import PORT, Proxy, with_proxy

RESOLVED: Mapping[str, tuple[str, ...]] = {
    "here.test": ("127.0.0.1",),
    "rebound.test": ("127.0.0.1",),
    "mixed.test": ("93.184.215.14", "10.0.0.1"),
    "metadata.test": ("169.254.169.254",),
}


def resolve(name: str) -> tuple[str, ...]:
    return RESOLVED.get(name, (name,))


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server whose connections are answered by a function, each in a thread; yields its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def one(sock: socket.socket) -> None:
            with sock, suppress(OSError):
                answer(sock)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ask(proxy: Proxy, *parts: bytes, end: bool = True) -> bytes:
    """What the proxy answers to these bytes, up to the end of the connection."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)

    def serve() -> None:
        with theirs, suppress(OSError):
            proxy(theirs)

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        for part in parts:
            ours.sendall(part)
        if end:
            ours.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while part := ours.recv(65536):
                answer += part
    thread.join(20)
    assert not thread.is_alive()
    return answer


def head_of(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (part := sock.recv(4096)):
        data += part
    return data


def reflect(sock: socket.socket) -> None:
    """A web server whose answer is the request."""
    head, _, body = head_of(sock).partition(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head)
    while size and len(body) < int(size[1]):
        body += sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + head + b"|" + body)
    sock.settimeout(0.3)
    with suppress(TimeoutError):  # what must not come
        sock.sendall(b"|more:" + sock.recv(4096))


def echo(sock: socket.socket) -> None:
    while part := sock.recv(65536):
        sock.sendall(part)


# --- the list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "example.org", 80, True),
        ("example.org", "example.org", 22, False),
        ("Example.ORG", "example.org", 443, True),
        ("example.org", "evil-example.org", 443, False),
        ("example.org", "example.org.evil.com", 443, False),
        ("example.org", "sub.example.org", 443, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 443, False),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "notexample.org", 443, False),
        ("*", "anything.example", 443, True),
        ("*", "anything.example", 25, False),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("10.0.0.0/8:9000", "10.1.2.3", 9000, True),
        ("10.0.0.0/8:9000", "11.1.2.3", 9000, False),
        ("[fd00::1]:9000", "fd00::1", 9000, True),
        ("fd00::/8", "fd12::3", 443, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 443, True),
        ("127.0.0.1", "localhost", 443, False),
    ],
)
def test_names(entry: str, host: str, port: int, allowed: bool) -> None:
    assert (AllowList([entry]).refuses_name(host, port) == "") is allowed


@pytest.mark.parametrize(
    "entry",
    ["", "http://example.org", "example.org/simple", "a b", "*.*", "a.*", "example.org:0"]
    + ["example.org:70000", "example.org:x", "10.0.0.300"]
    + ["10.0.0.1/8", "user@host", "-a", "[::1", "a..b", "a\n", "*x"],
)  # fmt: skip
def test_malformed_entries_are_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host") as error:
        AllowList(["example.org", entry])
    assert repr(entry) in str(error.value)


PRIVATE = """
127.0.0.1 127.8.9.1 0.0.0.0 10.0.0.1 172.16.5.5 192.168.0.1 169.254.169.254 100.64.0.1 100.100.100.200
192.0.0.192 168.63.129.16 224.0.0.1 255.255.255.255 240.0.0.1 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0
fd00:ec2::254 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
2002:7f00:1::1 2002:a00:1::1 2001:0:1::1 2001:db8::1 100::1 word
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_no_name_leads_to_a_private_address(address: str) -> None:
    assert AllowList(["*", "example.org"]).refuses_address(address, 443)


def test_public_addresses_and_listed_ones() -> None:
    hosts = AllowList(["*", "10.0.0.7:9000", "fd00::/16"])
    assert hosts.refuses_address("93.184.215.14", 443) == ""
    assert hosts.refuses_address("2606:4700::1111", 443) == ""
    assert hosts.refuses_address("10.0.0.7", 9000) == ""
    assert hosts.refuses_address("10.0.0.7", 443)
    assert hosts.refuses_address("10.0.0.8", 9000)
    assert hosts.refuses_address("fd00::5", 80) == ""


@given(st.text(max_size=30), st.integers(0, 70000))
def test_any_text_is_refused_or_matches_itself(text: str, port: int) -> None:
    with suppress(ValueError):
        AllowList([text]).refuses_name("host.example", port)
    assert AllowList(["other.example"]).refuses_name(text, port)


# --- the proxy ------------------------------------------------------------------------------------------


def test_plain_http_reaches_a_listed_host_as_itself() -> None:
    with serving(reflect) as port:
        proxy = Proxy([f"here.test:{port}", f"127.0.0.1:{port}"], resolve=resolve)
        url = b"http://here.test:%d/a?b=c" % port
        sent = b"POST %s HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: x\r\nA: b\r\nConnection: a2\r\n"
        answer = ask(
            proxy, sent % url + b"A2: b\r\nContent-Length: 4\r\n\r\nbo", b"dyGET /smuggled HTTP/1.1\r\n\r\n"
        )
    head, _, body = answer.partition(b"\r\n\r\n")[2].partition(b"|")
    host = b"Host: here.test:%d" % port
    assert head.split(b"\r\n") == [
        b"POST /a?b=c HTTP/1.1", host, b"a: b", b"content-length: 4", b"Connection: close"
    ]  # fmt: skip
    assert body == b"body"  # and nothing behind it: that request was not checked
    (visit,) = proxy.visits()
    assert (visit.host, visit.port, visit.allowed, visit.reason) == ("here.test", port, True, "")
    assert (visit.sent, visit.received) == (len(head) + 8, len(answer))


def test_connect_carries_bytes_both_ways() -> None:
    data = bytes(range(256)) * 8_000
    with serving(echo) as port:
        proxy = Proxy([f"127.0.0.1:{port}"])
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=lambda: proxy(theirs))
        thread.start()
        with closing(ours):
            ours.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nearly" % port)
            assert head_of(ours).startswith(b"HTTP/1.1 200")

            def send() -> None:
                ours.sendall(data)
                ours.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            got = b""
            while part := ours.recv(65536):
                got += part
            sender.join()
        thread.join(10)
    assert got.removeprefix(b"early") == data or got == data  # `head_of` may have read the echo's start
    (visit,) = proxy.visits()
    assert (visit.sent, visit.received) == (len(data) + 5, len(data) + 5)


@pytest.mark.parametrize(
    ("allow", "target", "why"),
    [
        (["example.org"], "evil.test:443", "not among the hosts"),
        (["*"], "10.0.0.1:443", "not a public address"),
        (["*"], "rebound.test:443", "not a public address"),
        (["rebound.test"], "rebound.test:443", "not a public address"),
        (["*"], "metadata.test:80", "not a public address"),
        (["*"], "mixed.test:443", "not a public address"),
        (["*"], "[::ffff:127.0.0.1]:443", "not a public address"),
        (["*"], "here.test:22", "not among the hosts"),
    ],
)
def test_what_is_refused_says_why(allow: list[str], target: str, why: str) -> None:
    proxy = Proxy(allow, resolve=resolve)
    answer = ask(proxy, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(b"HTTP/1.1 403 ")
    assert why.encode() in first
    assert why.encode() in rest
    (visit,) = proxy.visits()
    assert (visit.allowed, visit.sent, visit.received) == (False, 0, 0)
    assert why in visit.reason


def test_the_checked_address_is_the_one_that_is_used() -> None:
    """A name server that answers differently every time is asked once."""
    answers = iter([("127.0.0.1",), ("10.0.0.1",)])
    with serving(reflect) as port:
        proxy = Proxy([f"turns.test:{port}", f"127.0.0.1:{port}"], resolve=lambda _: next(answers))
        url = b"http://turns.test:%d/" % port
        assert ask(proxy, b"GET %s HTTP/1.1\r\n\r\n" % url).startswith(b"HTTP/1.1 200")
        assert ask(proxy, b"GET %s HTTP/1.1\r\n\r\n" % url).startswith(b"HTTP/1.1 403")


def test_numbers_that_stand_for_loopback() -> None:
    """The C library reads these as 127.0.0.1; the system's own resolver is asked here."""
    proxy = Proxy(["*"])
    for host in ("2130706433", "0x7f000001", "127.1", "017700000001", "localhost", "0"):
        assert ask(proxy, f"CONNECT {host}:80 HTTP/1.1\r\n\r\n".encode())[:12] in (
            b"HTTP/1.1 403",
            b"HTTP/1.1 502",
        )


def test_the_machine_s_own_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    assert AllowList(["*"]).refuses_address(own, 443)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET https://example.org/ HTTP/1.1\r\n\r\n",
        b"CONNECT example.org HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:443/x HTTP/1.1\r\n\r\n",
        b"CONNECT a@example.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:99999 HTTP/1.1\r\n\r\n",
        b"CONNECT example.org%00.evil:443 HTTP/1.1\r\n\r\n",
        b"GET http://example.org/ HTTP/2\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nno header\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nA: b\nHost: evil\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"A" * 40_000,
    ],
)
def test_what_is_not_clear_is_not_forwarded(request_: bytes) -> None:
    proxy = Proxy(["example.org"], resolve=lambda _: pytest.fail("looked up"))  # type: ignore[arg-type]
    assert ask(proxy, request_)[9:12] in (b"400", b"411", b"431")


@given(st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=60, deadline=None)
def test_garbage_is_answered_or_dropped(parts: list[bytes]) -> None:
    proxy = Proxy(["example.org"], resolve=lambda _: [])
    answer = ask(proxy, b"GET http://", *parts, b"\r\n\r\n")
    assert answer[:9] in (b"HTTP/1.1 ", b"")
    assert answer[9:10] in (b"4", b"5", b"")


def test_no_more_bytes_than_permitted() -> None:
    with serving(echo) as port:
        proxy = Proxy([f"127.0.0.1:{port}"], max_bytes=1_000_000)
        request = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=lambda: (proxy(theirs), theirs.close()))
        thread.start()
        with closing(ours), suppress(OSError):
            ours.sendall(request)
            while True:
                ours.sendall(bytes(65536))
                ours.recv(65536)
        thread.join(10)
        assert not thread.is_alive()
        (visit,) = proxy.visits()
        assert visit.sent + visit.received < 2_000_000
        assert ask(proxy, request).startswith(b"HTTP/1.1 403 this box has used up")


def test_a_reader_that_never_reads_holds_little() -> None:
    """The sender is made to wait; nothing piles up in between."""
    sent = 0

    def flood(sock: socket.socket) -> None:
        nonlocal sent
        head_of(sock)
        while True:
            sent += sock.send(bytes(65536))

    with serving(flood) as port:
        proxy = Proxy([f"127.0.0.1:{port}"])
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=lambda: (proxy(theirs), theirs.close()))
        thread.start()
        ours.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % port)
        before = -1
        while before != sent:
            before = sent
            time.sleep(0.2)
        assert 0 < sent < 16 << 20
        ours.close()
        thread.join(10)
        assert not thread.is_alive()


def test_a_spec_with_a_network_gets_the_proxy_as_a_service() -> None:
    spec, visits = with_proxy(SandboxSpec(network=("example.org",), env={"HTTP_PROXY": "mine", "A": "b"}))
    proxy = spec.services[PORT]
    assert isinstance(proxy, Proxy)
    assert visits == proxy.visits
    assert spec.env["https_proxy"] == f"http://127.0.0.1:{PORT}"
    assert (spec.env["HTTP_PROXY"], spec.env["A"]) == ("mine", "b")
    plain = SandboxSpec()
    assert with_proxy(plain) == (plain, tuple)
    with pytest.raises(ValueError, match="port 3128 is the proxy's"):
        with_proxy(SandboxSpec(network=("example.org",), services={PORT: lambda _: None}))
    with pytest.raises(ValueError, match="tuple of hosts"):
        SandboxSpec(network=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tuple of hosts"):
        SandboxSpec(network="example.org")  # type: ignore[arg-type]
