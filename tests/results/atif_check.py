"""What ATIF v1.6 demands of a trajectory, after its specification; knows nothing of how ours are made."""

from collections.abc import Mapping
from typing import Any

ANY: Any = object
NUMBER = (int, float)
METRICS = {
    "prompt_tokens": int, "completion_tokens": int, "cached_tokens": int, "cost_usd": NUMBER,
    "prompt_token_ids": [int], "completion_token_ids": [int], "logprobs": [NUMBER], "extra": dict,
}  # fmt: skip
RESULT = {"source_call_id": str, "content": str, "subagent_trajectory_ref": list}
STEP = {
    "step_id!": int, "timestamp": str, "source!": str, "model_name": str, "reasoning_effort": ANY,
    "message!": str, "reasoning_content": str, "is_copied_context": bool, "metrics": METRICS, "extra": dict,
    "tool_calls": [{"tool_call_id!": str, "function_name!": str, "arguments!": dict}],
    "observation": {"results!": [RESULT]},
}  # fmt: skip
TRAJECTORY = {
    "schema_version!": str, "session_id!": str, "steps!": [STEP], "notes": str,
    "continued_trajectory_ref": str,
    "agent!": {"name!": str, "version!": str, "model_name": str, "tool_definitions": [dict], "extra": dict},
    "final_metrics": {
        "total_prompt_tokens": int, "total_completion_tokens": int, "total_cached_tokens": int,
        "total_cost_usd": NUMBER, "total_steps": int, "extra": dict,
    },
    "extra": dict,
}  # fmt: skip
AGENTS_ONLY = {"model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics"}


def check(data: Any) -> None:
    """Raises AssertionError at the first thing that v1.6 does not allow."""
    _shape(data, TRAJECTORY, "trajectory")
    assert data["schema_version"] == "ATIF-v1.6"
    assert data["steps"]
    for number, step in enumerate(data["steps"], 1):
        assert step["step_id"] == number
        assert step["source"] in ("system", "user", "agent")
        assert step["source"] == "agent" or not AGENTS_ONLY & set(step)
        made = {call["tool_call_id"] for call in step.get("tool_calls", ())}
        for result in step.get("observation", {"results": ()})["results"]:
            assert result.get("source_call_id") in {None, *made}


def _shape(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, list):
        assert isinstance(value, list), where
        for item in value:
            _shape(item, shape[0], f"{where}[]")
    elif isinstance(shape, Mapping):
        assert isinstance(value, dict), where
        needed = {name[:-1] for name in shape if name.endswith("!")}
        assert needed <= set(value), f"{where}: {needed - set(value)} missing"
        known = {name.rstrip("!"): inner for name, inner in shape.items()}
        assert set(value) <= set(known), f"{where}: {set(value) - set(known)} not allowed"
        for name, item in value.items():
            _shape(item, known[name], f"{where}.{name}")
    else:
        assert isinstance(value, shape), f"{where}: {value!r}"
        assert shape is bool or not isinstance(value, bool) or shape is ANY, where
