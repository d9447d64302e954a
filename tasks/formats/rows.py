"""Rows of published suites: JSON lines, plain or gzipped, and what their lists may look like."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from plateau_bench.tasks.files import json_of
from plateau_bench.validate import Text, decoded, validated_loosely

T = TypeVar("T")

MAX_BYTES = 500_000_000
"""The most bytes of a whole file, unpacked."""
IMPORTED = "tasks.jsonl"
"""The rows in a suite folder that `plateau tasks import` made."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, unchecked."""

    data: Mapping[str, Any]
    place: str
    """'HumanEval.jsonl.gz:3'."""

    def read(self, kind: type[T]) -> T:
        """The row as a dataclass; keys that it has no field for have no effect.

        Raises ValueError that names the file, the row and the key.
        """
        return validated_loosely(kind, dict(self.data), self.place)[0]


def unpacked(value: Any) -> Any:
    """The items of a list, or of the JSON text of one; anything else as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"must be a list, not {value[:80]!r}") from None
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[Text, ...], BeforeValidator(unpacked)]


def read_rows(path: Path, table_by: str = "") -> Iterator[Row]:
    """The rows of a .jsonl, .json (a list) or gzipped file. Raises ValueError naming the file and the row.

    `table_by`: a key; a .json may also hold a table of rows, by what they have there.
    """
    text = _content(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        data = json_of(text, str(path))
        rows: Iterable[tuple[object, Any]]
        if table_by and isinstance(data, dict):
            whole = ({table_by: key, **row} if isinstance(row, dict) else row for key, row in data.items())
            rows = zip(data, whole, strict=True)
        elif isinstance(data, list):
            rows = enumerate(data, 1)
        else:
            raise ValueError(f"{path}: is not a list of rows")
    else:
        lines = enumerate(text.split("\n"), 1)
        rows = ((number, json_of(line, f"{path}:{number}")) for number, line in lines if line.strip())
    empty = True
    for number, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: is not an object with keys")
        empty = False
        yield Row(row, f"{path}:{number}")
    if empty:
        raise ValueError(f"{path}: holds no rows")


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: holds more than {MAX_BYTES // 10**6} MB")
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
