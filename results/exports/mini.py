"""Attempts as trajectories of mini-swe-agent ("mini-swe-agent-1.1")."""

import json
from importlib.metadata import version
from typing import Any

from plateau_bench.agents.base import Ending, Message
from plateau_bench.results.exports.source import Files, Source, facts, file_name, session_id, strict_json
from plateau_bench.results.records import Attempt

_EXITS = {
    Ending.SUBMITTED: "Submitted",
    Ending.STEP_LIMIT: "LimitsExceeded",
    Ending.TOKEN_LIMIT: "LimitsExceeded",
    Ending.COST_LIMIT: "LimitsExceeded",
    Ending.TIME_LIMIT: "TimeExceeded",
    Ending.MALFORMED: "RepeatedFormatError",
    Ending.INFRA: "SandboxError",
}


def export(source: Source) -> Files:
    """One trajectory per attempt, in a folder of its own."""
    for attempt in source.attempts:
        name = file_name(session_id(attempt))
        yield f"{name}/{name}.traj.json", strict_json(_trajectory(attempt, source.said(attempt)))


def _trajectory(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
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
            "mini_version": f"plateau {version('plateau-bench')}",
            **left,
            "plateau": facts(attempt),
        },
        "messages": [
            *map(_message, said),
            {"role": "exit", "content": trajectory.answer, "extra": left},
        ],
        "trajectory_format": "mini-swe-agent-1.1",
        "instance_id": attempt.task_id,
    }


def _message(message: Message) -> dict[str, Any]:
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
