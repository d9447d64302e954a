"""Values between the harness and a program box: JSON text, with tags for plain data that JSON lacks.

Shipped into the box as text; standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

DEPTH = 60
_SEQUENCES: dict[Any, str] = {tuple: "t", set: "s", frozenset: "z"}
_KINDS = {tag: kind for kind, tag in _SEQUENCES.items()}


def pack(value: Any, depth: int = DEPTH) -> Any:
    """Plain data as JSON values. Raises TypeError for anything else, ValueError if nested too deeply."""
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    if not depth:
        raise ValueError("nested too deeply")
    if kind is list:
        return [pack(item, depth - 1) for item in value]
    if kind in _SEQUENCES:
        return {_SEQUENCES[kind]: [pack(item, depth - 1) for item in value]}
    if kind is dict:
        return {"d": [[pack(key, depth - 1), pack(item, depth - 1)] for key, item in value.items()]}
    if kind is complex:
        return {"c": [value.real, value.imag]}
    if kind is bytes:
        return {"b": value.hex()}
    raise TypeError("a " + kind.__name__ + " is not plain data")


def unpack(data: Any, depth: int = DEPTH) -> Any:
    """Undo `pack` on hostile data: raises ValueError, TypeError or OverflowError, and runs nothing."""
    if not isinstance(data, (list, dict)):
        return data
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(data, list):
        return [unpack(item, depth - 1) for item in data]
    ((tag, body),) = data.items()
    if tag == "b" and type(body) is str:
        return bytes.fromhex(body)
    if type(body) is not list:
        raise ValueError("malformed value")
    if tag in _KINDS:
        return _KINDS[tag]([unpack(item, depth - 1) for item in body])
    if tag == "d":
        return {unpack(key, depth - 1): unpack(item, depth - 1) for key, item in body}
    if tag == "c":
        return complex(*map(float, body))
    raise ValueError("no such tag")


def answer(function: Callable[..., object], call: str) -> str:
    """One call's answer as text. `call` is the packed list of arguments as text."""
    return json.dumps(pack(function(*unpack(json.loads(call)))))
