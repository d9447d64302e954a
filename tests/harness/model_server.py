"""A local model server that recites solutions and keeps its own books of calls and tokens."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from plateau_bench.harness.evals.check import WORD

Answer = dict[str, Any]
Script = Callable[[dict[str, Any]], Answer]


@dataclass
class Book:
    """What one server saw."""

    calls: list[tuple[dict[str, Any], Answer]] = field(default_factory=list)
    """Request and answer of every call that was answered with 200."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failures: int = 0


class ModelServer:
    """Speaks chat completions. Every `fail_every`-th request is answered with 500 first."""

    def __init__(self, script: Script, fail_every: int = 0) -> None:
        self.book, self._lock, self._seen = Book(), threading.Lock(), 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, reply = server._answer(body, script, fail_every)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._http = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def _answer(self, body: dict[str, Any], script: Script, fail_every: int) -> tuple[int, Any]:
        with self._lock:
            if [text_of(message) for message in body["messages"]] == [WORD]:
                return 200, reply_of({"content": "OK"}, "check", 1, 1)  # the proof before an evaluation
            self._seen += 1
            if fail_every and self._seen % fail_every == 0:
                self.book.failures += 1
                return 500, {"error": {"message": "not now"}}
            message = script(body)
            read, written = len(json.dumps(body["messages"])) // 4, 1 + len(json.dumps(message)) // 4
            self.book.calls.append((body, message))
            self.book.prompt_tokens += read
            self.book.completion_tokens += written
            number = len(self.book.calls)
        return 200, reply_of(message, f"c-{number}", read, written)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


def reply_of(message: Answer, name: str, read: int, written: int) -> dict[str, Any]:
    """The body of an answer in chat completions."""
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    kind = {"object": "chat.completion", "created": 0, "model": "scripted"}
    return kind | {"id": name, "choices": [choice], "usage": usage}


def calls(name: str, number: int, text: str = "", **arguments: Any) -> Answer:
    """An answer with one tool call."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "content": text or None,
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}],
    }


def text_of(message: dict[str, Any]) -> str:
    """A message's text, whichever way its client writes it."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
