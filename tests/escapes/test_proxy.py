"""A box with a network reaches what it may and nothing else, and nothing it does there harms the harness."""

import gc
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox import Backend, Sandbox, SandboxError, SandboxSpec
from sandbox.ports import MOST
from sandbox.proxy import PORT, Proxy

from .conftest import attempt

pytestmark = pytest.mark.escapes


class Page(BaseHTTPRequestHandler):
    """`/<n>` is n bytes, `/slow` takes a while, `/flood` never ends."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.3)
        size = int(self.path[1:]) if self.path[1:].isdigit() else 2
        self.send_response(200)
        if self.path != "/flood":
            self.send_header("Content-Length", str(size))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"ok" if size == 2 else bytes(size))
            while self.path == "/flood":
                self.wfile.write(bytes(65536))

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A web server on this machine's own loopback."""
    with Server(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def net(backend: Backend, port: int) -> Iterator[Sandbox]:
    """A box that may reach the server."""
    with closing(backend.open(SandboxSpec(network=(f"127.0.0.1:{port}",)))) as box:
        yield box


GET = """
import urllib.error, urllib.request
os.environ["no_proxy"] = ""  # as if the server were not on loopback

def get(url, timeout=20):
    "Length of the page, or the number of the refusal, or the error."
    try:
        return len(urllib.request.urlopen(url, timeout=timeout).read())
    except urllib.error.HTTPError as e:
        return -e.code
    except OSError as e:
        return str(e)
"""
AGAIN = GET + "found = get(sys.argv[1])\n"


def works(box: Sandbox, port: int) -> bool:
    return attempt(box, AGAIN, f"http://127.0.0.1:{port}/") == 2


def until(true: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def inside() -> tuple[int, int]:
    """Threads that serve boxes, and open descriptors, of this process."""
    threads = sum(thread.name.startswith(("port-", "box-")) for thread in threading.enumerate())
    return threads, len(list(Path("/proc/self/fd").iterdir()))


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


# --- what it must survive -------------------------------------------------------------------------------


def test_a_thousand_connections_and_garbage(net: Sandbox, backend: Backend, port: int) -> None:
    """They take their share and no more; another box is served meanwhile, and this one again afterwards."""
    net.write("/tmp/flood.py", f"""
import os, socket, time
for child in range(4):
    if os.fork() == 0:
        socks = []
        for i in range(250):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", {PORT}))
            socks.append(s)
        open(f"up{{child}}", "w").close()
        while True:
            for s in socks:
                try: s.send(os.urandom(5000))
                except OSError: pass
            time.sleep(0.05)
""".encode())  # fmt: skip
    net.run("ulimit -n 1024; python3 /tmp/flood.py >/dev/null 2>&1 &")
    until(lambda: net.run("ls up?").stdout.count("up") == 4, "the flood did not start")
    assert net.run("echo alive").stdout == "alive\n"
    threads, _ = inside()
    assert threads <= MOST + 8
    with closing(backend.open(SandboxSpec(network=(f"127.0.0.1:{port}",)))) as other:
        assert works(other, port)
    net.run("sleep 60", timeout_s=0.1)  # ends the flood
    until(lambda: attempt(net, AGAIN, f"http://127.0.0.1:{port}/") == 2, "not served after a flood", 60)


def test_a_reader_that_never_reads(net: Sandbox, port: int) -> None:
    """Sixty endless answers that nobody takes: they wait at their source, not in the harness's memory."""
    code = f"""
socks = []
for i in range(60):
    s = socket.create_connection(("127.0.0.1", {PORT}))
    s.sendall(b"GET http://127.0.0.1:%d/flood HTTP/1.1\\r\\n\\r\\n" % int(sys.argv[1]))
    socks.append(s)
time.sleep(5)
found = len(socks)
"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert attempt(net, code, port) == 60
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 120  # the server's own pieces included
    assert works(net, port)


def test_a_writer_that_is_never_read(backend: Backend) -> None:
    """The other way round: a service that does not listen makes the box wait."""
    ended = threading.Event()

    def deaf(sock: socket.socket) -> None:
        ended.wait(30)

    code = """
s = socket.create_connection(("127.0.0.1", 8000))
s.settimeout(3)
found = 0
try:
    while True: found += s.send(bytes(65536))
except TimeoutError:
    pass
"""
    with closing(backend.open(SandboxSpec(services={8000: deaf}))) as box:
        assert 0 < attempt(box, code) < 64 << 20
        assert box.run("echo alive").stdout == "alive\n"
        ended.set()


def test_the_tunnel_cannot_be_ended_or_read_from_inside(net: Sandbox, port: int) -> None:
    code = """
found = []
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid(), os.getppid()):
        pid = int(name)
        parent = content(f"/proc/{pid}/status", 2000).split("PPid:")[1].split()[0]
        if parent != "0": continue  # started from outside
        found.append([trial(os.kill, pid, 9), trial(os.kill, pid, 19), content(f"/proc/{pid}/environ"),
                      trial(os.listdir, f"/proc/{pid}/fd"), call("ptrace", 16, pid, 0, 0),
                      trial(resource.prlimit, pid, resource.RLIMIT_NOFILE, (0, 0)),
                      trial(os.setpriority, 0, pid, 19), trial(os.sched_setaffinity, pid, [0])])
"""
    found = attempt(net, code)
    assert all(error in ("EPERM", "EACCES") for tries in found for error in tries), found
    assert attempt(net, "found = trial(os.kill, -1, 0)\n") in (0, "ESRCH", "EPERM")
    net.run("kill -9 -1")
    net.run("sleep 60", timeout_s=0.1)
    assert works(net, port)


def test_its_port_cannot_be_taken(net: Sandbox, port: int) -> None:
    code = f"""
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found = trial(s.bind, ("127.0.0.1", {PORT}))
"""
    assert attempt(net, code) == "EADDRINUSE"


def test_descriptors_of_the_guest_hold_out(net: Sandbox, port: int) -> None:
    """Connections that are opened and forgotten, far more than the tunnel holds: commands still run."""
    code = f"""
for i in range(1500):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", {PORT}))
    s.detach() if i % 2 and i < 900 else s.close()
found = True
"""
    assert attempt(net, code)
    assert net.run("echo alive").stdout == "alive\n"
    until(lambda: works(net, port), "not served after many short connections", 60)


@pytest.mark.parametrize("way", ["close", "kill"])
def test_the_box_ends_while_streams_are_open(backend: Backend, port: int, way: str) -> None:
    ended = threading.Event()

    def follow(sock: socket.socket) -> None:
        try:
            while sock.recv(4096):
                sock.sendall(b"more")
        finally:
            ended.set()

    gc.collect()
    before = inside()
    box = backend.open(SandboxSpec(network=(f"127.0.0.1:{port}",), services={8000: follow}))
    box.write("/tmp/hold.py", f"""
import socket, time
s = socket.create_connection(("127.0.0.1", 8000))
s.sendall(b"x")
floods = [socket.create_connection(("127.0.0.1", {PORT})) for _ in range(10)]
for f in floods: f.sendall(b"GET http://127.0.0.1:{port}/flood HTTP/1.1\\r\\n\\r\\n")
open("up", "w").close()
time.sleep(100)
""".encode())  # fmt: skip
    box.run("python3 /tmp/hold.py >/dev/null 2>&1 &")
    until(lambda: box.run("test -e up").exit_code == 0 and len(box.visits()) == 10, "it did not start")
    started = time.monotonic()
    if way == "kill":
        kill(backend, box)
        until(lambda: dead(box), "it outlived its killing")  # the kernel tells the guest of it
    box.close()
    assert time.monotonic() - started < 15
    assert ended.wait(10)
    until(lambda: settled(backend, before), f"left behind: {before} {inside()}")


def dead(box: Sandbox) -> bool:
    try:
        box.run("true")
    except SandboxError:
        return True
    return False


def settled(backend: Backend, before: tuple[int, int]) -> bool:
    """Back to where it was, but for the connections that the engine's client keeps open, ten at most."""
    gc.collect()
    threads, files = inside()
    return threads <= before[0] and files <= before[1] + 10 * (backend.name == "docker")


def kill(backend: Backend, box: Sandbox) -> None:
    """End the box from outside, as a crash of the engine or of the machine's memory would."""
    if backend.name == "docker":
        api = backend.api  # type: ignore[attr-defined]
        api.kill(api.containers(latest=True)[0]["Id"])
        return
    mine = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    pid = re.findall(r"(\d+) bwrap", mine.stdout)[-1]
    os.kill(int(pid), 9)


def test_nothing_leaks_over_fifty_boxes(backend: Backend, port: int) -> None:
    spec = SandboxSpec(network=(f"127.0.0.1:{port}",))
    command = (
        f"no_proxy= python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/').read()\""
    )

    def some(count: int) -> None:
        for _ in range(count // 5):
            with ExitStack() as stack:
                boxes = [stack.enter_context(closing(backend.open(spec))) for _ in range(5)]
                assert [box.run(command).exit_code for box in boxes] == [0] * 5

    some(5)
    gc.collect()
    before = inside()
    some(50)
    until(lambda: settled(backend, before), f"left behind: {before} {inside()}")


def test_a_box_without_network_starts_nothing_for_it(backend: Backend) -> None:
    before = inside()[0]
    with closing(backend.open()) as box:
        assert inside()[0] == before
        assert "proxy" not in box.run("env").stdout.lower()
        assert json.loads(
            box.run(["python3", "-c", "import json, os; print(json.dumps(os.listdir('/proc')))"]).stdout
        )
