"""The one thing that a vendor's agent in a box can reach: an endpoint for its model, kept by the harness.

It speaks OpenAI's chat completions and responses, Anthropic's messages and Google's generateContent on a
socket of the box's loopback, asks the configured chat model, and writes down every call. Tokens and cost are
counted here, limits are enforced here, and whatever would reach the network through the model's provider
(hosted search, remote tools, URLs to fetch) is withheld, so that a box without a network stays one. All else
is forwarded where the model's server has it, and named in `withheld` where it has not (`gateway.fields`).
"""

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from plateau_bench.agents.base import BudgetSpent, Ending, Limits, Message, ModelUnavailable, NotReached
from plateau_bench.agents.gateway import generate_content as gemini
from plateau_bench.agents.gateway.conversation import Answer, answered, cut_at
from plateau_bench.agents.gateway.request import (
    COUNTS,
    PROTOCOLS,
    Request,
    Withheld,
    estimate,
    read,
    thoughts_of,
)
from plateau_bench.agents.models.chat import seeding, to_message
from plateau_bench.agents.models.faults import RequestRefused
from plateau_bench.agents.models.prices import Spending
from plateau_bench.agents.models.whole import speaks

PORT = 8099
"""Where a box finds it, on its own 127.0.0.1."""
MAX_BODY = 32_000_000
T = TypeVar("T")
_JSON, _EVENTS = "application/json", "text/event-stream"
ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Of bodies -> how zlib reads them."""


def hang_up(connection: socket.socket) -> None:
    """Serve a box whose attempt has not begun: the connection is closed."""
    connection.close()


class Refused(Exception):  # noqa: N818 (an answer, not a crash)
    """Answered with a status and a reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


