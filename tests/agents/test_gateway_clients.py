"""The protocols' own clients, as published, against the gateway: a call, its result, a stream.

OpenAI's comes with the package; install `anthropic` and `google-genai` for the others.
"""

import json
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from plateau_bench.agents.base import Limits
from plateau_bench.agents.gateway.server import Gateway
from plateau_bench.agents.models.endpoint import open_endpoint
from tests.agents.test_gateway import post
from tests.agents.upstream import call, said, upstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # those clients' own
]
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """A call first, then what its result was."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return said(f"it says {last['content']}")
    return said(None, "tool_calls", tool_calls=[call()], reasoning_content="I look")


class Place:
    """A gateway on a port of loopback, as a box has it."""

    def __init__(self, gateway: Gateway, seen: list[dict[str, Any]]) -> None:
        self.gateway, self.seen = gateway, seen

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gateway(self.request)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def place() -> Iterator[Place]:
    with upstream(answer) as (url, seen):
        gateway = Gateway(
            open_endpoint("openai:m", base_url=url), limits=Limits(completion_tokens=100), seed=1
        )
        made = Place(gateway, seen)
        thread = threading.Thread(target=made.server.serve_forever, daemon=True)
        thread.start()
        yield made
        made.server.shutdown()
        made.server.server_close()


def check(place: Place, calls: int) -> None:
    """The conversation is recorded whole, and the books agree with the model's own."""
    assert [m.role for m in place.gateway.messages()[:4]] == ["user", "assistant", "tool", "assistant"]
    assert place.gateway.messages()[3].text == "it says a.py"
    assert place.gateway.spent.calls == len(place.seen) == calls
    assert place.gateway.spent.prompt_tokens == 5 * calls
    assert place.gateway.spent.completion_tokens == 2 * calls


def test_openai_chat_completions(place: Place) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{place.url}/v1", api_key="none", max_retries=0)
    tools = [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}]
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    options = {"model": "m", "tools": tools, "top_p": 0.5, "stop": ["END"]}
    made = client.chat.completions.create(messages=messages, **options).choices[0].message
    assert json.loads(made.tool_calls[0].function.arguments) == {"command": "ls"}
    messages += [made, {"role": "tool", "tool_call_id": made.tool_calls[0].id, "content": "a.py"}]
    assert (
        client.chat.completions.create(messages=messages, **options).choices[0].message.content
        == "it says a.py"
    )
    assert place.seen[-1]["messages"][1]["reasoning_content"] == "I look"
    with client.chat.completions.stream(messages=messages, **options) as stream:
        assert stream.get_final_completion().choices[0].message.content == "it says a.py"
    check(place, 3)
    assert place.gateway.withheld == []


def test_openai_responses(place: Place) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{place.url}/v1", api_key="none", max_retries=0)
    tools = [{"type": "function", "name": "bash", "parameters": SCHEMA, "strict": False}]
    given: list[Any] = [{"role": "user", "content": "hi"}]
    options: dict[str, Any] = {"model": "m", "tools": tools, "store": False, "reasoning": {"effort": "low"}}
    options["include"] = ["reasoning.encrypted_content"]
    made = client.responses.create(input=given, **options)
    assert [item.type for item in made.output] == ["reasoning", "function_call"]
    output = {"type": "function_call_output", "call_id": made.output[1].call_id, "output": "a.py"}
    given += [item.model_dump(exclude_none=True) for item in made.output] + [output]
    assert client.responses.create(input=given, **options).output_text == "it says a.py"
    assert place.seen[-1]["messages"][1]["reasoning_content"] == "I look"
    with client.responses.stream(input=given, **options) as stream:
        assert stream.get_final_response().output_text == "it says a.py"
    check(place, 3)
    assert (place.gateway.withheld, place.seen[-1]["reasoning_effort"]) == ([], "low")


def test_anthropic_messages(place: Place) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.Anthropic(base_url=place.url, api_key="none", max_retries=0)
    tools = [{"name": "bash", "input_schema": SCHEMA}]
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    options = {"model": "m", "max_tokens": 3000, "tools": tools, "stop_sequences": ["END"]}
    options["thinking"] = {"type": "enabled", "budget_tokens": 2000}
    made = client.messages.create(messages=messages, **options)
    assert [block.type for block in made.content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": made.content[1].id, "content": "a.py"}
    messages += [{"role": "assistant", "content": made.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(messages=messages, **options).content[0].text == "it says a.py"
    assert place.seen[-1]["messages"][1]["reasoning_content"] == "I look"
    with client.messages.stream(messages=messages, **options) as stream:
        assert stream.get_final_message().content[0].text == "it says a.py"
    assert client.messages.count_tokens(model="m", messages=messages).input_tokens > 0
    check(place, 3)
    assert set(place.gateway.withheld) == {"thinking"}


def test_google_generate_content(place: Place) -> None:
    genai = pytest.importorskip("google.genai")
    types = genai.types
    client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=place.url))
    declared = types.FunctionDeclaration(name="bash", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        stop_sequences=["END"],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [types.Content(role="user", parts=[types.Part(text="hi")])]
    made = client.models.generate_content(model="m", contents=contents, config=config)
    assert made.function_calls[0].args == {"command": "ls"}
    result = types.FunctionResponse(id=made.function_calls[0].id, name="bash", response={"output": "a.py"})
    contents += [
        made.candidates[0].content,
        types.Content(role="user", parts=[types.Part(function_response=result)]),
    ]
    assert client.models.generate_content(model="m", contents=contents, config=config).text == "it says a.py"
    assert place.seen[-1]["messages"][1]["reasoning_content"] == "I look"
    stream = client.models.generate_content_stream(model="m", contents=contents, config=config)
    assert "".join(chunk.text or "" for chunk in stream) == "it says a.py"
    assert client.models.count_tokens(model="m", contents=contents).total_tokens > 0
    check(place, 3)
    assert place.gateway.withheld == []


def test_anthropic_in_and_out_passes_untouched() -> None:
    """What Claude Code sends goes to Anthropic as it is: marks of the cache, thinking, its signatures."""
    pytest.importorskip("langchain_anthropic")
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "text", "text": "ok"},
        {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}},
    ]
    usage = {"input_tokens": 3, "output_tokens": 4}
    told = {"id": "msg", "type": "message", "role": "assistant", "model": "c", "content": blocks}
    told |= {"stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    cached = {"cache_control": {"type": "ephemeral"}}
    ask: dict[str, Any] = {
        "system": [{"type": "text", "text": "S", **cached}],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "stop_sequences": ["END"],
        "top_k": 3,
        "tool_choice": {"type": "auto"},
        "tools": [{"name": "bash", "input_schema": SCHEMA, **cached}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", **cached}]},
            {"role": "assistant", "content": [*blocks[:1], {**blocks[2], "id": "t0"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": "a.py"}]},
        ],
    }
    hosted = {"type": "web_search_20250305", "name": "web_search"}
    with upstream(lambda body: told) as (url, seen):
        model = open_endpoint("anthropic:claude", base_url=url.removesuffix("/v1"))
        gateway = Gateway(model, limits=Limits(completion_tokens=4000), seed=1)
        more = {"model": "m", "max_tokens": 3000, "mcp_servers": [{"url": "https://evil"}]}
        status, reply = post(gateway, {**ask, **more, "tools": [*ask["tools"], hosted]}, "/v1/messages")
    assert (status, reply["content"], reply["stop_reason"]) == (200, blocks, "tool_use")
    assert seen == [{**ask, "model": "claude", "max_tokens": 3000}]
    assert sorted(gateway.withheld) == ["mcp_servers", "web_search_20250305"]
