"""Objects in the test's process that stand for the code under test, which runs in `product_guest`'s process.

Shipped into the box as text. Test files import the agent's modules as if they were here. Plain data crosses
by value, rebuilt as exact types, and mutable arguments are copied back after a call. Everything else is
represented by a `Remote`, which never equals plain data, orders with it or counts as a number: so an object
that claims to equal everything equals nothing. Every byte that arrives is hostile: no pickle, no eval, and
a breach of protocol fails the test whatever the test itself makes of it.
"""

from __future__ import annotations

import builtins
import collections
import importlib.machinery
import socket
import types
from typing import Any

from plateau_bench.tasks.guest.product import MUTABLE, OPERATIONS, Wire

_PLAIN_TYPES = (bool, int, float, str, list, tuple, dict, set, frozenset, bytes, complex, object, type(None))


class Ended(BaseException):
    """The product's process is gone or broke the protocol. No test can catch its way past it."""


class Link(Wire):
    """The test's end. `broken` says why no further word of the product counts; "" while all is well."""

    broken = ""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self.remotes: dict[int, Remote] = {}
        self.classes: dict[int, type] = {}

    def do(self, what: str, *args: object, **named: object) -> object:
        if self.broken:
            raise Ended(self.broken)
        encoded = {key: self.encode(value) for key, value in named.items()}
        request = {"do": what, "a": [self.encode(arg) for arg in args], "k": encoded}
        try:
            self.send(request)
            while "cb" in (reply := self.receive()):
                self.called(reply)
            if "e" in reply:
                failure = self.failure(reply["e"])
            else:
                for i, data in reply["back"].items():
                    _restore(args[int(i)], self.decode(data))
                return self.decode(reply["v"])
        except Exception as error:
            gone = isinstance(error, (OSError, EOFError))
            self.broken = f"the code under test {'ended its process' if gone else 'broke the protocol'}"
            raise Ended(self.broken) from None
        raise failure

    def called(self, message: dict) -> None:
        """The product uses something that the test passed in: it may be called, iterated, or its public
        methods used; never are its attributes handed out, which would lead to the test's own variables."""
        try:
            thing, what = self.things[message["cb"]], message["do"]
            args = [self.decode(arg) for arg in message["a"]]
            named = {str(key): self.decode(value) for key, value in message["k"].items()}
            if what == "get":
                value = getattr(thing, str(args[0])) if _public(thing, args[0]) else _refuse()
            else:
                value = OPERATIONS[what](thing, *args, **named) if what in ("call", "iter", "next") else None
            self.send({"v": self.encode(value)})
        except Ended:
            raise
        except BaseException as error:
            self.send({"e": [type(error).__name__, str(error)]})

    def outward(self, value: object) -> object:
        if type(value) is Remote:
            return {"h": _number(value)}
        if isinstance(value, type) and value in self.classes.values():
            return {"h": next(number for number, kind in self.classes.items() if kind is value)}
        if isinstance(value, (types.ModuleType, types.FrameType, types.CodeType)):
            raise TypeError(f"a {type(value).__name__} cannot be handed to the code under test")
        return {"c": self.keep(value)}

    def inward(self, tag: str, body: object) -> object:
        if tag == "h" and type(body) is int:
            return self.remotes.setdefault(body, Remote(self, body))
        if tag == "c" and type(body) is int and 0 <= body < len(self.things):
            return self.things[body]
        if tag == "x":
            return self.exception(body)
        if tag == "builtin" and type(body) is str:
            kind = vars(builtins).get(body)
            if kind in _PLAIN_TYPES or (isinstance(kind, type) and issubclass(kind, BaseException)):
                return kind
            return getattr(self.do("import", "builtins"), body)  # the product's, not this one
        raise ValueError("no such tag")

    def exception(self, lineage: object) -> type[BaseException]:
        """A local class for an exception class of the product; Python's own are themselves."""
        kind: Any = BaseException
        for number, name in reversed(lineage):  # type: ignore[call-overload]
            if number == -1:
                kind = vars(builtins)[name]
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    raise ValueError("no such exception")
            else:
                if int(number) not in self.classes:
                    self.classes[int(number)] = type(str(name), (kind,), dict(_STAND_IN))
                kind = self.classes[int(number)]
        return kind

    def failure(self, data: dict) -> BaseException:
        kind = self.exception(data["type"])
        args = [self.decode(arg) for arg in data["args"]]
        try:
            error = kind(*args)
        except Exception:
            error = kind.__new__(kind)
            error.args = tuple(args)
        if type(error).__module__ != "builtins":
            error.__dict__.update(_text=str(data["text"]), _remote=self.inward("h", data["id"]))
        return error


def _of_remote(error: BaseException, name: str) -> object:
    if "_remote" not in error.__dict__:  # made here, not raised there
        raise AttributeError(name)
    return getattr(error.__dict__["_remote"], name)


