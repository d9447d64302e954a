"""OpenAI's responses at the gateway."""

import json
from typing import Any

import pytest

from plateau_bench.agents.scripted import call
from tests.agents.test_gateway import gateway, post

TOOL = {"type": "function", "name": "shell", "parameters": {"type": "object", "properties": {}}}


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def test_a_conversation_with_tool_calls() -> None:
    g = gateway([call("shell", command="ls"), "done"])
    body = {"model": "m", "instructions": "be brief", "tools": [TOOL, {"type": "web_search"}]}
    asked = [said("developer", "no network"), said("user", "hi")]
    status, first = post(g, body | {"input": asked}, "/v1/responses")
    assert status == 200
    (item,) = first["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == (
        "function_call",
        "shell",
        {"command": "ls"},
    )
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "a.py"}
    _, second = post(g, body | {"input": [*asked, {"type": "reasoning"}, item, result]}, "/v1/responses")
    assert second["output"][0]["content"][0]["text"] == "done"
    assert [m.role for m in g.messages()] == ["system", "system", "user", "assistant", "tool", "assistant"]
    assert g.withheld == ["web_search", "web_search"]
    assert g.spent.prompt_tokens + g.spent.completion_tokens == sum(
        r["usage"]["total_tokens"] for r in (first, second)
    )


def test_a_stream_carries_the_same_answer() -> None:
    _, text = post(gateway(), {"model": "m", "input": "hi", "stream": True}, "/v1/responses")
    events = [json.loads(part.split("data: ")[1]) for part in text.strip().split("\n\n")]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hello"
    (done,) = [e for e in events if e["type"] == "response.output_item.done"]
    assert done["item"] == events[-1]["response"]["output"][0]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"model": "m", "input": [3]},
        {"model": "m", "input": [{"type": "item_reference", "id": "x"}]},
        {"model": "m", "input": "hi", "previous_response_id": "x"},
        {"model": "m", "input": "hi", "max_output_tokens": -1},
        {
            "model": "m",
            "input": [{"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}],
        },
        {
            "model": "m",
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}],
        },
        {"model": "m", "input": "hi", "tools": [{"name": "x"}]},
    ],
)
def test_what_cannot_be_answered_is_refused(body: dict[str, Any]) -> None:
    g = gateway()
    assert post(g, body, "/v1/responses")[0] == 400
    assert g.spent.calls == 0
