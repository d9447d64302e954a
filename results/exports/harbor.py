"""Attempts as the trial folders of a Harbor job (read by Harbor 0.24; its `TrialResult`)."""

from importlib.metadata import version
from itertools import islice
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.results.exports.atif import trajectory_file
from plateau_bench.results.exports.source import Files, Source, facts, file_name, session_id, strict_json
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome

_SPACE = uuid5(NAMESPACE_URL, "plateau")
_METADATA = (
    *("arm", "seed", "round", "split", "sample", "sampling_seed", "temperature", "duration_s"),
    *("ending", "outcome", "verified", "reason"),
)
"""Those of `facts` that a trial does not say elsewhere."""


def trial_name(attempt: Attempt) -> str:
    """The name of the trial's folder, another one for every attempt of a run."""
    return f"{file_name(attempt.task_id)[:80]}__{uuid5(_SPACE, session_id(attempt)).hex[:10]}"


def export(source: Source) -> Files:
    """A job folder: config, result, verifier and ATIF trajectory of each attempt.

    An attempt that infrastructure ended has an exception and no reward; one that was tampered with has the
    reward 0.
    """
    for attempt in source.attempts:
        name, result = trial_name(attempt), _trial_result(source, attempt)
        yield f"{name}/config.json", strict_json(result["config"])
        yield f"{name}/result.json", strict_json(result)
        if result["verifier_result"]:
            reward = result["verifier_result"]["rewards"]["reward"]
            yield f"{name}/verifier/reward.txt", f"{reward}\n".encode()
            yield f"{name}/verifier/test-stdout.txt", attempt.verdict.reason.encode(errors="replace")
        yield f"{name}/agent/trajectory.json", trajectory_file(source, attempt)


def _trial_result(source: Source, attempt: Attempt) -> dict[str, Any]:
    """The content of a `result.json`; the same attempt of the same run gives the same."""
    made, verdict, name = attempt.trajectory, attempt.verdict, trial_name(attempt)
    known = facts(attempt)
    provider, _, model = made.model.rpartition("/")
    infra = verdict.outcome is Outcome.INFRA
    reward = 1 if verdict.outcome is Outcome.PASSED else 0
    return {
        "id": str(uuid5(_SPACE, f"{source.name}\n{session_id(attempt)}")),
        "task_name": attempt.task_id,
        "trial_name": name,
        "trial_uri": name,
        "task_id": {"path": attempt.task_id},
        "source": source.name,
        "task_checksum": attempt.task_digest,
        "config": {
            "task": {"path": attempt.task_id, "source": source.name},
            "trial_name": name,
            "trials_dir": ".",
            "agent": {"name": made.agent, "model_name": made.model or None},
            "job_id": str(uuid5(_SPACE, source.name)),
        },
        "agent_info": {
            "name": made.agent,
            "version": version("plateau-bench"),
            "model_info": {"name": model, "provider": provider or None} if model else None,
        },
        "agent_result": {
            "n_input_tokens": made.prompt_tokens,
            "n_output_tokens": made.completion_tokens,
            "cost_usd": made.cost_usd,
            "rollout_details": [_rollout(made)] if made.loss_spans else None,
            "metadata": {name: known[name] for name in _METADATA},
        },
        "verifier_result": None if infra else {"rewards": {"reward": reward}},
        "exception_info": _exception(attempt, source.created),
    }


def _rollout(made: Trajectory) -> dict[str, list[list[Any]]]:
    """One turn for every span that the model wrote, each with all that it had read by then."""
    tokens, logprobs = list(made.token_ids), iter(made.logprobs)
    turns: dict[str, list[list[Any]]] = {
        "prompt_token_ids": [tokens[:start] for start, _ in made.loss_spans],
        "completion_token_ids": [tokens[start:end] for start, end in made.loss_spans],
    }
    if made.logprobs:
        turns["logprobs"] = [list(islice(logprobs, end - start)) for start, end in made.loss_spans]
    return turns


def _exception(attempt: Attempt, created: str) -> dict[str, str] | None:
    infra = attempt.verdict.outcome is Outcome.INFRA
    if not infra and attempt.trajectory.ending is not Ending.CRASHED:
        return None
    return {
        "exception_type": "SandboxError" if infra else attempt.trajectory.error.partition(":")[0] or "Crash",
        "exception_message": attempt.verdict.reason if infra else attempt.trajectory.error,
        "exception_traceback": "",
        "occurred_at": created,  # the only time there is: attempts record durations
    }
