"""Attempts in the formats of other projects, as files. Nothing of those projects is needed to write them.

- atif: one Harbor trajectory (ATIF v1.6) per attempt
- mini: one trajectory of mini-swe-agent's per attempt ("mini-swe-agent-1.1")
- inspect: one log of Inspect AI's per checkpoint and split (log version 2, JSON)
- harbor: a job folder of Harbor's, with ATIF trajectories in it
- sft: rows of conversations, with the exact tokens and labels where they are known
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Any

from plateau_bench.agents.base import Ending, Message
from plateau_bench.results.exports.atif import facts, session_id, to_atif
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome

Files = Iterator[tuple[str, bytes]]
"""(relative path, content)."""

_EXITS = {
    Ending.SUBMITTED: "Submitted",
    Ending.STEP_LIMIT: "LimitsExceeded",
    Ending.TOKEN_LIMIT: "LimitsExceeded",
    Ending.COST_LIMIT: "LimitsExceeded",
    Ending.TIME_LIMIT: "TimeExceeded",
    Ending.MALFORMED: "RepeatedFormatError",
    Ending.INFRA: "SandboxError",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What is exported."""

    name: str
    created: str
    """ISO 8601, in UTC."""
    attempts: Iterable[Attempt]
    """File by file, as they were recorded."""
    instruction: Callable[[Attempt], str]
    """Asked only for attempts that have no messages."""

    def said(self, attempt: Attempt) -> tuple[Message, ...]:
        return attempt.trajectory.conversation(self._instruction(attempt))

    def atif(self, attempt: Attempt) -> bytes:
        return strict_json(to_atif(attempt, self._instruction(attempt)))

    def _instruction(self, attempt: Attempt) -> str:
        return "" if attempt.trajectory.messages else self.instruction(attempt)


def file_name(text: str) -> str:
    """For a file's name: letters, digits, '.', '_', '-'; what is lost is told apart by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    return plain if plain == text else f"{plain[:150]}-{zlib.crc32(text.encode()):08x}"


def strict_json(data: Any) -> bytes:
    """JSON that every reader takes: what a model wrote may hold NaN and halves of characters."""
    try:
        return json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return json.dumps(_strict(data), allow_nan=False, ensure_ascii=False).encode()


def _strict(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_strict(str(key)): _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value


def _atif(source: Source) -> Files:
    for attempt in source.attempts:
        yield f"{file_name(session_id(attempt))}.trajectory.json", source.atif(attempt)


def _harbor(source: Source) -> Files:
    from plateau_bench.results.exports.harbor_trial import harbor_files, trial_name

    for attempt in source.attempts:
        yield from harbor_files(source.name, [attempt], source.created)
        yield f"{trial_name(attempt)}/agent/trajectory.json", source.atif(attempt)


def _mini(source: Source) -> Files:
    for attempt in source.attempts:
        name = file_name(session_id(attempt))
        yield f"{name}/{name}.traj.json", strict_json(_mini_trajectory(attempt, source.said(attempt)))


def _mini_trajectory(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
    """As mini-swe-agent 2.4.6 saves one. A command's exit code is not recorded, so `returncode` is null."""
    trajectory = attempt.trajectory
    left = {
        "exit_status": _EXITS.get(trajectory.ending) or trajectory.error.partition(":")[0],
        "submission": trajectory.answer,
    }
    return {
        "info": {
            "model_stats": {
                "instance_cost": trajectory.cost_usd or 0.0,
                "api_calls": sum(message.role == "assistant" for message in said),
            },
            "config": {
                "agent": {},
                "agent_type": f"plateau.{trajectory.agent}",
                "model": {"model_name": trajectory.model},
                "model_type": "plateau",
                "environment": {},
                "environment_type": "plateau",
            },
            "mini_version": f"plateau {version('plateau')}",
            **left,
            "plateau": facts(attempt),
        },
        "messages": [
            *map(_mini_message, said),
            {"role": "exit", "content": trajectory.answer, "extra": left},
        ],
        "trajectory_format": "mini-swe-agent-1.1",
        "instance_id": attempt.task_id,
    }


def _mini_message(message: Message) -> dict[str, Any]:
    made = message.chat(json.dumps)
    if message.role == "assistant":
        actions = [
            {"command": call.arguments.get("command") or f"{call.name} {json.dumps(dict(call.arguments))}"}
            | {"tool_call_id": call.id}
            for call in message.tool_calls
        ]
        made["extra"] = {"actions": actions, "cost": message.cost_usd or 0.0}
    elif message.role == "tool":
        made["extra"] = {"raw_output": message.text, "returncode": None, "exception_info": None}
    return made


