"""A box without network reaches nobody by any kind of socket."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxSpec

from .conftest import attempt, outside

pytestmark = pytest.mark.escapes


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A service on this machine's own loopback."""
    try:
        listener = socket.create_server(("", 0), family=request.param, backlog=16)
    except OSError as e:
        pytest.skip(f"this machine has no such network: {e}")
    with closing(listener):
        yield listener


CONNECT = """
family, port = int(sys.argv[1]), int(sys.argv[2])
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.settimeout(3)
    found = trial(s.connect, ("127.0.0.1" if family == socket.AF_INET else "::1", port))
"""


def test_tcp_does_not_reach_the_host(box: Sandbox, server: socket.socket) -> None:
    family, port = int(server.family), server.getsockname()[1]
    assert outside(CONNECT, family, port) == 0
    assert attempt(box, CONNECT, family, port) != 0


def test_tcp_has_no_route_out(box: Sandbox) -> None:
    code = """
found = []
for family, address in ((2, "192.0.2.1"), (2, "10.0.0.1"), (2, "169.254.169.254"), (2, "172.17.0.1"),
                        (10, "2001:db8::1"), (10, "fe80::1")):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        found.append(trial(s.connect, (address, 80)))
"""
    assert set(attempt(box, code)) <= {
        "ENETUNREACH",
        "EADDRNOTAVAIL",
        "EINVAL",
        "EAFNOSUPPORT",
        "EHOSTUNREACH",
    }


SEND = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    found = [trial(s.sendto, sys.argv[2].encode(), ("127.0.0.1", int(sys.argv[1]))),
             trial(s.sendto, b"x", ("192.0.2.1", 53))]
"""


def test_udp_does_not_reach_the_host(box: Sandbox) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        port = receiver.getsockname()[1]
        assert attempt(box, SEND, port, "inside")[1] == "ENETUNREACH"
        assert outside(SEND, port, "outside")[0] == 0
        assert receiver.recv(10) == b"outside"  # in order, so nothing came from inside


def test_names_do_not_resolve(box: Sandbox) -> None:
    code = """
try:
    found = socket.getaddrinfo("example.org", 80)
except OSError as e:
    found = None
"""
    assert attempt(box, code) is None


def test_only_plain_kinds_of_socket(box: Sandbox) -> None:
    """No raw or packet sockets, and none of the families that ignore network namespaces (vsock, ...)."""
    code = """
found = {}
for family in range(46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind, socket.IPPROTO_ICMP if kind == socket.SOCK_RAW else 0).close()
            found.setdefault(family, []).append(int(kind))
        except OSError:
            pass
"""
    found = {int(family): set(kinds) for family, kinds in attempt(box, code).items()}
    unix, v4, v6, netlink = (
        int(f) for f in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
    )
    assert set(found) <= {unix, v4, v6, netlink}
    assert {int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)} == found[v4]  # the probe can tell
    assert found.get(v6, found[v4]) == found[v4]


def test_no_interface_but_loopback(box: Sandbox) -> None:
    code = "found = [[name for _, name in socket.if_nameindex()], content('/proc/net/route', 4000)]"
    assert outside(code)[0]
    names, routes = attempt(box, code)
    assert names in ([], ["lo"])
    assert len(routes.splitlines()) <= 1


UNIX = """
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(3)
    found = trial(s.connect, "\\0" + sys.argv[1])
"""


def test_abstract_sockets_of_the_host_are_out_of_reach(box: Sandbox) -> None:
    name = f"plateau-escapes-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen(4)
        assert outside(UNIX, name) == 0
        assert attempt(box, UNIX, name) == "ECONNREFUSED"


def test_no_engine_socket(box: Sandbox) -> None:
    code = """
found = []
for top, folders, names in os.walk("/"):
    if top in ("/proc", "/sys"):
        folders.clear()
    for name in names:
        path = os.path.join(top, name)
        try:
            if (os.lstat(path).st_mode & 0o170000) == 0o140000:
                found.append(path)
        except OSError:
            pass
"""
    assert attempt(box, code) == []  # no socket of any kind, wherever an engine may keep its own
    planted = "s = socket.socket(socket.AF_UNIX)\ns.bind('planted')\n"
    assert attempt(box, planted + code) == [f"{SandboxSpec().workdir}/planted"]


def test_boxes_do_not_share_loopback(box: Sandbox, backend: Backend) -> None:
    box.write(
        "serve.py", b"import socket, time\ns = socket.create_server(('127.0.0.1', 4567))\ntime.sleep(60)\n"
    )
    box.run("python3 serve.py &")
    family = int(socket.AF_INET)
    deadline = time.monotonic() + 20
    while attempt(box, CONNECT, family, 4567):
        assert time.monotonic() < deadline, "the service is not up in its own box"
    with closing(backend.open()) as other:
        assert attempt(other, CONNECT, family, 4567) == "ECONNREFUSED"
