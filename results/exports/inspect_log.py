"""Attempts as logs of Inspect AI, one per checkpoint and split (log version 2, JSON)."""

from importlib.metadata import version
from itertools import groupby
from typing import Any

from plateau_bench.agents.base import Ending, Message
from plateau_bench.results.exports.source import Files, Source, facts, file_name, session_id, strict_json
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome


def export(source: Source) -> Files:
    """One log per checkpoint and split."""

    def belongs(attempt: Attempt) -> tuple[int, str, int, str]:
        return attempt.seed, attempt.arm, attempt.round, attempt.split.value

    for (seed, arm, round, split), group in groupby(source.attempts, belongs):
        name = f"seed-{seed}-{arm}-round-{round:02d}-{split}"
        attempts = list(group)
        yield f"{file_name(name)}.json", strict_json(_log(f"{source.name}-{name}", source, attempts))


def _log(name: str, source: Source, attempts: list[Attempt]) -> dict[str, Any]:
    """As Inspect AI reads one: a task is a sample, the attempts at it are its epochs."""
    samples = [_sample(attempt, source.said(attempt)) for attempt in attempts]
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
            "packages": {"plateau": version("plateau-bench")},
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(graded),
            "scores": [{"name": "hidden_tests", "scorer": "hidden_tests", "metrics": metrics}],
        },
        "stats": {"started_at": source.created, "completed_at": source.created},
        "samples": samples,
    }


def _sample(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
    trajectory, verdict = attempt.trajectory, attempt.verdict
    model = trajectory.model or "none"
    messages = [
        {"id": f"{attempt.task_id}-{attempt.sample}-{number}"} | _message(message, model)
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


def _message(message: Message, model: str) -> dict[str, Any]:
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
