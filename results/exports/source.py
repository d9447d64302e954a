"""What is exported, and what the files of every format share."""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from plateau_bench.agents.base import Message
from plateau_bench.results.records import Attempt, flat

Files = Iterator[tuple[str, bytes]]
"""(relative path, content)."""


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
        """The whole conversation, made of instruction and answer where none was recorded."""
        return attempt.trajectory.conversation(self.instruction_of(attempt))

    def instruction_of(self, attempt: Attempt) -> str:
        """What was asked, or nothing where the attempt's messages say it."""
        return "" if attempt.trajectory.messages else self.instruction(attempt)


_FACTS = (
    *("arm", "seed", "round", "split", "task_id", "task_digest", "stratum", "cluster", "sample"),
    *("temperature", "sampling_seed", "outcome", "verified", "reason", "ending", "error", "duration_s"),
)


def facts(attempt: Attempt) -> dict[str, Any]:
    """What is known of an attempt beyond its conversation: verdict, ending, and what it belongs to."""
    row = flat(attempt)
    visits = [asdict(visit) for visit in attempt.trajectory.visits]
    return {name: row[name] for name in _FACTS} | {"visits": visits}


def session_id(attempt: Attempt) -> str:
    """`seed-1/replace/round-03/train/sum-17#2`: one for every attempt of a run."""
    place = f"seed-{attempt.seed}/{attempt.arm}/round-{attempt.round:02d}/{attempt.split.value}"
    return f"{place}/{attempt.task_id}#{attempt.sample}"


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
