"""The one thing that a vendor's agent in a box can reach: an endpoint for its model, kept by the harness.

It speaks OpenAI's chat completions and responses, Anthropic's messages and Google's generateContent on a
socket of the box's loopback, asks the configured chat model, and writes down every call. Tokens and cost are
counted here, limits are enforced here, and whatever would reach the network through the model's provider
(hosted search, remote tools, URLs to fetch) is withheld, so that a box without a network stays one.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages, convert_to_openai_messages

from agents import gemini, responses
from agents.base import BudgetSpent, Ending, Limits, Message, ModelUnavailable
from agents.prices import Price
from agents.tool import to_message

PORT = 8099
"""Where a box finds it, on its own 127.0.0.1."""
MAX_BODY = 32_000_000
HOSTED = ("web_search_options", "mcp_servers", "container", "connectors")
"""Fields of a request that have the provider reach elsewhere."""


class Refused(Exception):  # noqa: N818 (an answer, not a crash)
    """Answered with a status and a reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


class Gateway:
    """Serves one attempt. Pass it as a service of the box: `services={PORT: gateway}`."""

    def __init__(
        self,
        model: BaseChatModel,
        *,
        limits: Limits,
        price: Price | None = None,
        temperature: float | None = None,
    ) -> None:
        """`temperature` None leaves it to the agent."""
        self._model, self.limits, self.price = model, limits, price or getattr(model, "price", None)
        self._temperature = temperature
        self._seed: int | None = None
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.conversation: list[BaseMessage] = []
        """All calls in order; what a call repeats of the one before is there once."""
        self._last: list[BaseMessage] = []
        self.tools: tuple[Mapping[str, Any], ...] = ()
        self.calls = self.prompt_tokens = self.completion_tokens = 0
        self.withheld: list[str] = []
        self.ending: Ending | None = None
        """Set when a limit has ended the attempt."""
        self.cost: float | None = None if self.price is None else 0.0
        self._at_most = 0.0
        self.down: ModelUnavailable | None = None

    def begin(self, seed: int) -> None:
        """The attempt starts now: its clock, and the seed of its first call. Before, clients choose seeds."""
        self._seed, self._started = seed, time.monotonic()

    def __call__(self, connection: socket.socket) -> None:
        """Serve one connection of the box until it ends. Never raises for what comes from the box."""
        connection.settimeout(600)
        try:
            _Handler(connection, ("box", 0), self)  # type: ignore[arg-type]
        except (OSError, ValueError):
            return

    def messages(self) -> tuple[Message, ...]:
        return tuple(to_message(message, self.price) for message in self.conversation)

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
            self._check()
            options: dict[str, Any] = {"max_tokens": min(max_tokens or 4096, self.limits.completion_tokens)}
            temperature = wishes.get("temperature") if self._temperature is None else self._temperature
            if temperature is not None:
                options["temperature"] = temperature
            seed = wishes.get("seed", 0) if self._seed is None else (self._seed + self.calls) % 2**31
            if getattr(self._model, "takes_seeds", False):
                options["seeds"] = [seed]
            elif getattr(self._model, "takes_seed", False):
                options["seed"] = seed
            model: Any = self._model.bind_tools(list(tools)) if tools else self._model
            try:
                answer = model.invoke(list(messages), **options)
            except BudgetSpent as error:
                self.ending = Ending.COST_LIMIT
                raise Refused(403, "budget", str(error)) from None
            except ModelUnavailable as error:
                self.down = error
                raise Refused(503, "unavailable", str(error)) from None
            except Exception as error:
                status = getattr(error, "status_code", None)
                wrong = 400 if isinstance(error, ValueError) else 502  # a prompt that is too long, say
                told = status if isinstance(status, int) and 400 <= status < 600 else wrong
                raise Refused(told, "upstream", f"{type(error).__name__}: {error}"[:500]) from None
            self._note(messages, tools, answer)
            return answer

    def _check(self) -> None:
        limits, spent = self.limits, self.prompt_tokens + self.completion_tokens
        passed = time.monotonic() - self._started
        for over, ending in (
            (limits.steps is not None and self.calls >= limits.steps, Ending.STEP_LIMIT),
            (limits.tokens is not None and spent >= limits.tokens, Ending.TOKEN_LIMIT),
            (limits.cost_usd is not None and self._at_most >= limits.cost_usd, Ending.COST_LIMIT),
            (limits.seconds is not None and passed > limits.seconds, Ending.TIME_LIMIT),
        ):
            if over:
                self.ending = ending
                raise Refused(403, "budget", f"the attempt's limit is reached: {ending.value}")

    def _note(self, messages: Sequence[BaseMessage], tools: Sequence[Any], answer: AIMessage) -> None:
        self.calls += 1
        self.tools = tuple(tools) or self.tools
        shared = len(self._last)
        repeats = [_key(m) for m in messages[:shared]] == [_key(m) for m in self._last]
        self.conversation += [*(messages[shared:] if repeats else messages), answer]
        self._last = [*messages, answer]
        usage = answer.usage_metadata
        if usage:
            self.prompt_tokens += usage["input_tokens"]
            self.completion_tokens += usage["output_tokens"]
        counted = usage or answer.response_metadata.get("worst_usage")
        if self.price and counted:
            cost = self.price.of(counted)
            self._at_most += cost
            self.cost = None if not usage or self.cost is None else self.cost + cost

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
            path, _, query = self.path.partition("?")
            google = gemini.PATH.fullmatch(path)
            modern = path in responses.PATHS
            body = self._body(gemini.to_openai if google else responses.to_openai if modern else dict)
            if google:
                answer = gemini.from_answer(self._answer(body), model=google[1], number=self.server.calls)
                self._google(answer, google[2].startswith("stream"), "alt=sse" in query.split("&"))
            elif path in ("/v1/chat/completions", "/chat/completions"):
                self._chat(body)
            elif path in ("/v1/messages", "/messages"):
                self._anthropic(body)
            elif modern:
                told: dict[str, Any] = {"model": str(body["model"]), "number": self.server.calls + 1}
                self._reply(body, responses.from_answer(self._answer(body), **told), responses.events)
            else:
                known = "use /v1/chat/completions, /v1/responses, /v1/messages or generateContent"
                raise Refused(404, "not_found", f"{path[:100]!r}: {known}")
        except Refused as refusal:
            self._refuse(refusal)

    def _body(self, read: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
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
        try:
            body = read(body)
        except Exception as error:
            raise Refused(400, "invalid_request", f"{type(error).__name__}: {error}"[:300]) from None
        if not isinstance(body.get("messages"), list):
            raise Refused(400, "invalid_request", "messages: a list is needed")
        for name in HOSTED:
            if body.pop(name, None):
                self.server.withhold(name)
        if fetched := _remote(body["messages"]):
            raise Refused(400, "withheld", f"a URL for the provider to fetch is withheld: {fetched[:100]}")
        return body

    def _answer(self, body: dict[str, Any]) -> AIMessage:
        """To a body of OpenAI's."""
        tools = []
        for tool in body.get("tools") or []:
            if isinstance(tool, dict) and tool.get("type") == "function":
                tools.append(tool)
            else:
                self.server.withhold(str(tool.get("type") if isinstance(tool, dict) else tool)[:100])
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        return self._ask(body["messages"], tools, most, body)

    def _google(self, reply: Mapping[str, Any], streamed: bool, events: bool) -> None:
        if streamed and events:
            self._send_text(200, "text/event-stream", f"data: {json.dumps(reply)}\n\n")
        else:
            self._send_text(200, "application/json", json.dumps([reply] if streamed else reply))

    def _chat(self, body: dict[str, Any]) -> None:
        answer = self._answer(body)
        message: Any = convert_to_openai_messages(answer)
        message["content"] = message.get("content") or None
        reason = answer.response_metadata.get("finish_reason") or "stop"
        reply = {
            "id": f"plateau-{self.server.calls}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": str(body.get("model")),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": "tool_calls" if answer.tool_calls else reason,
                }
            ],
            "usage": _openai_usage(answer),
        }
        if not body.get("stream"):
            self._send(200, reply)
            return
        delta = {
            **message,
            "tool_calls": [{"index": i, **c} for i, c in enumerate(message.get("tool_calls", []))],
        }
        choice = {**reply["choices"][0], "delta": delta}  # type: ignore[index]
        del choice["message"]
        chunk = {**reply, "object": "chat.completion.chunk", "choices": [choice]}
        self._send_text(200, "text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")

    def _anthropic(self, body: dict[str, Any]) -> None:
        tools = []
        for tool in body.get("tools") or []:
            if isinstance(tool, dict) and "input_schema" in tool and tool.get("type") in (None, "custom"):
                function = {"name": tool.get("name"), "description": tool.get("description") or ""}
                tools.append(
                    {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}
                )
            else:
                self.server.withhold(str(tool.get("type") if isinstance(tool, dict) else tool)[:100])
        system = body.get("system")
        if isinstance(system, list):
            system = "\n".join(str(part.get("text", "")) for part in system if isinstance(part, dict))
        messages = [{"role": "system", "content": system}] if system else []
        answer = self._ask([*messages, *body["messages"]], tools, body.get("max_tokens"), body)
        content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
        content += [
            {"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["args"]}
            for c in answer.tool_calls
        ]
        length = answer.response_metadata.get("finish_reason") == "length"
        usage = answer.usage_metadata
        reply = {
            "id": f"msg_{self.server.calls}",
            "type": "message",
            "role": "assistant",
            "model": str(body.get("model")),
            "content": content,
            "stop_reason": "tool_use" if answer.tool_calls else "max_tokens" if length else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage["input_tokens"] if usage else 0,
                "output_tokens": usage["output_tokens"] if usage else 0,
            },
        }
        self._reply(body, reply, _anthropic_events)

    def _ask(
        self, messages: list[Any], tools: list[Any], max_tokens: Any, body: Mapping[str, Any]
    ) -> AIMessage:
        if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
            raise Refused(
                400, "invalid_request", f"max_tokens: {max_tokens!r} is not a positive whole number"
            )
        try:
            plain: Any = convert_to_openai_messages(messages)  # Anthropic's blocks: tool calls and results
            read = convert_to_messages(plain)
        except Exception as error:
            reason = f"messages: {type(error).__name__}: {error}"[:300]
            raise Refused(400, "invalid_request", reason) from None
        return self.server.ask(read, tools, max_tokens, _wishes(body))

    def _reply(self, body: Any, reply: dict[str, Any], events: Callable[[dict[str, Any]], str]) -> None:
        if body.get("stream"):
            self._send_text(200, "text/event-stream", events(reply))
        else:
            self._send(200, reply)

    def _refuse(self, refusal: Refused) -> None:
        error = {"type": refusal.kind, "message": str(refusal), "code": refusal.kind}
        self._send(refusal.status, {"type": "error", "error": error})

    def _send(self, status: int, data: Mapping[str, Any]) -> None:
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


def _openai_usage(answer: AIMessage) -> dict[str, int] | None:
    usage = answer.usage_metadata
    if not usage:
        return None
    read, written = usage["input_tokens"], usage["output_tokens"]
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": usage["total_tokens"]}


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


def _anthropic_events(reply: Mapping[str, Any]) -> str:
    """The whole message as the stream of events that Anthropic's clients expect."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**reply, "content": []}}]
    for index, block in enumerate(reply["content"]):
        if block["type"] == "text":
            start: dict[str, Any] = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events += [
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": stop, "usage": reply["usage"]}, {"type": "message_stop"}]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
