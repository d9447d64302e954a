"""Every way in which an endpoint can fail, at every moment of an attempt; the server keeps books."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from plateau_bench.agents.base import Ending, Limits, ModelUnavailable, NotReached, Trajectory
from plateau_bench.agents.models.endpoint import EndpointChat, open_endpoint
from plateau_bench.agents.models.faults import ContextFull, cut_short
from plateau_bench.agents.models.patience import Breaker, Policy
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.agents.scripted import ScriptedChat
from plateau_bench.agents.tool import ToolAgent
from plateau_bench.sandbox.base import SandboxSpec
from tests.tasks.local_backend import LocalSandbox

Reply = tuple[int, Any, dict[str, str]]
PRICE = Price(read=1.0, written=10.0)
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
SUBMIT = {"id": "c1", "type": "function", "function": {"name": "submit", "arguments": "{}"}}
BASH = {"id": "c0", "type": "function", "function": {"name": "bash", "arguments": '{"command": "true"}'}}


def says(content: str | None = "x = 1", calls: list[Any] | None = None, finish: str | None = "stop") -> Reply:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return 200, {"choices": [choice], "usage": USAGE}, {}


def refuses(status: int, message: str = "no", **headers: str) -> Reply:
    return status, {"error": {"message": message, "type": "x"}}, headers


NO_ANSWER: Reply = (200, {"choices": [], "usage": USAGE}, {})


class Scripted:
    """`with Scripted(script) as server`: script(n, request) is the n-th reply; `asked` holds the requests."""

    def __init__(self, script: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.read = self.written = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    number = len(outer.asked)
                    outer.asked.append(body)
                    status, data, headers = script(number, body)
                    usage = data.get("usage") or {}
                    outer.read += usage.get("prompt_tokens", 0)
                    outer.written += usage.get("total_tokens", 0) - usage.get("prompt_tokens", 0)
                if status == 200:
                    data = {
                        "id": f"r{number}",
                        "object": "chat.completion",
                        "created": 0,
                        "model": "m-1",
                    } | data
                    data["system_fingerprint"] = "fp"
                sent = json.dumps(data).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(sent)), **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(sent)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def chat(url: str, **options: Any) -> EndpointChat:
    policy = Policy(tries=3, first_wait_s=0.001, longest_wait_s=0.002)
    return open_endpoint("openai:m", base_url=url, **{"price": PRICE, "policy": policy, **options})


def solve(model: Any, **limits: Any) -> Trajectory:
    box = LocalSandbox(SandboxSpec())
    try:
        return ToolAgent(model, limits=Limits(completion_tokens=100, **limits)).solve("x", [1], [box])[0]
    finally:
        box.close()


MOMENTS = {
    "first": [],
    "in the middle": [says("", [BASH], "tool_calls")],
    "after a thrown-away answer": [NO_ANSWER],
}
STATUSES = (
    *(
        300,
        301,
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        408,
        409,
        410,
        413,
        415,
        418,
        422,
        424,
        425,
        429,
        431,
        451,
    ),
    *(500, 501, 502, 503, 504, 505, 507, 520, 522, 524, 529, 530),
)
WAITING = {408, 409, 425, 429, 500, 502, 503, 504, 507, 520, 522, 524, 529, 530}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_that_stays_is_never_a_verdict_of_the_model(status: int, moment: str) -> None:
    """It stops the run, or leaves the attempt open; the books agree with the server's either way."""
    before = MOMENTS[moment]

    def script(number: int, body: dict[str, Any]) -> Reply:
        return before[number] if number < len(before) else refuses(status, "the server's own words")

    with Scripted(script) as server:
        model = chat(server.url)
        if status == 413 and moment == "in the middle":  # the conversation has outgrown the context
            assert solve(model).ending is Ending.TOKEN_LIMIT
        else:
            expected = NotReached if status in WAITING else ModelUnavailable
            with pytest.raises(expected, match=f"{status}.*the server's own words"):
                solve(model)
        tried = len(server.asked) - len(before)
        assert tried == (3 - (moment == "after a thrown-away answer") if status in WAITING else 1)
        assert model.budget.spent_tokens == server.read + server.written


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_status_that_passes_costs_nothing(status: int, moment: str) -> None:
    replies = [*MOMENTS[moment], refuses(status), says("", [SUBMIT], "tool_calls")]
    with Scripted(lambda number, body: replies[number]) as server:
        found = solve(chat(server.url))
    assert found.ending is Ending.SUBMITTED
    assert (found.prompt_tokens, found.completion_tokens) == (server.read, server.written)
    assert found.cost_usd == pytest.approx((server.read + 10 * server.written) / 1e6)
    assert found.response_ids == tuple(f"r{i}" for i in range(len(replies)) if i != len(replies) - 2)
    assert (found.provider_models, found.fingerprints) == (("m-1",), ("fp",))


def test_thrown_away_answers_are_paid_for_and_only_the_last_is_graded() -> None:
    thought = (
        200,
        {"choices": None, "usage": {**USAGE, "completion_tokens": 1000, "total_tokens": 1050}},
        {},
    )
    with Scripted(lambda number, body: thought if number == 0 else says()) as server:
        [found] = OneShot(chat(server.url)).solve("x", [1])
    assert (found.prompt_tokens, found.completion_tokens) == (100, 1010)
    assert found.cost_usd == pytest.approx((100 + 10_100) / 1e6)
    untold = (200, {"choices": None}, {})
    with Scripted(lambda number, body: untold if number == 0 else says()) as server:
        model = chat(server.url)
        [found] = OneShot(model).solve("x", [1])
    assert found.cost_usd is None
    assert model.budget.uncounted == 1