def _inspect(source: Source) -> Files:
    def belongs(attempt: Attempt) -> tuple[int, str, int, str]:
        return attempt.seed, attempt.arm, attempt.round, attempt.split.value

    for (seed, arm, round, split), group in groupby(source.attempts, belongs):
        name = f"seed-{seed}-{arm}-round-{round:02d}-{split}"
        attempts = list(group)
        yield f"{file_name(name)}.json", strict_json(_inspect_log(f"{source.name}-{name}", source, attempts))


def _inspect_log(name: str, source: Source, attempts: list[Attempt]) -> dict[str, Any]:
    """As Inspect AI reads one: a task is a sample, the attempts at it are its epochs."""
    samples = [_inspect_sample(attempt, source.said(attempt)) for attempt in attempts]
    graded = [sample["scores"]["hidden_tests"]["value"] for sample in samples if "scores" in sample]
    first, tasks = attempts[0], list(dict.fromkeys(attempt.task_id for attempt in attempts))
    metrics = {"accuracy": {"name": "accuracy", "value": graded.count("C") / len(graded)}} if graded else {}
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": name,
            "run_id": source.name,
            "created": source.created,
            "task": name,
            "task_id": name,
            "solver": first.trajectory.agent,
            "dataset": {"name": source.name, "samples": len(tasks), "sample_ids": tasks},
            "model": first.trajectory.model or "none",
            "model_generate_config": {"temperature": first.temperature},
            "config": {"epochs": max(attempt.sample for attempt in attempts) + 1},
            "packages": {"plateau": version("plateau")},
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(graded),
            "scores": [{"name": "hidden_tests", "scorer": "hidden_tests", "metrics": metrics}],
        },
        "stats": {"started_at": source.created, "completed_at": source.created},
        "samples": samples,
    }


def _inspect_sample(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
    trajectory, verdict = attempt.trajectory, attempt.verdict
    model = trajectory.model or "none"
    messages = [
        {"id": f"{attempt.task_id}-{attempt.sample}-{number}"} | _inspect_message(message, model)
        for number, message in enumerate(said)
    ]
    answers = [message for message in messages if message["role"] == "assistant"]
    usage: dict[str, Any] = {
        "input_tokens": trajectory.prompt_tokens,
        "output_tokens": trajectory.completion_tokens,
        "total_tokens": trajectory.prompt_tokens + trajectory.completion_tokens,
        "total_cost": trajectory.cost_usd,
    }
    reason = "max_tokens" if trajectory.ending is Ending.TOKEN_LIMIT else "stop"
    made: dict[str, Any] = {
        "id": attempt.task_id,
        "epoch": attempt.sample + 1,
        "input": next((message.text for message in said if message.role == "user"), ""),
        "target": "",
        "messages": messages,
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": reason} for answer in answers[-1:]],
            "usage": usage,
        },
        "metadata": facts(attempt),
        "model_usage": {model: usage},
        "total_time": trajectory.duration_s,
        "uuid": session_id(attempt),
    }
    if verdict.outcome is Outcome.INFRA:  # nothing is known about the model
        why = verdict.reason or trajectory.error
        return made | {"error": {"message": why, "traceback": "", "traceback_ansi": ""}}
    score = {
        "value": "C" if verdict.outcome is Outcome.PASSED else "I",
        "answer": trajectory.answer,
        "explanation": verdict.reason,
    }
    return made | {"scores": {"hidden_tests": score}}


def _inspect_message(message: Message, model: str) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "assistant":
        made["model"] = model
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id, "function": call.name, "arguments": dict(call.arguments)}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        made["tool_call_id"] = message.tool_call_id
    return made


def _sft(source: Source) -> Files:
    rows = [strict_json(_sft_row(attempt, source.said(attempt))) for attempt in source.attempts]
    if rows:
        yield "sft.jsonl", b"\n".join(rows) + b"\n"


def _sft_row(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
    """`labels` are the ids that the model wrote; the others are -100, as torch's cross-entropy skips them."""
    trajectory = attempt.trajectory
    row: dict[str, Any] = {"messages": [message.chat(json.dumps) for message in said]}
    if trajectory.tools:
        row["tools"] = list(trajectory.tools)
    if trajectory.token_ids:
        labels = [-100] * len(trajectory.token_ids)
        for start, end in trajectory.loss_spans:
            labels[start:end] = trajectory.token_ids[start:end]
        row |= {"input_ids": list(trajectory.token_ids), "labels": labels}
    return row | {"plateau": facts(attempt)}


FORMATS: Mapping[str, Callable[[Source], Files]] = {
    "atif": _atif,
    "mini": _mini,
    "inspect": _inspect,
    "harbor": _harbor,
    "sft": _sft,
}