class Gateway:
    """Serves one attempt, whose clock starts at once: `box.serve(PORT, Gateway(...))`."""

    def __init__(
        self,
        model: BaseChatModel,
        *,
        limits: Limits,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> None:
        """`temperature` and `seed` (of the first call) are the harness's; None leaves them to the client."""
        self.model, self.limits = model, limits
        self._temperature, self._seed = temperature, seed
        self.spent = Spending(limits, model)
        self._lock = threading.Lock()
        self.conversation: list[BaseMessage] = []
        """All calls in order; what a call repeats of the one before is there once."""
        self._last: list[BaseMessage] = []
        self.tools: tuple[Mapping[str, Any], ...] = ()
        self.withheld: list[str] = []
        """Names of what clients asked for and the model's server was not told, request by request."""
        self.thoughts: dict[str, Any] = {}
        """Id of an answer's first call -> the reasoning fields that came with it."""
        self.turn = threading.Lock()
        """Held from the first byte of a request's body to its answer: only one is in memory at a time."""
        self.ending: Ending | None = None
        """Set when a limit has ended the attempt."""
        self.down: ModelUnavailable | NotReached | BudgetSpent | None = None
        """Why the last call was not answered, where that says nothing about the model."""

    def __call__(self, connection: socket.socket) -> None:
        """Serve one connection of the box until it ends. Never raises for what comes from the box."""
        connection.settimeout(600)
        try:
            _Handler(connection, ("box", 0), self)  # type: ignore[arg-type]
        except (OSError, ValueError):
            return

    def messages(self) -> tuple[Message, ...]:
        return tuple(to_message(message, self.spent.price) for message in self.conversation)

    def ask(self, request: Request) -> Answer:
        """One call of the model; the harness's temperature and seed precede a client's.

        Raises Refused when a limit is reached.
        """
        with self._lock:  # one after another: limits hold to within one call
            if over := self.spent.used_up():
                self.ending = over
                raise Refused(403, "budget", f"the attempt's limit is reached: {over.value}")
            for what in request.withheld:
                self.withhold(what)
            model, options = self._options(request)
            try:
                answer = model.invoke(list(request.messages), **options)
            except BudgetSpent as error:
                self.down = error
                raise Refused(403, "budget", str(error)) from None
            except RequestRefused as error:
                # The request is the box's: one that is refused later ends nothing but itself.
                self.down = None if self.spent.calls else error
                raise Refused(error.status_code, "upstream", str(error)) from None
            except (ModelUnavailable, NotReached) as error:
                self.down = error
                raise Refused(503, "unavailable", str(error)) from None
            except Exception as error:
                status = getattr(error, "status_code", None)
                wrong = 400 if isinstance(error, ValueError) else 502  # a prompt that is too long, say
                told = status if isinstance(status, int) and 400 <= status < 600 else wrong
                raise Refused(told, "upstream", f"{type(error).__name__}: {error}"[:500]) from None
            self.down = None
            self.thoughts |= thoughts_of(answer)
            answer, stopped_at = cut_at(answer, request.stop)
            self._note(request.messages, request.tools, answer)
            return answered(answer, stopped_at, self.spent.calls, speaks(self.model))

    def _options(self, request: Request) -> tuple[Any, dict[str, Any]]:
        """The model, with the tools of a request, and what it is asked with."""
        most = min(request.max_tokens or 4096, self.limits.completion_tokens)
        options: dict[str, Any] = {"max_tokens": most}
        temperature = request.temperature if self._temperature is None else self._temperature
        if temperature is not None:
            options["temperature"] = temperature
        seed = request.seed if self._seed is None else (self._seed + self.spent.calls) % 2**31
        options |= seeding(self.model, [max(seed or 0, 0)])
        if request.body is not None:
            options["extra_body"] = request.body
        choice: dict[str, Any] = {}
        if wanted := request.tool_choice:
            name = (
                wanted["function"]["name"] if isinstance(wanted, Mapping) else {"required": "any"}.get(wanted)
            )
            if name and request.tools and hasattr(self.model, "inner"):
                choice = {"tool_choice": name}
            elif wanted != "auto":
                self.withhold("tool_choice")
        if request.body is None and request.stop and hasattr(self.model, "inner"):
            options["stop"] = list(request.stop)
        tools = [dict(tool) for tool in request.tools]
        return self.model.bind_tools(tools, **choice) if tools else self.model, options

    def _note(self, messages: Sequence[BaseMessage], tools: Sequence[Any], answer: AIMessage) -> None:
        self.spent.note(answer)
        self.tools = tuple(tools) or self.tools
        shared = len(self._last)
        repeats = [_key(m) for m in messages[:shared]] == [_key(m) for m in self._last]
        self.conversation += [*(messages[shared:] if repeats else messages), answer]
        self._last = [*messages, answer]

    def withhold(self, what: str) -> None:
        self.withheld.append(what)


def _key(message: BaseMessage) -> tuple[str, str, str]:
    calls = json.dumps([[c["name"], c["args"]] for c in getattr(message, "tool_calls", [])], sort_keys=True)
    return message.type, message.text, calls


class _Handler(BaseHTTPRequestHandler):
    """One connection of a box: hostile, so sizes are bounded and every error is an answer."""

    protocol_version = "HTTP/1.1"
    server: Gateway  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of a box reaches the harness's terminal."""

    def do_GET(self) -> None:
        if self.path.split("?")[0] in ("/v1/models", "/models"):
            self._send(200, {"object": "list", "data": [{"id": "plateau", "object": "model"}]})
        else:
            self._refuse(
                Refused(404, "not_found", f"only a model's endpoint is here, not {self.path[:100]!r}")
            )

    def do_POST(self) -> None:
        try:
            with self.server.turn:
                kind, text = self._reply(*self.path.partition("?")[::2])
            self._send_text(200, kind, text)
        except Refused as refusal:
            self._refuse(refusal)

    def _reply(self, path: str, query: str) -> tuple[str, str]:
        """The type and the text of the response to a request."""
        path = path.rstrip("/")
        google = gemini.PATH.fullmatch(path)
        protocol = gemini if google else PROTOCOLS.get(path) or COUNTS.get(path)
        if protocol is None:
            self._drain()
            known = "use /v1/chat/completions, /v1/responses, /v1/messages or generateContent"
            raise Refused(404, "not_found", f"{path[:100]!r}: {known}")
        body = self._body()
        if path in COUNTS or (google and google[2] == "countTokens"):
            count = self._understood(lambda: estimate(protocol, body))
            return _JSON, json.dumps({"totalTokens": count} if google else {"input_tokens": count})
        if google:
            body |= {"model": google[1]}
        answer = self._answer(body, protocol)
        reply = protocol.from_answer(answer, body)
        if not google:
            streamed = body.get("stream")
            return (_EVENTS, protocol.events(reply, body)) if streamed else (_JSON, json.dumps(reply))
        if not google[2].startswith("stream"):
            return _JSON, json.dumps(reply)
        sse = "alt=sse" in query.split("&")
        return (_EVENTS, f"data: {json.dumps(reply)}\n\n") if sse else (_JSON, json.dumps([reply]))

    def _body(self) -> dict[str, Any]:
        encoding = (self.headers.get("content-encoding") or "identity").strip().lower()
        if encoding not in ("identity", *ENCODINGS):
            self._drain()
            known = ", ".join(ENCODINGS)
            raise Refused(
                415, "invalid_request", f"content-encoding {encoding[:50]!r} is not known; use {known}"
            )
        raw = b"".join(self._pieces())
        if encoding in ENCODINGS:
            raw = _inflated(raw, encoding)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Refused(400, "invalid_request", "the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "invalid_request", "the body is not a JSON object")
        return body

    def _pieces(self) -> Iterator[bytes]:
        """The body as it comes: of a length that is told, or in chunks."""
        if (self.headers.get("transfer-encoding") or "").strip().lower() == "chunked":
            total = 0
            while size := _size(self.rfile.readline(100), 16):
                total += size
                if size < 0 or total > MAX_BODY:
                    self._too_long()
                yield self.rfile.read(size)
                self.rfile.readline(100)
            while self.rfile.readline(10_000).strip():
                pass  # trailers
        else:
            length = _size((self.headers.get("content-length") or "-1").encode(), 10)
            if not 0 <= length <= MAX_BODY:
                self._too_long()
            yield self.rfile.read(length)

    def _drain(self) -> None:
        """Read a body that nobody wants, so that its sender hears the answer."""
        with suppress(Refused):
            for _ in self._pieces():
                pass

    def _too_long(self) -> NoReturn:
        self.close_connection = True
        raise Refused(
            413, "invalid_request", f"a body of 0 to {MAX_BODY} bytes is needed, with its length or in chunks"
        )

    def _answer(self, given: dict[str, Any], protocol: Any) -> Answer:
        """What the model says to a request, less what would have its provider reach elsewhere."""
        gateway = self.server
        known = speaks(gateway.model, [{"type": "function"}] if given.get("tools") else ())
        request = self._understood(lambda: read(protocol, given, known, gateway.thoughts))
        return gateway.ask(request)

    @staticmethod
    def _understood(of: Callable[[], T]) -> T:
        """What reading a request gives. Raises Refused where it is none."""
        try:
            return of()
        except Withheld as error:
            raise Refused(400, "withheld", str(error)) from None
        except (ValueError, RecursionError) as error:
            raise Refused(400, "invalid_request", str(error)[:300]) from None

    def _refuse(self, refusal: Refused) -> None:
        error: dict[str, Any] = {"type": refusal.kind, "message": str(refusal), "code": refusal.kind}
        if gemini.PATH.fullmatch(self.path.partition("?")[0]):
            error |= {"code": refusal.status, "status": refusal.kind.upper()}
        self._send(refusal.status, {"type": "error", "error": error})

    def _send(self, status: int, data: Any) -> None:
        self._send_text(status, _JSON, json.dumps(data))

    def _send_text(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _size(line: bytes, base: int) -> int:
    """The number that a line begins with; -1 if there is none."""
    try:
        return int(line.split(b";")[0].strip(), base)
    except ValueError:
        return -1


def _inflated(raw: bytes, encoding: str) -> bytes:
    """A body as it was before it was compressed. Raises Refused if it is broken, or too long then."""
    try:
        reader = zlib.decompressobj(ENCODINGS[encoding])
        found = reader.decompress(raw, MAX_BODY)
    except zlib.error as error:
        raise Refused(400, "invalid_request", f"the body is not {encoding}: {error}") from None
    if reader.unconsumed_tail:
        raise Refused(413, "invalid_request", f"the body is longer than {MAX_BODY} bytes")
    return found
