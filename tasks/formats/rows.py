"""Rows of published suites: JSON lines, plain or gzipped, and checked access to their keys."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 500_000_000
"""Of a whole file, unpacked."""
MAX_ROW = 50_000_000
IMPORTED = "tasks.jsonl"
"""The rows in a suite folder that `plateau tasks import` made."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One row; every error names the file, the row and the key."""

    data: Mapping[str, Any]
    place: str
    """'HumanEval.jsonl.gz:3'."""

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def wrong(self, key: str, expected: str) -> ValueError:
        shown = repr(self.data.get(key))[:80] if key in self.data else "missing"
        return ValueError(f"{self.place}: {key} must be {expected}, not {shown}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        if "\0" in value or not _encodable(value):
            raise self.wrong(key, "text without NUL characters and lone surrogates")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not value.isidentifier():
            raise self.wrong(key, "the name of a function")
        return value

    def items(self, key: str, default: list[Any] | None = None) -> list[Any]:
        """A list, or the JSON text of one."""
        value = self.data.get(key, default)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise self.wrong(key, "a list") from None
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def texts(self, key: str, default: list[str] | None = None) -> list[str]:
        value = self.items(key, default)
        if not all(isinstance(item, str) and "\0" not in item and _encodable(item) for item in value):
            raise self.wrong(key, "a list of strings")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.data.get(key, default)
        if type(value) not in (int, float) or not 0 <= value <= 1e9:
            raise self.wrong(key, "a number from 0")
        return float(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_rows(path: Path, table_by: str = "") -> Iterator[Row]:
    """The rows of a .jsonl, .json (a list) or gzipped file. Raises ValueError naming the file and the row.

    `table_by`: a key; a .json may also hold a table of rows, by what they have there.
    """
    text = _content(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        data = _parsed(text, str(path))
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
        rows = ((number, _parsed(line, f"{path}:{number}")) for number, line in lines if line.strip())
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
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None


def _parsed(text: str, place: str) -> Any:
    if len(text) > MAX_ROW:
        raise ValueError(f"{place}: is longer than {MAX_ROW // 10**6} MB")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: is not JSON ({error})") from None
