"""Attempts in Harbor's Agent Trajectory Interchange Format, ATIF v1.6, which allows fields of one's own only
in `extra`. System prompt, tool definitions, token ids and log-probabilities go along where they are known.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from plateau_bench.agents.base import Message, Trajectory
from plateau_bench.results.exports.source import Files, Source, facts, file_name, session_id, strict_json
from plateau_bench.results.records import Attempt

VERSION = "ATIF-v1.6"


def export(source: Source) -> Files:
    """One trajectory per attempt."""
    for attempt in source.attempts:
        yield f"{file_name(session_id(attempt))}.trajectory.json", trajectory_file(source, attempt)


def trajectory_file(source: Source, attempt: Attempt) -> bytes:
    """The content of one trajectory's file."""
    return strict_json(to_atif(attempt, source.instruction_of(attempt)))


def to_atif(attempt: Attempt, instruction: str) -> dict[str, Any]:
    """One trajectory. `instruction` stands for the conversation where none was recorded."""
    trajectory = attempt.trajectory
    said = trajectory.conversation(instruction)
    agent: dict[str, Any] = {"name": trajectory.agent, "version": version("plateau-bench")}
    if trajectory.model:
        agent["model_name"] = trajectory.model
    if trajectory.tools:
        agent["tool_definitions"] = list(trajectory.tools)
    steps = _steps(said, _metrics(trajectory, said))
    totals: dict[str, Any] = {
        "total_prompt_tokens": trajectory.prompt_tokens,
        "total_completion_tokens": trajectory.completion_tokens,
        "total_steps": len(steps),
    }
    if trajectory.cost_usd is not None:
        totals["total_cost_usd"] = trajectory.cost_usd
    made = {
        "schema_version": VERSION,
        "session_id": session_id(attempt),
        "agent": agent,
        "steps": steps,
        "final_metrics": totals,
        "extra": facts(attempt) | {"answer": trajectory.answer, "answer_is_diff": trajectory.boxed},
    }
    if not trajectory.messages:
        made["notes"] = (
            "The last message is the answer that was graded; what the model wrote is in its tokens."
        )
    return made


def _metrics(trajectory: Trajectory, said: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """For each answer of the model in turn: counts, and with local weights the exact tokens."""
    answers = [message for message in said if message.role == "assistant"]
    spans = trajectory.loss_spans if len(trajectory.loss_spans) == len(answers) else ()
    first = 0
    for number, message in enumerate(answers):
        counts = {
            "prompt_tokens": message.prompt_tokens,
            "completion_tokens": message.completion_tokens,
            "cost_usd": message.cost_usd,
        }
        made: dict[str, Any] = {name: value for name, value in counts.items() if value is not None}
        if spans:
            start, end = spans[number]
            made["prompt_token_ids"] = list(trajectory.token_ids[:start])
            made["completion_token_ids"] = list(trajectory.token_ids[start:end])
            made["logprobs"] = list(trajectory.logprobs[first : first + end - start])
            first += end - start
        yield made


def _steps(said: Sequence[Message], metrics: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """A tool's result is an observation of the step that made the call; call ids may come again later."""
    steps: list[dict[str, Any]] = []
    asked: dict[str, dict[str, Any]] = {}
    for message in said:
        if message.role == "tool" and (step := asked.get(message.tool_call_id)):
            observation = step.setdefault("observation", {"results": []})
            observation["results"].append({"source_call_id": message.tool_call_id, "content": message.text})
            continue
        step = {"step_id": len(steps) + 1, "source": "system", "message": message.text}
        if message.role == "user":
            step["source"] = "user"
        elif message.role == "assistant":
            step |= {"source": "agent"} | _acted(message) | {"metrics": next(metrics)}
            asked |= {call.id: step for call in message.tool_calls}
        elif message.role == "tool":  # answers no call of this conversation
            step |= {"message": "", "observation": {"results": [{"content": message.text}]}}
        steps.append(step)
    return steps


def _acted(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if message.tool_calls:
        made["tool_calls"] = [
            {"tool_call_id": call.id, "function_name": call.name, "arguments": dict(call.arguments)}
            for call in message.tool_calls
        ]
    if message.malformed:
        made["extra"] = {"malformed_calls": list(message.malformed)}
    return made
