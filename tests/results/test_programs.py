"""Classes of programs: what renaming may not change, and what must change the class."""

import keyword
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.results.metrics.program_classes import MAX_PROGRAM_CHARS, canonical, ladder, program_key

NAMES = st.from_regex(r"[a-z]{1,6}_[a-z]{1,3}", fullmatch=True).filter(lambda s: not keyword.iskeyword(s))

TEMPLATE = """
import math as {a}
LIMIT = {number}
def {b}({c}, *{d}, {e}={number}, **{f}):
    total = [{g} * 2 for {g} in {c} if {g} > LIMIT]
    for {h}, (x, *y) in enumerate({d}):
        total += {f}.get({h}, y)
    try:
        {a}.sqrt(len(total) {operator} {e})
    except ValueError as {i}:
        raise RuntimeError from {i}
    return sorted(total, key=lambda {j}: -{j})
"""


@given(
    names=st.lists(NAMES, min_size=10, max_size=10, unique=True),
    number=st.integers(0, 10**6),
    operator=st.sampled_from("+-*/"),
)
def test_only_the_names_chosen_by_the_author_are_ignored(
    names: list[str], number: int, operator: str
) -> None:
    plain = dict(zip("abcdefghij", "mfpqrstuvw", strict=True))
    renamed = dict(zip("abcdefghij", names, strict=True))
    key = canonical(TEMPLATE.format(**plain, number=number, operator=operator))
    assert key is not None
    assert key == canonical(TEMPLATE.format(**renamed, number=number, operator=operator))
    assert key != canonical(TEMPLATE.format(**renamed, number=number + 1, operator=operator))
    assert key != canonical(TEMPLATE.format(**renamed, number=number, operator="%"))


SAME = [
    ("def f(a): return a+1", "def g( b ):\n  # why\n  return (b + 1)"),
    ("def f(a):\n  'says'\n  return a", "def f(a): return a"),
    ("def f():\n  'only this'", "def f(): pass"),
    ("[x for x in a] + [x for x in b]", "[x for x in a] + [y for y in b]"),  # names live in their own scope
    ("def f(x): return x\ndef g(x): return -x", "def f(x): return x\ndef g(y): return -y"),
    ("import numpy as np\nnp.sum(1)", "import numpy\nnumpy.sum(1)"),
    ("from a import b\nb()", "from a import b as c\nc()"),
    ("def f():\n  global n\n  n = 1\nn += 1", "def f():\n  global k\n  k = 1\nk += 1"),
    ("f = lambda x: lambda y: x", "g = lambda a: lambda b: a"),
    (
        "def f(v):\n  match v:\n    case [a, *b]: return a",
        "def f(v):\n  match v:\n    case [c, *d]: return c",
    ),
    ("class A:\n  def m(self): return self.x", "class B:\n  def m(this): return this.x"),
    ("def f(a):\n  if (n := len(a)): return n", "def f(a):\n  if (k := len(a)): return k"),
    ("x = '\\d'", "y = '\\\\d'"),
]
DIFFERENT = [
    ("def f(a): return min(a)", "def f(a): return max(a)"),  # builtins are not the author's names
    ("def f(a): return a.x", "def f(a): return a.y"),
    ("def f(a, b): return a", "def f(a, b): return b"),
    ("x = 1", "x = 1.0"),
    ("x = 1", "x = True"),
    ("x = '1'", "x = 1"),
    ("x = 'a'", "x = b'a'"),
    ("f = lambda x: lambda y: x", "f = lambda x: lambda y: y"),
    ("x = [a for a in b]", "x = {a for a in b}"),
    ("def f(x): return [x for x in x]", "def f(x): return [x for y in x]"),
    ("def f(sum): return sum(1)", "def f(a): return sum(1)"),
    ("import a.b\na.c", "import a\na.c"),
    ("def f(a, /): pass", "def f(a): pass"),
    ("def f(*a): pass", "def f(**a): pass"),
    ("def f(a=1): pass", "def f(a): pass"),
    ("def f(a=1, *, b): pass", "def f(a, *, b=1): pass"),
    ("if a:\n  b()\nc()", "if a:\n  b()\n  c()"),
    ("async def f(): pass", "def f(): pass"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_same_class(left: str, right: str) -> None:
    assert canonical(left) is not None
    assert canonical(left) == canonical(right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_class(left: str, right: str) -> None:
    assert None not in (canonical(left), canonical(right))
    assert canonical(left) != canonical(right)


@pytest.mark.parametrize(
    "hostile",
    [
        "def f(:",
        "",
        " \n",
        "\x00",
        "\ud800 = '",
        "(" * 5000,
        "-" * 50_000 + "1",
        "a" + "+a" * 20_000,
        "x" + ".y" * 20_000,
        "0x" + "f" * 6_000,
        "x = 1\n" * (MAX_PROGRAM_CHARS // 6 + 1),
    ],
)
def test_what_cannot_be_read_has_no_class(hostile: str) -> None:
    assert canonical(hostile) is None


def test_text_that_is_not_python_is_its_own_class() -> None:
    assert program_key("fn main() {}") == program_key("fn main() {}")
    assert program_key("fn main() {}") != program_key("fn  main() {}")
    assert program_key("  ") is None


def test_a_round_of_programs_is_keyed_in_a_moment() -> None:
    source = "def f(a):\n    out = []\n    for x in a:\n        if x % {i} == 0:\n            out.append(x)\n"
    start = time.perf_counter()
    keys = {canonical(source.format(i=i)) for i in range(1000)}
    assert len(keys) == 1000
    assert time.perf_counter() - start < 2.0


def test_each_rung_of_the_ladder_forgives_more() -> None:
    """Layout, then own names, then the values of constants, but never their types or free names."""
    base = "def f(a):\n    return sum(a) + 1\n"
    layout = 'def f(a): # first\n  "says"\n  return (sum(a)+1)'
    names = "def g(numbers):\n    return sum(numbers) + 1\n"
    values = "def h(x):\n    return sum(x) + 2\n"
    types = "def h(x):\n    return sum(x) + 2.0\n"
    free = "def f(a):\n    return max(a) + 1\n"
    rungs = [ladder(text) for text in (base, layout, names, values, types, free)]
    assert all(rungs)
    same = {
        rung: [getattr(other, rung) == getattr(rungs[0], rung) for other in rungs]
        for rung in ("layout", "names", "constants")
    }
    assert same["layout"] == [True, True, False, False, False, False]
    assert same["names"] == [True, True, True, False, False, False]
    assert same["constants"] == [True, True, True, True, False, False]
