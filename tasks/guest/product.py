"""The code under test in a process of its own; the other end, in the test's process, is `remote_guest`.

Shipped into the box as text; standard library only, Python 3.9 is enough. Two ends of one socket:

    test end      {"do": operation, "a": [...], "k": {...}}        product end answers
                  {"v": value, "back": {index: value}} or {"e": exception}
    product end   {"cb": id, "do": operation, "a": [...], "k": {...}}  a function that the test passed in

Plain data crosses by value, as exact types. Everything else stays here and is known by a number.
"""

from __future__ import annotations

import builtins
import collections
import datetime
import decimal
import fractions
import importlib
import json
import operator
import os
import socket
import struct
import sys
import types

MAX_MESSAGE, DEPTH = 16_000_000, 60
_SEQUENCES = (tuple, set, frozenset, collections.deque)
_MAPPINGS = (dict, collections.OrderedDict, collections.Counter)
MUTABLE = (list, set, dict, bytearray, *_SEQUENCES[3:], *_MAPPINGS[1:])
_WRITE = {
    bytes: bytes.hex,
    bytearray: bytearray.hex,
    decimal.Decimal: str,
    fractions.Fraction: str,
    complex: repr,
    datetime.date: datetime.date.isoformat,
    datetime.datetime: datetime.datetime.isoformat,
    datetime.time: datetime.time.isoformat,
    datetime.timedelta: lambda v: [v.days, v.seconds, v.microseconds],
    range: lambda v: [v.start, v.stop, v.step],
}
_READ = {
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "complex": complex,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda v: datetime.timedelta(*v),
    "range": lambda v: range(*v),
}


class Wire:
    """One end of the socket: messages, and values in both directions."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.things: list = []
        self.numbers: dict[int, int] = {}

    def send(self, message: dict) -> None:
        data = json.dumps(message).encode()
        self.channel.sendall(struct.pack(">I", len(data)) + data)

    def receive(self) -> dict:
        size = struct.unpack(">I", self._exactly(4))[0]
        if size > MAX_MESSAGE:
            raise ValueError("message too long")
        message = json.loads(self._exactly(size))
        if type(message) is not dict:
            raise ValueError("not a message")
        return message

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.channel.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError("the other end is closed")
            data += part
        return bytes(data)

    def keep(self, thing: object) -> int:
        """A number for an object of this end, which stays alive from now on."""
        if id(thing) not in self.numbers:
            self.numbers[id(thing)] = len(self.things)
            self.things.append(thing)
        return self.numbers[id(thing)]

    def encode(self, value: object, depth: int = DEPTH) -> object:
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is float or kind is str:
            return value
        if depth == 0:
            raise ValueError("nested too deeply")
        if kind is list:
            return [self.encode(item, depth - 1) for item in value]  # type: ignore[attr-defined]
        if kind in _SEQUENCES:
            return {kind.__name__: [self.encode(item, depth - 1) for item in value]}  # type: ignore[attr-defined]
        if kind in _MAPPINGS:
            pairs = list(value.items())  # type: ignore[attr-defined]
            return {kind.__name__: [[self.encode(part, depth - 1) for part in pair] for pair in pairs]}
        if kind in _WRITE:
            return {kind.__name__: _WRITE[kind](value)}  # type: ignore[operator]
        name = getattr(value, "__name__", None) if kind in (type, types.BuiltinFunctionType) else None
        if type(name) is str and vars(builtins).get(name) is value:
            return {"builtin": name}
        return self.outward(value)

    def decode(self, data: object, depth: int = DEPTH) -> object:
        if depth == 0:
            raise ValueError("nested too deeply")
        if type(data) is list:
            return [self.decode(item, depth - 1) for item in data]
        if type(data) is not dict:
            return data
        ((tag, body),) = data.items()
        for sequence in _SEQUENCES:
            if tag == sequence.__name__:
                return sequence([self.decode(item, depth - 1) for item in body])
        for mapping in _MAPPINGS:
            if tag == mapping.__name__:
                return mapping({self.decode(k, depth - 1): self.decode(v, depth - 1) for k, v in body})
        if tag in _READ:
            return _READ[tag](body)  # type: ignore[operator]
        return self.inward(tag, body)

    def outward(self, value: object) -> object:
        raise NotImplementedError

    def inward(self, tag: str, body: object) -> object:
        raise NotImplementedError


OPERATIONS: dict = {
    "import": importlib.import_module,
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "call": lambda function, *args, **named: function(*args, **named),
    "isinstance": lambda thing, kind: isinstance(thing, kind),
    "enter": lambda thing: type(thing).__enter__(thing),
    "exit": lambda thing: type(thing).__exit__(thing, None, None, None),
    **{f.__name__: f for f in (len, iter, next, bool, hash, str, repr, format, dir, reversed)},
    **{name: getattr(operator, name) for name in ("getitem", "setitem", "delitem", "contains")},
    **{name: getattr(operator, name) for name in ("eq", "lt", "le", "gt", "ge")},
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")},
    **{name: getattr(operator, name) for name in ("matmul", "and_", "or_", "xor", "lshift", "rshift")},
    **{name: getattr(operator, name) for name in ("neg", "pos", "invert")},
}


class Local:
    """In the product's process: something that the test passed in."""

    _product: Product
    _number: int

    def __init__(self, product: Product, number: int) -> None:
        self.__dict__.update(_product=product, _number=number)

    def __call__(self, *args: object, **named: object) -> object:
        return self._product.back(self._number, "call", args, named)

    def __iter__(self) -> object:
        return self._product.back(self._number, "iter", (), {})

    def __next__(self) -> object:
        return self._product.back(self._number, "next", (), {})

    def __getattr__(self, name: str) -> object:
        return self._product.back(self._number, "get", (name,), {})


