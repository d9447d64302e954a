"""The one way to check what comes from outside: configs, task.toml, rows, agent files, run folders.

What is expected is written down as a dataclass (or any type that pydantic understands); `validated` turns
plain data into it, or raises one line that names the file, the key, the nearest right key and the problem.
"""

import dataclasses
import re
import types
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from plateau_bench.plugins import nearest

T = TypeVar("T")

_STRICT = ConfigDict(extra="forbid", strict=True)
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_NOT_PLAIN = (PydanticSerializationError, RecursionError, ValueError)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""A text that can be a file's content, a variable or an argument."""


def must_be(what: str, holds: Callable[[str], Any]) -> AfterValidator:
    """A check of texts for a field's type; `what` is the message's end: 'must be a name, not ...'."""

    def check(text: str) -> str:
        if not holds(text):
            raise ValueError(f"must be {what}, not {text[:80]!r}")
        return text

    return AfterValidator(check)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST = 100


def folder_name(text: str, what: str) -> str:
    """Return `text` if it may name a folder. Raises ValueError, beginning with `what`, if it may not.

    Every name from outside that becomes part of a path goes through here: nothing leaves its folder.
    """
    if _NAME.fullmatch(text) and ".." not in text and len(text) <= _LONGEST:
        return text
    shown = repr(text if len(text) <= _LONGEST else f"{text[:20]}...")
    raise ValueError(
        f"{what}: {shown} cannot name a folder; use letters, digits, '.', '_' and '-', "
        f"at most {_LONGEST} of them and no '..'"
    )


def as_folder_name(text: str) -> str:
    """A name that `folder_name` takes, made from any text; what is lost is told apart by a checksum."""
    plain = re.sub(r"\.\.+", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", text)).lstrip(".-") or "_"
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 9]}-{zlib.crc32(text.encode()):08x}"


class Loader(yaml.SafeLoader):
    """YAML whose numbers are those of YAML 1.2: `1e-3` is a number, not a text."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def decoded(data: bytes) -> str:
    """The text of a file that a user wrote: UTF-8, without the mark that some editors put in front.

    Whatever reads such a file reads it through here. Line ends stay. Raises UnicodeDecodeError.
    """
    return data.decode("utf-8-sig")


def read_yaml(path: Path) -> Any:
    """The plain data of a YAML file. Raises ValueError that names the file and the place."""
    try:
        return yaml.load(decoded(path.read_bytes()), Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def validated(kind: type[T], data: Any, source: str, at: str = "") -> T:
    """Return `data` as a `kind`.

    Types are taken as they are written: a text is no number, true is no number, a whole number does for a
    number, a list does for a tuple. `source` names the file (and line) in the message, and `at` is the key
    under which `data` lies in that file. Raises ValueError for the first thing that is wrong.
    """
    try:
        plain = to_json(data, inf_nan_mode="constants")
        found: T = _adapter(typing.cast(Any, kind)).validate_json(plain)
        return found
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    except _NOT_PLAIN as error:
        raise ValueError(f"{source}: {_odd_key(data)}not plain data: {error}") from None
    raise ValueError(f"{source}: {_said(kind, problem, at)}")


def validated_loosely(kind: type[T], data: dict[str, Any], source: str) -> tuple[T, list[str]]:
    """Return `data` as a `kind`, and the dotted names of keys that it has no field for.

    Such keys are taken out of `data`. Raises ValueError as `validated` does.
    """
    unknown = []
    try:
        _adapter(typing.cast(Any, kind)).validate_json(to_json(data, inf_nan_mode="constants"))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["type"] in _UNKNOWN:
                *place, key = problem["loc"]
                del reduce(getitem, place, typing.cast(Any, data))[key]
                unknown.append(_dotted(problem["loc"]))
    except _NOT_PLAIN:
        pass  # `validated` says what is wrong
    return validated(kind, data, source), unknown


def _odd_key(data: Any) -> str:
    """The beginning of a message: the first key whose value is no plain data."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        try:
            to_json(value)
        except _NOT_PLAIN:
            return f"{key!s}: "
    return ""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    for one in _dataclasses(kind, set()):
        if "__pydantic_config__" not in one.__dict__:  # nothing unknown is ever passed over in silence
            setattr(one, "__pydantic_config__", _STRICT)  # noqa: B010
    return TypeAdapter(kind) if dataclasses.is_dataclass(kind) else TypeAdapter(kind, config=_STRICT)


def _dataclasses(kind: Any, seen: set[type]) -> Iterator[type]:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind not in seen:
            seen.add(kind)
            yield kind
            for hint in typing.get_type_hints(kind).values():
                yield from _dataclasses(hint, seen)
        return
    for inner in typing.get_args(kind):
        yield from _dataclasses(inner, seen)


EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "keys and values",
    "dict_type": "keys and values",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "keys and values",
    "string_type": "a text",
    "tuple_type": "a list",
}
"""Kinds of problem, as pydantic calls them -> what should have stood there."""


def _said(kind: Any, problem: ErrorDetails, at: str) -> str:
    """One problem in our words: key first, then what is wrong with it."""
    place = problem["loc"]
    key = _dotted((at, *place) if at else place)
    match problem["type"]:
        case unknown if unknown in _UNKNOWN:
            return f"unknown key {key}{nearest(str(place[-1]), _keys_at(kind, place[:-1]))}"
        case "missing" | "missing_argument":
            return f"missing key {key}"
        case "value_error":
            message = str(problem["ctx"]["error"])
        case "greater_than_equal":
            message = f"at least {problem['ctx']['ge']:g}"
        case "greater_than":
            message = f"above {problem['ctx']['gt']:g}"
        case "less_than_equal":
            message = f"at most {problem['ctx']['le']:g}"
        case "less_than":
            message = f"below {problem['ctx']['lt']:g}"
        case _:
            wanted = EXPECTED.get(problem["type"])
            said = f"expected {wanted}" if wanted else problem["msg"].replace("Input should be", "expected")
            message = f"{said}, got {_kind(problem['input'])}"
    return f"{key or 'the file'}: {message}"


def _dotted(place: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _keys_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """The keys that the type has at a place of the data."""
    for part in place:
        kind = _inner(kind, part)
    kind = next(iter(_dataclasses(kind, set())), None)
    return [field.name for field in dataclasses.fields(kind)] if kind else []


def _inner(kind: Any, part: int | str) -> Any:
    """The type of one entry of a `kind`."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return typing.get_type_hints(kind).get(str(part))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        structured = [one for one in arguments if typing.get_args(one) or dataclasses.is_dataclass(one)]
        return _inner(structured[0], part) if structured else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return arguments[1]
    return arguments[0] if arguments else None


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(repr(value))[:80]}"
