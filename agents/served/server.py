"""A server on a checkpoint, for agents that can only ask an endpoint.

The server is another program: vLLM, SGLang, or this module itself (`python -m
plateau_bench.agents.served.server CHECKPOINT`), which speaks the gateway's protocols over a local model and
needs nothing that is not installed anyway. It runs in a process group of its own below a small watcher, and
ends with the process that started it, however that one ends.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from plateau_bench.agents.base import Limits

NAME = "plateau"
"""What the served model is called."""
SERVERS = {
    "transformers": "{python} -m plateau_bench.agents.served.server {model} {port}",
    "vllm": "vllm serve {model} --host 127.0.0.1 --port {port} --served-model-name {name} "
    "--enable-auto-tool-choice --tool-call-parser hermes",
    "sglang": "{python} -m sglang.launch_server --model-path {model} --host 127.0.0.1 --port {port} "
    "--served-model-name {name} --tool-call-parser qwen25",
}
PATIENCE_S = 900.0
"""Large weights take minutes to load."""
GRACE_S = 10.0
"""Between being asked to end and being killed."""


class Server:
    """`with Server("vllm", "runs/x/seed-1/base") as server: ... server.url`."""

    def __init__(self, kind: str, model: str, *, patience_s: float = PATIENCE_S) -> None:
        """`kind`: one of SERVERS, or a command line with {model} and {port}. It starts at once.

        Raises ValueError for another kind, and if the server does not answer within `patience_s`; its
        last words are in the message.
        """
        template = SERVERS.get(kind, kind)
        if "{port}" not in template or "{model}" not in template:
            known = ", ".join(SERVERS)
            raise ValueError(f"serve: {kind!r} is none of {known}, nor a command with {{model}} and {{port}}")
        self.model = model
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        values = {"python": sys.executable, "model": model, "port": str(port), "name": NAME}
        command = [word.format(**values) for word in shlex.split(template)]
        watcher = [sys.executable, "-m", "plateau_bench.agents.served.server", "--watch", *command]
        self._words: list[bytes] = []
        self._process = subprocess.Popen(
            watcher,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._wait(command, time.monotonic() + patience_s)
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        """Keeps the end of what the server says; a full pipe would stop it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._words = [*self._words[-40:], line]

    def _wait(self, command: Sequence[str], deadline: float) -> None:
        """Until it completes a word: some answer requests before the weights are there."""
        body = {"model": NAME, "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
        request = urllib.request.Request(
            f"{self.url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            hopeless = time.monotonic() > deadline
            try:
                with direct.open(request, timeout=60):
                    return
            except urllib.error.HTTPError as error:
                with error:
                    why = f"answers {error.code}: {error.read()[:200]!r}"
                hopeless |= error.code < 500 and error.code not in (404, 408, 425, 429)
            except OSError as error:
                why = str(error)
            if self._process.poll() is not None:
                hopeless, why = True, f"ended with exit code {self._process.returncode}"
            if hopeless:
                self._listener.join(1)
                said = b"".join(self._words)[-600:].decode(errors="replace").strip()
                raise ValueError(f"serve: {shlex.join(command)!r} {why}; it said: {said or 'nothing'}")
            time.sleep(0.2)

    def close(self) -> None:
        """End the server and all that it started. Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(GRACE_S + 20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._listener.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def watch(command: Sequence[str]) -> int:
    """Run a command in a group of its own until it ends, or until stdin does because its other end died."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return 127

    def signal_all(number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)

    def end() -> None:
        os.read(0, 1)  # nobody writes: this is its end
        signal_all(signal.SIGTERM)
        time.sleep(GRACE_S)
        signal_all(signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    code = child.wait()
    signal_all(signal.SIGKILL)  # what it started and left behind
    return code


def serve(checkpoint: str, port: int) -> None:
    """Answer on 127.0.0.1 with a checkpoint, one connection a thread; requests are sampled one by one."""
    from langchain_core.messages import BaseMessage

    from plateau_bench.agents.gateway.server import Gateway
    from plateau_bench.agents.models.local import LocalChatModel

    class Connection(Gateway):
        """A gateway that keeps no conversation, for the asking side does."""

        def _note(self, messages: Sequence[BaseMessage], tools: Sequence[Any], answer: Any) -> None:
            self.spent.note(answer)

    model, limits = LocalChatModel.load(checkpoint, name_or_path=NAME), Limits(completion_tokens=1 << 20)

    def converse(connection: socket.socket) -> None:
        with connection:
            Connection(model, limits=limits)(connection)

    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=converse, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1] == "--watch":
        sys.exit(watch(sys.argv[2:]))
    serve(sys.argv[1], int(sys.argv[2]))
