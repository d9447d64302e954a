"""Nothing that a box does with its network harms the harness, other boxes, or its own commands."""

import gc
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, closing

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxError, SandboxSpec
from plateau_bench.sandbox.network.proxy import PORT
from plateau_bench.sandbox.network.services import MOST

from .conftest import attempt
from .web import AGAIN, inside, net, port, settled, until, works

__all__ = ["net", "port"]

pytestmark = pytest.mark.escapes


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
