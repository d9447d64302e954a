"""The one thing that a vendor's agent in a box can reach: an endpoint for its model, kept by the harness.

It speaks OpenAI's chat completions and responses, Anthropic's messages and Google's generateContent on a
socket of the box's loopback, asks the configured chat model, and writes down every call. Tokens and cost are
counted here, limits are enforced here, and whatever would reach the network through the model's provider
(hosted search, remote tools, URLs to fetch) is withheld, so that a box without a network stays one.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages, convert_to_openai_messages

from plateau_bench.agents.base import BudgetSpent, Ending, Limits, Message, ModelUnavailable, NotReached
from plateau_bench.agents.gateway import completions, generate_content, messages, responses
from plateau_bench.agents.models.chat import seeding, to_message
from plateau_bench.agents.models.faults import RequestRefused
from plateau_bench.agents.models.prices import Spending

PORT = 8099
"""Where a box finds it, on its own 127.0.0.1."""
MAX_BODY = 32_000_000
HOSTED = ("web_search_options", "mcp_servers", "container", "connectors")
"""Fields of a request that have the provider reach elsewhere."""
PROTOCOLS: tuple[Any, ...] = (completions, responses, messages, generate_content)
"""Modules with `PATH`, `to_openai`, `from_answer` and `events`. Google's has model and stream in its path."""


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
        self._model, self.limits = model, limits
        self._temperature, self._seed = temperature, seed
        self.spent = Spending(limits, model)
        self._lock = threading.Lock()
        self.conversation: list[BaseMessage] = []
        """All calls in order; what a call repeats of the one before is there once."""
        self._last: list[BaseMessage] = []
        self.tools: tuple[Mapping[str, Any], ...] = ()
        self.withheld: list[str] = []
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

    def ask(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Any],
        max_tokens: int | None,
        wishes: Mapping[str, Any],
    ) -> AIMessage:
        """One call of the model; `wishes` are a client's temperature and seed, which the harness's precede.

        Raises Refused when a limit is reached.
        """
        with self._lock:  # one after another: limits hold to within one call
            if over := self.spent.used_up():
                self.ending = over
                raise Refused(403, "budget", f"the attempt's limit is reached: {over.value}")
            options: dict[str, Any] = {"max_tokens": min(max_tokens or 4096, self.limits.completion_tokens)}
            temperature = wishes.get("temperature") if self._temperature is None else self._temperature
            if temperature is not None:
                options["temperature"] = temperature
            wished = wishes.get("seed", 0)
            seed = wished if self._seed is None else (self._seed + self.spent.calls) % 2**31
            options |= seeding(self._model, [seed])
            model: Any = self._model.bind_tools(list(tools)) if tools else self._model
            try:
                answer = model.invoke(list(messages), **options)
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
            self._note(messages, tools, answer)
            return answer

    def _note(self, messages: Sequence[BaseMessage], tools: Sequence[Any], answer: AIMessage) -> None:
        self.spent.note(answer)
        self.tools = tuple(tools) or self.tools
        shared = len(self._last)
        repeats = [_key(m) for m in messages[:shared]] == [_key(m) for m in self._last]
        self.conversation += [*(messages[shared:] if repeats else messages), answer]
        self._last = [*messages, answer]


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
            path, _, query = self.path.partition("?")
            body = self._body()
            protocol = next((one for one in PROTOCOLS if one.PATH.fullmatch(path)), None)
            if protocol is None:
                known = "use /v1/chat/completions, /v1/responses, /v1/messages or generateContent"
                raise Refused(404, "not_found", f"{path[:100]!r}: {known}")
            asked = protocol.PATH.fullmatch(path).groupdict() or body
            answer = self._answer(body, protocol.to_openai)
            reply = protocol.from_answer(
                answer, model=str(asked.get("model")), number=self.server.spent.calls
            )
            if not asked.get("stream"):
                self._send(200, reply)
            elif protocol is generate_content and "alt=sse" not in query.split("&"):
                self._send(200, [reply])
            else:
                self._send_text(200, "text/event-stream", protocol.events(reply))
        except Refused as refusal:
            self._refuse(refusal)

    def _body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("content-length") or -1)
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise Refused(
                413, "invalid_request", f"a body of 0 to {MAX_BODY} bytes with its length is needed"
            )
        try:
            body = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            raise Refused(400, "invalid_request", "the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "invalid_request", "the body is not a JSON object")
        return body

    def _answer(self, given: dict[str, Any], to_openai: Callable[[Any], dict[str, Any]]) -> AIMessage:
        """What the model says to a request, less what would have its provider reach elsewhere."""
        for name in HOSTED:
            if given.pop(name, None):
                self.server.withheld.append(name)
        try:
            body = to_openai(given)
        except Exception as error:
            raise Refused(400, "invalid_request", f"{type(error).__name__}: {error}"[:300]) from None
        messages, asked = body.get("messages"), body.get("tools") or []
        if not isinstance(messages, list) or not isinstance(asked, list):
            raise Refused(400, "invalid_request", "messages: a list is needed; and one of tools, if any")
        if fetched := _remote(messages):
            raise Refused(400, "withheld", f"a URL for the provider to fetch is withheld: {fetched[:100]}")
        tools = []
        for tool in asked:
            kind = tool.get("type") if isinstance(tool, dict) else tool
            if isinstance(tool, dict) and kind == "function" and isinstance(tool.get("function"), dict):
                tools.append(tool)
            else:
                self.server.withheld.append(str(kind)[:100])
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        if most is not None and (type(most) is not int or most < 1):
            raise Refused(400, "invalid_request", f"max_tokens: {most!r} is not a positive whole number")
        try:
            plain: Any = convert_to_openai_messages(messages)  # Anthropic's blocks: tool calls and results
            read = convert_to_messages(plain)
        except Exception as error:
            reason = f"messages: {type(error).__name__}: {error}"[:300]
            raise Refused(400, "invalid_request", reason) from None
        return self.server.ask(read, tools, most, _wishes(body))

    def _refuse(self, refusal: Refused) -> None:
        error = {"type": refusal.kind, "message": str(refusal), "code": refusal.kind}
        self._send(refusal.status, {"type": "error", "error": error})

    def _send(self, status: int, data: Any) -> None:
        self._send_text(status, "application/json", json.dumps(data))

    def _send_text(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _wishes(body: Mapping[str, Any]) -> dict[str, Any]:
    """The temperature and the seed of a request. Raises Refused for what cannot be one."""
    wishes = {name: body[name] for name in ("temperature", "seed") if body.get(name) is not None}
    heat, seed = wishes.get("temperature", 0), wishes.get("seed", 0)
    if type(heat) not in (int, float) or not 0 <= heat <= 5 or type(seed) is not int or seed < 0:
        raise Refused(400, "invalid_request", "temperature: from 0 to 5; seed: a whole number from 0")
    return wishes


def _remote(messages: list[Any]) -> str:
    """The first URL that the provider would have to fetch (images and files by address), or ''."""
    for message in messages:
        blocks = message.get("content") if isinstance(message, dict) else None
        for block in blocks if isinstance(blocks, list) else ():
            if not isinstance(block, dict):
                continue
            for part in (block, *(v for v in block.values() if isinstance(v, dict))):
                for key in ("url", "file_url", "image_url"):
                    if isinstance(part.get(key), str) and not part[key].startswith("data:"):
                        return str(part[key])
    return ""
