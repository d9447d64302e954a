"""Runs named tests in a box and says how each of them ended. Standard library only, Python 3.9 is enough.

The whole of it, the test files and the plan arrive on standard input: nothing of the tests is on the box's
disk, in an environment variable or on a command line. This process never imports the code under test, is
not dumpable (so equal-uid code cannot read or trace it), and is the only one that holds standard output.

Every job is one test in a process of its own:

    apart      a fork of this process, not dumpable; the code under test is in a further process
               (`product_guest`) and only represented here (`remote_guest`)
    together   a fresh Python in which test and code under test share everything; it knows this one test only

Beside the test run canaries, which must fail. After every job all descendants are killed.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.machinery
import io
import json
import os
import sys
import time
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from plateau_bench.tasks.guest.process import CHILD, ending, hide, listen, sweep
from plateau_bench.tasks.guest.product import spawn
from plateau_bench.tasks.guest.remote import RemoteFinder

TESTS = "/tests/"
"""Where test files seem to lie. They are in memory; reading them with `open` works."""
MAX_REPORT = 100_000


def main(payload: dict[str, Any]) -> None:
    """Run the plan in `payload` and print one JSON object: the nonce, and per job what it reported."""
    hide()
    null = os.open("/dev/null", os.O_RDWR)
    out = os.dup(1)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    payload["workdir"] = os.getcwd()  # noqa: PTH109 - where the harness starts every command
    deadline = time.monotonic() + payload["seconds"]
    results = {job["key"]: run(job, payload, deadline) for job in payload["jobs"]}
    os.write(out, json.dumps({"nonce": payload["nonce"], "results": results}).encode())
    os._exit(0)


def run(job: dict, payload: dict, deadline: float) -> dict:
    """One job in a child of its own; what it reported, or {"ended": why there is no report}."""
    if time.monotonic() >= deadline:
        return {"ended": "no time left"}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(read)
            start(job, payload, write)
        os._exit(1)
    os.close(write)
    found, ended = listen(read, deadline, MAX_REPORT)
    status = sweep(child)
    os.close(read)
    return found if type(found) is dict else {"ended": f"the test's process: {ended or ending(status)}"}


def start(job: dict, payload: dict, write: int) -> None:
    """In the child: report on `write` what `perform` finds. Never returns."""
    if not payload["together"]:
        report(perform(job, payload), write)
    own = {key: payload[key] for key in ("modules", "workdir", "together")}
    own["files"], job = {**payload["files"], **job["replace"]}, {**job, "replace": {}}
    stdin = os.memfd_create("payload", 0)
    os.write(stdin, json.dumps({**own, "job": job}).encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    os.dup2(write, 3)
    os.closerange(4, 256)
    flags = ["-I", "-B", "-X", "pycache_prefix=/nonexistent"]
    os.execv(sys.executable, [sys.executable, *flags, "-c", CHILD % "alone"])


def alone(payload: dict[str, Any]) -> None:
    """Main function of the fresh Python of `together`."""
    report(perform(payload["job"], payload), 3)


def report(found: dict, write: int, leave: Callable[[int], None] = os._exit) -> None:
    data = json.dumps(found).encode()
    while data:
        data = data[os.write(write, data) :]
    leave(0)


# --- one test, in its own process ----------------------------------------------------------------------


def perform(job: dict, payload: dict) -> dict:
    """{"test": [outcome, detail], "canaries": {name: outcome}, "changed": [names]}."""
    os.chdir(payload["workdir"])
    files = {**payload["files"], **job["replace"]}
    sys.meta_path.insert(0, TestFinder(files))
    serve_files(files)
    folders = [payload["workdir"], payload["workdir"] + "/src"]
    finder = RemoteFinder(product_names(folders), lambda: spawn(source_of(payload, "product"), folders))
    if payload["together"]:
        sys.path += folders
    else:
        sys.meta_path.insert(1, finder)  # type: ignore[arg-type]
    before = interpreter()
    canaries = {}
    found: list = ["error", "not run"]
    path, _, names = job["id"].partition("::")
    module, trouble = attempt(lambda: importlib.import_module(module_name(path)))
    early, late = job["canaries"][: job["early"]], job["canaries"][job["early"] :]
    for canary in (*early, None, *late):
        if canary is not None:
            load = functools.partial(text_module, canary["source"])
            canaries[canary["key"]] = attempt_test(load, canary["names"])[0]
        elif trouble:
            found = trouble
        else:
            found = list(attempt_test(lambda: module, names.split("::")))
    if finder.link is not None and finder.link.broken:
        found = ["error", finder.link.broken]
    return {"test": found, "canaries": canaries, "changed": changed(before) if payload["together"] else []}


def attempt(step: Callable[[], Any]) -> tuple[Any, list]:
    """(value, []) or (None, [outcome, detail])."""
    try:
        return step(), []
    except unittest.SkipTest as error:
        return None, ["skipped", describe(error)]
    except AssertionError as error:
        return None, ["failed", describe(error)]
    except BaseException as error:
        return None, ["error", describe(error)]


def attempt_test(load: Callable[[], Any], names: list[str]) -> tuple[str, str]:
    _, trouble = attempt(lambda: run_test(load(), names))
    return tuple(trouble) if trouble else ("passed", "")


def describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception that cannot be shown"


def run_test(module: Any, names: list[str]) -> None:
    """Call one test function, or one method between set-up and tear-down. Raises what it raises."""
    owner = module if len(names) == 1 else getattr(module, names[0])
    function = getattr(owner, names[-1])
    for thing in (owner, function):
        if getattr(thing, "__unittest_skip__", False):
            raise unittest.SkipTest(str(getattr(thing, "__unittest_skip_why__", "")))
        if getattr(thing, "__unittest_expecting_failure__", False):
            raise unittest.SkipTest("expected to fail")
    with contextlib.ExitStack() as stack:
        _prepare(stack, module, "setUpModule", "tearDownModule")
        if owner is module:
            value = function()
        else:
            _prepare(stack, owner, "setUpClass", "tearDownClass")
            case = owner(names[-1]) if issubclass(owner, unittest.TestCase) else owner()
            if isinstance(case, unittest.TestCase):
                stack.callback(_clean_up, getattr(owner, "_class_cleanups", []))
                stack.callback(_clean_up, getattr(case, "_cleanups", []))
            _prepare(stack, case, "setUp", "tearDown")
            _prepare(stack, case, "setup_method", "teardown_method")
            value = getattr(case, names[-1])()
    if value is not None:
        raise TypeError(f"the test returned a {type(value).__name__}; coroutines and generators are not run")


def _clean_up(steps: list) -> None:
    """Like `doCleanups`, but an error in one is an error of the test."""
    with contextlib.ExitStack() as stack:
        for function, args, named in steps:
            stack.callback(function, *args, **named)


def _prepare(stack: contextlib.ExitStack, owner: Any, before: str, after: str) -> None:
    if hasattr(owner, after):
        stack.callback(getattr(owner, after))
    if hasattr(owner, before):
        getattr(owner, before)()


def text_module(source: str) -> types.ModuleType:
    module = types.ModuleType("tests")
    exec(compile(source, TESTS + "tests.py", "exec"), module.__dict__)
    return module


def product_names(folders: list[str]) -> set[str]:
    """Modules and packages at the top of the workspace; the standard library keeps its names."""
    found = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            found |= {name.partition(".")[0] for name in os.listdir(folder)}  # noqa: PTH208
    known = getattr(sys, "stdlib_module_names", frozenset(sys.modules))
    return {name for name in found if name.isidentifier() and name not in known and name != "tests"}


def source_of(payload: dict, name: str) -> str:
    return next(text for module, text in payload["modules"] if module == f"plateau_bench.tasks.guest.{name}")


def module_name(path: str) -> str:
    return "tests." + path.removesuffix(".py").replace("/", ".") if path.endswith(".py") else path


class TestFinder:
    """Imports test files from memory, as `tests.x`, as `x`, and by their bare name."""

    def __init__(self, files: dict[str, str]) -> None:
        self.sources: dict[str, str] = {"tests": ""}
        self.packages = {"tests"}
        for path in (path for path in files if path.endswith(".py")):
            name = path[:-3].replace("/", ".")
            name = name.removesuffix(".__init__")
            for full in (f"tests.{name}", name, name.rpartition(".")[2]):
                self.sources.setdefault(full, path)
            for i in range(path.count("/")):
                package = ".".join(path.split("/")[: i + 1])
                self.packages |= {package, f"tests.{package}"}
        self.files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name not in self.sources and name not in self.packages:
            return None
        package = name in self.packages or self.sources.get(name, "").endswith("__init__.py")
        return importlib.machinery.ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        path = self.sources.get(module.__name__, "")
        module.__file__ = TESTS + (path or "__init__.py")
        exec(compile(self.files.get(path, ""), module.__file__, "exec"), module.__dict__)


def serve_files(files: dict[str, str]) -> None:
    """Let `open` and `Path.read_text` find the test's own files, which are on no disk."""
    real = io.open

    def opened(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        where = "" if isinstance(file, int) else os.path.abspath(os.fsdecode(file))  # noqa: PTH100
        name = where[len(TESTS) :] if where.startswith(TESTS) else ""
        if name not in files or set(mode) & set("wax+"):
            return real(file, mode, *args, **named)
        raw = io.BytesIO(files[name].encode("utf-8", "surrogateescape"))
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding=named.get("encoding") or "utf-8")

    io.open = builtins.open = opened


