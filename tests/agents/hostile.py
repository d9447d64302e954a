"""An OpenAI-compatible server that misbehaves in every way that endpoints do, and keeps its own books."""

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

GOOD = "good"
MISCHIEF = (
    "429", "500", "529", "stall", "cut", "not json", "no choices", "empty", "no usage", "wrong usage", "drop",
)  # fmt: skip


class HostileServer:
    """`with HostileServer(share=0.5) as server: ... server.url`. What it did is in `served` and `tokens`."""

    def __init__(
        self, share: float, seed: int = 0, stall_s: float = 1.5, only: tuple[str, ...] = MISCHIEF
    ) -> None:
        self.share, self.stall_s, self.only = share, stall_s, only
        self.rng, self.lock = random.Random(seed), threading.Lock()
        self.served: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        """'in' and 'out' of the answers that carried a true count."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    bad = outer.rng.random() < outer.share
                    what = outer.rng.choice(outer.only) if bad else GOOD
                    outer.served[what] += 1
                outer.answer(self, body, what)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The other side hung up: expected here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], what: str) -> None:
        read = sum(len(str(message.get("content"))) for message in body["messages"]) // 4 + 1
        usage: Any = {"prompt_tokens": read, "completion_tokens": 7, "total_tokens": read + 7}
        text = "" if what == "empty" else "def f(a):\n    return a"
        if what == "no usage":
            usage = None
        elif what == "wrong usage":
            usage = {"prompt_tokens": -5, "completion_tokens": 10**12, "total_tokens": 3}
        elif what in (GOOD, "empty"):
            with self.lock:
                self.tokens.update({"in": read, "out": 7})
        message = {"role": "assistant", "content": text}
        reply: Any = {
            "id": "x", "object": "chat.completion", "created": 0, "model": "hostile", "usage": usage,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }  # fmt: skip
        data = json.dumps(reply).encode()
        if what.isdigit():
            data = json.dumps({"error": {"message": "no", "type": "server_error"}}).encode()
        elif what == "stall":
            time.sleep(self.stall_s)
        elif what == "not json":
            data = b"<html>upstream error</html>"
        elif what == "no choices":
            data = json.dumps({**reply, "choices": None}).encode()
        elif what == "drop":
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(int(what) if what.isdigit() else 200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2] if what == "cut" else data)
        if what == "cut":
            handler.close_connection = True
