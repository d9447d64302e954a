"""A box with a network reaches what it may, and nothing else."""

import socket
from contextlib import closing
from typing import Any

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxSpec
from plateau_bench.sandbox.network.proxy import PORT, Proxy
from plateau_bench.sandbox.network.services import MOST

from .conftest import attempt
from .web import GET, net, port, until, works

__all__ = ["net", "port"]

pytestmark = pytest.mark.escapes


# --- what it is for -------------------------------------------------------------------------------------


def test_a_listed_host_is_reached_by_ordinary_programs(net: Sandbox, port: int) -> None:
    code = (
        GET
        + "found = [get(f'http://127.0.0.1:{sys.argv[1]}/'), get(f'http://127.0.0.1:{sys.argv[1]}/3000000')]"
    )
    assert attempt(net, code, port) == [2, 3_000_000]
    if net.run("command -v curl").exit_code == 0:
        done = net.run(f"curl --noproxy '' -sS http://127.0.0.1:{port}/")
        assert (done.stdout, done.exit_code) == ("ok", 0)
    visits = net.visits()
    assert {(v.host, v.port, v.allowed, v.reason) for v in visits} == {("127.0.0.1", port, True, "")}
    assert max(v.received for v in visits) > 3_000_000


def test_connections_live_while_commands_come_and_go(net: Sandbox, port: int) -> None:
    """One in the background goes on through other commands, until a command's time limit ends all of them."""
    net.write("/tmp/back.py", f"""
import socket, time
s = socket.create_connection(("127.0.0.1", {PORT}))
s.sendall(b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n")
assert b" 200 " in s.recv(1000)
open("up", "w").close()
while True:
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
    if not s.recv(1000): break
    time.sleep(0.02)
    s = socket.create_connection(("127.0.0.1", {PORT}))
    s.sendall(b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n")
    s.recv(1000)
    with open("count", "a") as f: f.write("x")
""".encode())  # fmt: skip
    net.run("python3 /tmp/back.py >/dev/null 2>&1 &")
    until(lambda: net.run("test -s count").exit_code == 0, "nothing came through in the background")
    before = len(net.read("count"))
    until(lambda: len(net.read("count")) > before + 3, "it stopped when a command ended")
    assert works(net, port)
    assert net.run("sleep 60", timeout_s=0.2).timed_out
    assert works(net, port)  # a time limit ends everything in a box but its network


def test_many_at_once(net: Sandbox, port: int) -> None:
    """More than are served at a time: the rest waits its turn."""
    code = (
        GET
        + """
import threading
found = []
threads = [threading.Thread(target=lambda: found.append(get(f"http://127.0.0.1:{sys.argv[1]}/slow", 60)))
           for _ in range(100)]
for batch in (threads[:50], threads[50:]):
    for t in batch: t.start()
for t in threads: t.join()
"""
    )
    net.write("/tmp/many.py", b"")
    results: list[Any] = []
    assert MOST < 100
    results += attempt(net, code, port, timeout_s=120)
    assert results == [2] * 100
    assert len(net.visits()) == 100


def test_two_hundred_connections(backend: Backend, port: int) -> None:
    """Two hundred that are open at the same time, from the client's side."""
    spec = SandboxSpec(network=(f"127.0.0.1:{port}",), pids=64)
    code = f"""
socks = [socket.create_connection(("127.0.0.1", {PORT}), timeout=60) for _ in range(200)]
for s in socks:
    s.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\\r\\n\\r\\n" % int(sys.argv[1]))
found = []
for s in socks:
    data = b""
    while part := s.recv(4096): data += part
    found.append(data.endswith(b"ok"))
"""
    with closing(backend.open(spec)) as box:
        assert attempt(box, code, port, timeout_s=120) == [True] * 200