class Product(Wire):
    """Imports the agent's code and does what it is asked. Nothing it says is trusted."""

    def serve(self) -> None:
        while True:
            self.answer(self.receive())

    def answer(self, message: dict) -> None:
        try:
            args = [self.decode(item) for item in message["a"]]
            before = {i: self.encode(arg) for i, arg in enumerate(args) if type(arg) in MUTABLE}
            named = {key: self.decode(item) for key, item in message["k"].items()}
            value = self.encode(OPERATIONS[message["do"]](*args, **named))
            after = {i: self.encode(args[i]) for i in before}
            reply = {"v": value, "back": {i: new for i, new in after.items() if new != before[i]}}
        except BaseException as error:
            reply = {"e": self.failure(error)}
        self.send(reply)

    def failure(self, error: BaseException) -> dict:
        try:
            args, text = [self.encode(arg) for arg in error.args], str(error)
        except BaseException:
            args, text = [], "an exception that cannot be shown"
        return {"type": self.lineage(type(error)), "args": args, "text": text, "id": self.keep(error)}

    def lineage(self, kind: type) -> list:
        """[number, name] of an exception class and its ancestors; -1 for Python's own."""
        classes = [c for c in kind.__mro__ if issubclass(c, BaseException)]
        own = [vars(builtins).get(c.__name__) is not c for c in classes]
        return [[self.keep(c) if mine else -1, c.__name__] for c, mine in zip(classes, own)]  # noqa: B905

    def outward(self, value: object) -> object:
        if type(value) is Local:
            return {"c": value._number}
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"x": self.lineage(value)}
        return {"h": self.keep(value)}

    def inward(self, tag: str, body: object) -> object:
        if tag == "builtin":
            return vars(builtins)[body]  # type: ignore[index]
        return self.things[body] if tag == "h" else Local(self, body)  # type: ignore[call-overload, arg-type]

    def back(self, number: int, what: str, args: tuple, named: dict) -> object:
        encoded = {key: self.encode(value) for key, value in named.items()}
        self.send({"cb": number, "do": what, "a": [self.encode(arg) for arg in args], "k": encoded})
        while True:
            message = self.receive()
            if "do" not in message:
                break
            self.answer(message)
        if "e" in message:
            kind = vars(builtins).get(message["e"][0])
            fits = isinstance(kind, type) and issubclass(kind, BaseException)
            raise (kind if fits else RuntimeError)(message["e"][1])  # type: ignore[misc]
        return self.decode(message["v"])


def serve(fd: int, folders: list) -> None:
    """Main function of the product's process. Its folders come last: they shadow no standard module."""
    sys.argv = [""]
    sys.path += folders
    Product(socket.socket(fileno=fd)).serve()


def spawn(source: str, folders: list) -> socket.socket:
    """Start the product's process, which holds nothing of this one but its end of a socket."""
    ours, theirs = socket.socketpair()
    text = f"{source}\nserve(3, {folders!r})\n"
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    actions.append((os.POSIX_SPAWN_DUP2, theirs.fileno(), 3))
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "USER") if key in os.environ}
    command = [sys.executable, "-I", "-B", "-X", "pycache_prefix=/nonexistent", "-c", text]
    os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)
    theirs.close()
    os.close(null)
    return ours
