"""A web server on this machine, a box that may reach it, and what the harness has open meanwhile."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxSpec

from .conftest import attempt


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


def settled(backend: Backend, before: tuple[int, int]) -> bool:
    """Back to where it was, but for the connections that the engine's client keeps open, ten at most."""
    gc.collect()
    threads, files = inside()
    return threads <= before[0] and files <= before[1] + 10 * (backend.name == "docker")
