"""A scripted server of OpenAI's protocol on loopback, which keeps what it was sent."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Body = dict[str, Any]


def said(content: str | None = "fine", finish: str = "stop", **message: Any) -> Body:
    """An answer as such a server writes it."""
    told = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    choice = {"index": 0, "message": told, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def call(id: str = "call_1", name: str = "bash", arguments: str = '{"command": "ls"}') -> Body:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


@contextmanager
def upstream(answer: Callable[[Body], Body]) -> Iterator[tuple[str, list[Body]]]:
    """Its base URL, and the bodies of the requests as they come."""
    seen: list[Body] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            data = json.dumps(answer(seen[-1])).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