_STAND_IN = {
    "__module__": "product",
    "__str__": lambda self: self.__dict__.get("_text") or Exception.__str__(self),
    "__getattr__": _of_remote,
}


def _public(thing: object, name: object) -> bool:
    simple = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
    if type(name) is not str or name.startswith("_") or isinstance(thing, simple):
        return False
    value = getattr(thing, name)
    return isinstance(value, (types.MethodType, types.BuiltinFunctionType, bool, int, float, str))


def _refuse() -> object:
    raise AttributeError("not within reach of the code under test")


def _restore(target: object, value: object) -> None:
    """Give an argument the content that the product left in its copy."""
    if type(target) is not type(value) or type(target) not in MUTABLE:
        raise ValueError("an argument of another type came back")
    if isinstance(target, (list, bytearray)):
        target[:] = value  # type: ignore[call-overload]
    else:
        target.clear()  # type: ignore[attr-defined]
        (target.extend if isinstance(target, collections.deque) else target.update)(value)  # type: ignore


class Remote:
    """Stands for an object of the product."""

    __slots__ = ("_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> object:
        return _link(self).do("get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _link(self).do("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        _link(self).do("delete", self, name)

    def __call__(self, *args: object, **named: object) -> object:
        return _link(self).do("call", self, *args, **named)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Remote and _link(self).do("eq", self, other) is True)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __instancecheck__(self, thing: object) -> bool:
        return type(thing) is Remote and _link(self).do("isinstance", thing, self) is True

    def __exit__(self, *_: object) -> bool:
        return _link(self).do("exit", self) is True


def _link(remote: Remote) -> Link:
    return object.__getattribute__(remote, "_link")


def _number(remote: Remote) -> int:
    return object.__getattribute__(remote, "_number")


_BITWISE = ("matmul", "and_", "or_", "xor", "lshift", "rshift")


def _equip() -> None:
    """The special methods, which Python looks up on the class."""

    def forward(what: str, kind: type | None = None) -> object:
        def method(self: Remote, *args: object) -> object:
            value = _link(self).do(what, self, *args)
            if kind is not None and type(value) is not kind:
                raise TypeError(f"{what}() of the code under test gave no {kind.__name__}")
            return value

        return method

    def compare(what: str) -> object:
        def method(self: Remote, other: object) -> object:
            return _link(self).do(what, self, other) is True if type(other) is Remote else NotImplemented

        return method

    def compute(what: str, swapped: bool) -> object:
        def method(self: Remote, *other: object) -> object:
            value = _link(self).do(what, *((*other, self) if swapped else (self, *other)))
            if type(value) is not Remote:  # it would take the place of a number in a comparison
                raise TypeError(f"{what} on an object of the code under test gave plain data")
            return value

        return method

    exact = {"len": int, "bool": bool, "hash": int, "str": str, "repr": str, "format": str, "contains": bool}
    for what in ("iter", "next", "getitem", "setitem", "delitem", "enter", "dir", "reversed", *exact):
        setattr(Remote, f"__{what}__", forward(what, exact.get(what)))
    for what in ("lt", "le", "gt", "ge"):
        setattr(Remote, f"__{what}__", compare(what))
    for what in ("neg", "pos", "invert"):
        setattr(Remote, f"__{what}__", compute(what, swapped=False))
    for what in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", *_BITWISE):
        setattr(Remote, f"__{what.strip('_')}__", compute(what, swapped=False))
        setattr(Remote, f"__r{what.strip('_')}__", compute(what, swapped=True))


_equip()


class RemoteModule(types.ModuleType):
    """What a test gets when it imports the product."""

    def __getattr__(self, name: str) -> object:
        if name == "_remote" or (name.startswith("__") and name not in ("__all__", "__version__")):
            raise AttributeError(name)
        remote = self.__dict__["_remote"]
        if name == "__all__" and "__all__" not in dir(remote):
            return [n for n in dir(remote) if not n.startswith("_")]
        return getattr(remote, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__") or isinstance(value, RemoteModule):
            super().__setattr__(name, value)
        else:
            setattr(self.__dict__["_remote"], name, value)


class RemoteFinder:
    """Finds the product's modules, by starting its process at the first import of one."""

    def __init__(self, names: set, start: object) -> None:
        self.names, self.start = names, start
        self.link: Link | None = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore

    def create_module(self, spec: object) -> object:
        if self.link is None:
            self.link = Link(self.start())  # type: ignore[operator]
        remote = self.link.do("import", spec.name)  # type: ignore[attr-defined]
        module = RemoteModule(spec.name)  # type: ignore[attr-defined]
        module.__dict__["_remote"] = remote
        return module

    def exec_module(self, module: object) -> None:
        pass