# --- traces of tampering, where test and product share a process ---------------------------------------


def interpreter() -> dict[str, object]:
    """What a test relies on, by name. Names that mean something else afterwards were tampered with."""

    def parts() -> Iterator[tuple[str, object]]:
        places = [builtins, unittest.TestCase, unittest.case, sys.modules[__name__], os, json, time]
        for place in places:
            prefix = getattr(place, "__name__", "")
            yield from ((f"{prefix}.{name}", value) for name, value in vars(place).items())
        yield "sys.gettrace()", sys.gettrace()
        yield "sys.getprofile()", sys.getprofile()
        yield "sys.meta_path", tuple(map(id, sys.meta_path))
        functions = (f for cls in (unittest.TestCase, types.SimpleNamespace) for f in vars(cls).values())
        for function in (*functions, perform, run_test, attempt, attempt_test, report):
            if isinstance(function, types.FunctionType):
                yield f"{function.__qualname__}.__code__", (function.__code__, function.__defaults__)

    skipped = ("builtins._", "os.environ", "unittest.case.__warningregistry__")
    return {name: value for name, value in parts() if name not in skipped}


def changed(before: dict[str, object]) -> list[str]:
    """Names in `before` whose meaning changed. Of tuples the items are compared, else identities."""
    now = interpreter()
    missing = object()

    def same(one: object, other: object) -> bool:
        if type(one) is tuple and type(other) is tuple and len(one) == len(other):
            return all(a is b or (type(a) is int and a == b) for a, b in zip(one, other))  # noqa: B905
        return one is other

    return sorted(name for name, value in before.items() if not same(value, now.get(name, missing)))[:20]