def test_everybody_waits_as_long_as_the_endpoint_asks() -> None:
    replies = [refuses(429, "slow down", **{"retry-after": "1"})] * 2
    with Scripted(lambda number, body: replies[number] if number < 2 else says()) as server:
        model = chat(server.url, policy=Policy(tries=1))
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(model.invoke("x"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4, "a wait that was asked for is no try"
        assert len(server.asked) <= 7
    tomorrow = refuses(429, "tomorrow", **{"retry-after": "86400"})
    with (
        Scripted(lambda number, body: tomorrow) as server,
        pytest.raises(ModelUnavailable, match="asks to wait 86400 s"),
    ):
        chat(server.url, policy=Policy(patience_s=10**6)).invoke("x")


def test_a_parameter_nobody_asked_for_is_dropped_and_one_that_was_asked_for_is_an_error() -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        for name in ("seed", "max_completion_tokens", "temperature"):
            if name in body:
                return refuses(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        return says()

    with Scripted(script) as server:
        model = chat(server.url)
        agent = OneShot(model, limits=Limits(completion_tokens=77), temperature=None)
        with pytest.warns(UserWarning, match="is not sent any more"):
            assert agent.solve("x", [1])[0].ending is Ending.SUBMITTED
        assert agent.solve("x", [2])[0].ending is Ending.SUBMITTED
        assert len(server.asked) == 4, "it is found out once"
        assert server.asked[-1]["max_tokens"] == 77
        assert not {"seed", "temperature", "max_completion_tokens"} & set(server.asked[-1])
        with pytest.raises(ModelUnavailable, match="leave temperature out"):
            OneShot(model, temperature=0.3).solve("x", [1])


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://localhost:9/v1"])
def test_nobody_there_is_said_soon_and_once_for_all(url: str) -> None:
    model = chat(url, policy=Policy(tries=50, first_wait_s=0.001, longest_wait_s=0.002), breaker=Breaker(2))
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"refused; nobody is there"):
            model.invoke("x")


def test_loopback_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Scripted(lambda number, body: says()) as server:
        for host in ("127.0.0.1", "localhost"):
            assert chat(server.url.replace("127.0.0.1", host)).invoke("x").text == "x = 1"
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        assert open_endpoint("openai:m").invoke("x").text == "x = 1"


def test_a_context_that_is_too_small_from_the_start_is_a_setting() -> None:
    full = refuses(400, "This model's maximum context length is 2048 tokens. However, you requested 4200")
    with Scripted(lambda number, body: full) as server, pytest.raises(ContextFull, match="completion_tokens"):
        OneShot(chat(server.url)).solve("x", [1])
    replies = [says("", [BASH], "tool_calls"), full]
    with Scripted(lambda number, body: replies[number]) as server:
        assert solve(chat(server.url)).ending is Ending.TOKEN_LIMIT


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        ("length", Ending.TOKEN_LIMIT), ("MAX_TOKENS", Ending.TOKEN_LIMIT),
        ("FinishReason.MAX_TOKENS", Ending.TOKEN_LIMIT), ("content_filter", Ending.CONTENT_FILTER),
        ("SAFETY", Ending.CONTENT_FILTER), ("error", Ending.ERROR), ("stop", None), (None, None),
        ("tool_calls", None), ("end_turn", None),
    ],
)  # fmt: skip
def test_finish_reasons_in_any_spelling(said: str | None, ending: Ending | None) -> None:
    assert cut_short({"finish_reason": said}) is ending
    assert cut_short({"stop_reason": said}) is ending


def test_an_answer_that_broke_off_each_time_has_an_ending_of_its_own() -> None:
    with Scripted(lambda number, body: says(finish="error")) as server:
        [found] = OneShot(chat(server.url)).solve("x", [1])
        assert len(server.asked) == 3
    assert found.ending is Ending.ERROR
    assert (found.prompt_tokens, found.completion_tokens) == (server.read, server.written)


def test_a_template_that_refuses_stops_the_run() -> None:
    from jinja2 import TemplateError

    def refuse(messages: Any) -> Any:
        raise TemplateError("System role not supported")

    model = ScriptedChat(script=refuse)
    with pytest.raises(ModelUnavailable, match="template refuses.*System role not supported"):
        OneShot(model).solve("x", [1])
    with pytest.raises(ModelUnavailable, match="template refuses.*System role not supported"):
        solve(model)


def test_a_refusal_inside_a_200_is_a_refusal() -> None:
    inside = (200, {"error": {"message": "No auth credentials found", "code": 401}}, {})
    with (
        Scripted(lambda number, body: inside) as server,
        pytest.raises(ModelUnavailable, match="401.*No auth credentials.*key is refused"),
    ):
        chat(server.url).invoke("x")


def test_a_prompt_that_the_provider_filters_has_its_ending() -> None:
    filtered = refuses(400, "The response was filtered due to Azure's content management policy.")
    with Scripted(lambda number, body: filtered) as server:
        assert OneShot(chat(server.url)).solve("x", [1])[0].ending is Ending.CONTENT_FILTER
