"""Attempts as rows for fine-tuning: conversations, with the exact tokens and labels where they are known."""

import json
from typing import Any

from plateau_bench.agents.base import Message
from plateau_bench.results.exports.source import Files, Source, facts, strict_json
from plateau_bench.results.records import Attempt


def export(source: Source) -> Files:
    """One file with a row per attempt."""
    rows = [strict_json(_row(attempt, source.said(attempt))) for attempt in source.attempts]
    if rows:
        yield "sft.jsonl", b"\n".join(rows) + b"\n"


def _row(attempt: Attempt, said: tuple[Message, ...]) -> dict[str, Any]:
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
