"""Code under test in another process: what tests may do with it, and what it may not do to them."""

import collections
import datetime
import decimal
import fractions
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.tasks.grading.compare import same
from plateau_bench.tasks.guest.product import Product, spawn
from plateau_bench.tasks.guest.remote import Ended, Link, Remote, RemoteFinder

SOURCE = '''
from collections import namedtuple
class Broken(ValueError):
    code = 7
class Stack:
    """A stack."""
    limit = 3
    def __init__(self, *items): self.items = list(items)
    def push(self, item):
        if len(self.items) == self.limit: raise Broken("full")
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __hash__(self): return hash(tuple(self.items))
    def __add__(self, other): return Stack(*self.items, *other.items)
    def __enter__(self): return self
    def __exit__(self, *_): self.items.clear()
class Yes(int):
    __eq__ = __lt__ = __gt__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: 0
    __hash__ = int.__hash__
def apply(function, items): return [function(item) for item in items]
def sort(items): items.sort()
def leave(code=0):
    import os
    os._exit(code)
def steal(function): return function.__globals__
def count(to): yield from range(to)
def which(thing): return type(thing).__name__
'''


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("product")
    (folder / "remotely_tested.py").write_text(SOURCE)
    source = Path("tasks/guest/product.py").read_text()
    finder: Any = RemoteFinder({"remotely_tested"}, lambda: spawn(source, [str(folder)]))
    sys.meta_path.append(finder)
    import remotely_tested  # type: ignore[import-not-found]

    yield remotely_tested
    sys.meta_path.remove(finder)
    del sys.modules["remotely_tested"]
    finder.link.channel.close()
    os.wait()


def test_objects_behave_as_if_they_were_here(product: Any) -> None:
    stack = product.Stack(1, 2)
    assert stack.push(3) is stack
    assert (len(stack), list(stack), stack.items, stack.limit) == (3, [1, 2, 3], [1, 2, 3], 3)
    assert stack == product.Stack(1, 2, 3)
    assert stack != product.Stack(1)
    assert isinstance(stack, product.Stack)
    assert not isinstance(3, product.Stack)
    assert len({stack, product.Stack(1, 2, 3)}) == 1
    assert list(product.Stack(1) + product.Stack(2)) == [1, 2]
    assert list(product.count(3)) == [0, 1, 2]
    stack.limit = 9
    with stack.push(4) as same_stack:
        assert len(same_stack) == 4
    assert len(stack) == 0


def test_errors_are_raised_here(product: Any) -> None:
    with pytest.raises(product.Broken, match="full") as caught:
        product.Stack(1, 2, 3).push(4)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == 7
    with pytest.raises(TypeError):
        product.sort()
    with pytest.raises(AttributeError):
        product.nothing  # noqa: B018
    with pytest.raises(StopIteration):
        next(product.count(0))


def test_arguments_are_changed_and_functions_called(product: Any) -> None:
    items = [3, 1, 2]
    product.sort(items)
    assert items == [1, 2, 3]
    assert product.apply(lambda x: x * 10, items) == [10, 20, 30]
    assert product.apply(str, items) == ["1", "2", "3"]
    assert product.which(lambda: 0) == "Local"

    def refuse(_: object) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        product.apply(refuse, items)


def test_what_equals_everything_equals_nothing(product: Any) -> None:
    yes = product.Yes(4)
    assert type(yes) is Remote
    for comparison in (yes == 4, yes == 5, yes in [4]):
        assert comparison is False
    for claim in (lambda: yes < 9, lambda: yes - 4, lambda: 4 - yes, lambda: abs(yes), lambda: round(yes)):
        with pytest.raises(TypeError):
            claim()
    for number in (int, float):
        with pytest.raises(TypeError):
            number(yes)


def test_the_test_s_variables_are_out_of_reach(product: Any) -> None:
    with pytest.raises(AttributeError, match="out of reach|within reach"):
        product.steal(lambda: 0)
    with pytest.raises(TypeError, match="cannot be handed"):
        product.which(os)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        struct.pack(">I", 2**31),
        b"nonsense",
        {},
        {"v": {"h": "0"}},
        {"v": {"c": 99}, "back": {}},
        {"v": {"set": [{"dict": []}]}, "back": {}},
        {"v": 1, "back": {"0": 5}},
        {"v": 1, "back": {"7": []}},
        {"e": {"type": [[-1, "exec"]], "args": [], "text": "", "id": 0}},
        {"v": {"a": 1, "b": 2}, "back": {}},
        {"v": {"Fraction": "x"}, "back": {}},
        {"v": json.loads("[" * 200 + "]" * 200), "back": {}},
    ],
    ids=str,
)
def test_a_breach_of_protocol_ends_the_test(reply: object) -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    data = json.dumps(reply).encode() if isinstance(reply, dict) else reply
    assert isinstance(data, bytes)
    theirs.sendall(struct.pack(">I", len(data)) + data if isinstance(reply, dict) else data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Ended):
        link.do("call", Remote(link, 0))
    assert link.broken
    with pytest.raises(Ended):  # for good: no later answer counts
        link.do("call", Remote(link, 0))
    ours.close()
    theirs.close()


def test_builtins_of_the_product_stay_there() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    assert link.decode({"builtin": "int"}) is int
    assert link.decode({"builtin": "KeyError"}) is KeyError
    answer = json.dumps({"v": {"h": 5}, "back": {}}).encode()
    theirs.sendall(2 * (struct.pack(">I", len(answer)) + answer))
    assert type(link.decode({"builtin": "exec"})) is Remote
    ours.close()
    theirs.close()


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.fractions()
    | st.complex_numbers(allow_nan=False) | st.dates() | st.datetimes() | st.times() | st.timedeltas()
    | st.decimals(allow_nan=False)
)  # fmt: skip
HASHABLE = st.booleans() | st.integers() | st.text() | st.fractions()
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(collections.deque)
        | st.dictionaries(HASHABLE, inner)
        | st.dictionaries(HASHABLE, inner).map(collections.OrderedDict)
        | st.sets(HASHABLE)
        | st.frozensets(HASHABLE)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_data_arrives_as_it_was(value: object) -> None:
    ours, theirs = socket.socketpair()
    link, product = Link(ours), Product(theirs)
    there = product.decode(json.loads(json.dumps(link.encode(value))))
    back = link.decode(json.loads(json.dumps(product.encode(there))))
    assert same(there, value)
    assert same(back, value)
    ours.close()
    theirs.close()


def test_kinds_of_plain_data() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    values = (decimal.Decimal("0.10"), fractions.Fraction(1, 3), datetime.date(2020, 2, 29), range(1, 9, 2))
    for value in (*values, collections.Counter("abca"), bytearray(b"\0x")):
        assert same(link.decode(json.loads(json.dumps(link.encode(value)))), value)
    ours.close()
    theirs.close()