def test_services_on_ports_of_their_own(backend: Backend) -> None:
    """What a gateway needs: another port, and bytes both ways at once; and no proxy without a network."""

    def upper(sock: socket.socket) -> None:
        while data := sock.recv(65536):
            sock.sendall(data.upper())

    def shout(sock: socket.socket) -> None:
        sock.sendall(b"hello")

    code = f"""
def talk(port, data):
    import threading
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    got = b""
    while part := s.recv(65536): got += part
    return got
data = b"abcdefgh" * 200_000
found = [talk(8001, data) == data.upper(), talk(8002, b"").decode(), "http_proxy" in os.environ]
with socket.socket() as s:
    found.append(trial(s.connect, ("127.0.0.1", {PORT})))
"""
    with closing(backend.open(SandboxSpec(services={8001: upper, 8002: shout}))) as box:
        assert attempt(box, code) == [True, "hello", False, "ECONNREFUSED"]
        assert box.visits() == ()


# --- what it must not do --------------------------------------------------------------------------------


def test_other_hosts_are_refused(net: Sandbox, port: int) -> None:
    code = (
        GET
        + """
import http.client
urls = ["http://example.org/", "http://127.0.0.1:1/", "http://localhost/", "http://169.254.169.254/latest/",
        "http://[::1]/", "http://2130706433/"]
found = [get(url) for url in urls]
c = http.client.HTTPConnection("127.0.0.1", 3128)
c.set_tunnel("example.org", 443)
try:
    c.request("GET", "/")
except OSError as e:
    found.append(str(e))
"""
    )
    *plain, tunnel = attempt(net, code)
    assert plain == [-403] * 6
    assert "403" in tunnel
    assert "example.org:443 is not among the hosts" in tunnel
    visits = net.visits()
    assert [v.allowed for v in visits] == [False] * 7
    assert all(v.received == v.sent == 0 for v in visits)


def test_nothing_is_reached_without_the_proxy(net: Sandbox, port: int) -> None:
    code = """
found = []
for family, address in ((2, ("127.0.0.1", int(sys.argv[1]))), (2, ("192.0.2.1", 80)), (2, ("10.0.0.1", 80)),
                        (10, ("2001:db8::1", 80))):
    with socket.socket(family) as s:
        s.settimeout(3)
        found.append(trial(s.connect, address))
found.append([name for _, name in socket.if_nameindex()])
try:
    found.append(socket.getaddrinfo("example.org", 80))
except OSError:
    found.append(None)
"""
    *errors, names, resolved = attempt(net, code, port)
    assert errors[0] == "ECONNREFUSED"
    assert 0 not in errors
    assert (names, resolved) == (["lo"], None)


def test_a_name_that_turns_private_is_refused(backend: Backend, port: int) -> None:
    """A wish for any public host, and a name server in enemy hands."""
    answers = iter([["127.0.0.1"], ["10.0.0.1", "93.184.215.14"], ["::ffff:127.0.0.1"], ["169.254.169.254"]])
    proxy = Proxy(["*", f"*:{port}", f"rebind.test:{port}"], resolve=lambda _: next(answers))
    env = {"http_proxy": "http://127.0.0.1:3200"}
    code = GET + "found = [get(f'http://rebind.test:{sys.argv[1]}/') for _ in range(4)]"
    with closing(backend.open(SandboxSpec(services={3200: proxy}, env=env))) as box:
        assert attempt(box, code, port) == [-403] * 4
    assert [v.reason.partition(": ")[2] for v in proxy.visits()] == [
        "127.0.0.1 is not a public address",
        "10.0.0.1 is not a public address",
        "::ffff:127.0.0.1 is not a public address",
        "169.254.169.254 is not a public address",
    ]


def test_no_smuggled_second_request(net: Sandbox, port: int) -> None:
    """One request per connection: what follows the first was not checked, so it goes nowhere."""
    code = f"""
s = socket.create_connection(("127.0.0.1", {PORT}), timeout=20)
ask = b"GET http://127.0.0.1:%d/ HTTP/1.1\\r\\n\\r\\n" % int(sys.argv[1])
s.sendall(ask + b"GET /5 HTTP/1.1\\r\\nHost: other\\r\\n\\r\\n" + ask)
got = b""
try:
    while part := s.recv(65536): got += part
except ConnectionResetError:
    pass
found = got.decode()
"""
    answer = attempt(net, code, port)
    assert answer.count("HTTP/1.1 200") + answer.count("HTTP/1.0 200") <= 1
    assert len(net.visits()) == 1
