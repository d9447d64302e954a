"""The task.toml: tables that know their place, for messages, and which of their keys were asked for."""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from plateau_bench.sandbox.network.allow import AllowList
from plateau_bench.tasks.files import inside, text_of

_DESCRIPTIVE = ("schema_version", "version", "source", "task", "metadata")


class Table:
    """One table. Every method raises ValueError that names the file and the key."""

    def __init__(
        self, data: Mapping[str, Any], file: Path, name: str = "", read: set[str] | None = None
    ) -> None:
        self._data, self.file, self._name = data, file, name
        self.read: set[str] = set() if read is None else read

    @classmethod
    def of(cls, file: Path) -> "Table":
        """The root table of a TOML file."""
        try:
            return cls(tomllib.loads(text_of(file)), file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{file}: {error}") from error
        except RecursionError:
            raise ValueError(f"{file}: nested too deeply") from None

    def at(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def wrong(self, key: str, expected: str) -> ValueError:
        shown = repr(self._data.get(key))[:80]
        return ValueError(f"{self.file}: {self.at(key)} must be {expected}, not {shown}")

    def has(self, key: str) -> bool:
        return key in self._data

    def get(self, *keys: str) -> tuple[str, Any]:
        """The first of several spellings that is present, else the first one with None."""
        self.read |= {self.at(key) for key in keys}
        return next(((key, self._data[key]) for key in keys if key in self._data), (keys[0], None))

    def table(self, key: str) -> "Table":
        _, value = self.get(key)
        if not isinstance(value, dict | None):
            raise self.wrong(key, "a table")
        return Table(value or {}, self.file, self.at(key), self.read)

    def tables(self, key: str, *, bare: str = "") -> list["Table"]:
        """An array of tables; where it holds a string instead, a table with it at `bare`."""
        _, value = self.get(key)
        rows = [{bare: row} if bare and isinstance(row, str) else row for row in _list(value)]
        if not isinstance(value, list | None) or not all(isinstance(row, dict) for row in rows):
            raise self.wrong(key, "an array of tables")
        named = [f"{self.at(key)}[{i}]" for i in range(len(rows))]
        self.read |= {*named}
        return [Table(row, self.file, name, self.read) for row, name in zip(rows, named, strict=True)]

    def text(self, *keys: str) -> str:
        key, value = self.get(*keys)
        if not isinstance(value, str | None) or "\0" in (value or ""):
            raise self.wrong(key, "a string")
        return value or ""

    def choice(self, key: str, *choices: str) -> str:
        """One of the choices, or "" where nothing is said."""
        value = self.text(key)
        if value and value not in choices:
            raise self.wrong(key, " or ".join(map(repr, choices)))
        return value

    def number(self, key: str, default: float, *, zero: bool = False) -> float:
        """Above 0, or 0 where that is allowed."""
        _, value = self.get(key)
        if value is None:
            return default
        if type(value) not in (int, float) or not (0 < value <= 1e9 or (zero and value == 0)):
            raise self.wrong(key, "a number above 0")
        return float(value)

    def megabytes(self, key: str, old: str, default: int) -> int:
        """`memory_mb = 2048`, or the old `memory = "2G"`."""
        name, value = self.get(key, old)
        if value is None:
            return default
        if type(value) is int and 0 < value <= 10**9:
            return value
        size = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([KMG]?)i?B?\s*", str(value), re.IGNORECASE)
        if name == key or not isinstance(value, str) or size is None:
            raise self.wrong(name, "a whole number of MiB" if name == key else "a size such as '2G'")
        return max(1, math.ceil(float(size[1]) * {"K": 1 / 1024, "G": 1024}.get(size[2].upper(), 1)))

    def variables(self, key: str) -> dict[str, str]:
        """A table of environment variables. `${NAME}` would be one of this machine, which no box gets."""
        table = self.table(key)
        found = {}
        for name in table._data:
            value = table.text(name)
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise table.wrong(name, "named by letters, digits and _")
            template = re.fullmatch(r"\$\{([^}:]+)(:-([^}]*))?\}", value)
            if template and not template[2]:
                raise table.wrong(name, "a value, for boxes get no variables of this machine")
            found[name] = template[3] if template else value
        return found

    def folder(self, key: str) -> str:
        """An absolute path of a box in which a workspace can lie, or ""."""
        path = self.text(key)
        if path and (not path.startswith("/") or path == "/" or ".." in PurePosixPath(path).parts):
            raise self.wrong(key, "an absolute path below /")
        if path and taken(path):
            raise self.wrong(key, f"somewhere else: {taken(path)} is where graders write")
        return path

    def network(self, public: Sequence[str] | None) -> tuple[str, ...]:
        """The hosts that the file asks for; `public` stands in for a wish for all of them."""
        mode = self.choice("network_mode", "public", "no-network", "allowlist")
        _, allow = self.get("allow_internet")
        if not isinstance(allow, bool | None):
            raise self.wrong("allow_internet", "true or false")
        if mode == "allowlist":
            return self._hosts()
        if self.get("allowed_hosts")[1]:
            raise self.wrong("allowed_hosts", "absent unless network_mode is 'allowlist'")
        if mode == "no-network" or not (mode or allow):
            return ()
        if public is None:
            key = self.at("network_mode" if mode else "allow_internet")
            raise ValueError(
                f"{self.file}: {key} asks for all of the internet, "
                'and boxes reach only hosts that are named; say which in tasks.network: ["example.org"], '
                '["*"] for every public host, [] for none'
            )
        return tuple(public)

    def _hosts(self) -> tuple[str, ...]:
        """`allowed_hosts`."""
        _, hosts = self.get("allowed_hosts")
        if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
            raise self.wrong("allowed_hosts", "a list of hosts, for network_mode is 'allowlist'")
        try:
            AllowList(hosts)
        except ValueError as error:
            raise ValueError(f"{self.file}: {self.at('allowed_hosts')}: {error}") from None
        return tuple(hosts)

    def refuse(self, key: str, why: str, *, harmless: Sequence[Any] = ()) -> None:
        """Raise ValueError if the key is there and asks for something."""
        value = self.get(key)[1]
        if value and value not in harmless:
            raise ValueError(f"{self.file}: {self.at(key)}: {why}")

    def unread(self) -> list[str]:
        """Dotted keys that nothing asked for and that do more than describe."""

        def walk(data: Mapping[str, Any], prefix: str) -> Iterator[str]:
            for key, value in data.items():
                name = prefix + key
                if name in _DESCRIPTIVE:
                    continue
                if name not in self.read:
                    yield name
                    continue
                if isinstance(value, dict):
                    yield from walk(value, name + ".")
                for i, row in enumerate(_list(value)):
                    if isinstance(row, dict):
                        yield from walk(row, f"{name}[{i}].")

        return sorted(walk(self._data, ""))


def task_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a task.toml. Strings, numbers and booleans are written in TOML as in JSON."""
    text = 'schema_version = "1.1"\n'
    for name, table in tables.items():
        text += f"\n[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return text


def taken(path: str) -> str:
    """The folder that graders or the system need for themselves and that `path` is in; "" if in none."""
    for place in ("/tests", "/solution", "/logs/verifier", "/proc", "/sys", "/dev"):
        if inside(path, place) or inside(place, path):
            return place
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
