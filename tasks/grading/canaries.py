"""Canaries: tests made by the grader that must fail, so that a pytest that passes everything is seen."""

import secrets
from dataclasses import dataclass

_FUNCTIONS = (
    "def {name}():\n    assert {a} == {b}\n",
    "def {name}():\n    value = [{a}]\n    assert value == [{b}], value\n",
)
_METHODS = (
    "        self.assertEqual({a}, {b})\n",
    "        self.assertIn({a}, [{b}])\n",
    "        with self.assertRaises(ValueError):\n            int('{a}')\n",
)
_CLASS = "import unittest\nclass {group}(unittest.TestCase):\n    def {name}(self):\n"
_WORDS = (
    "add", "edge", "empty", "insert", "items", "keeps", "large", "limit", "merge", "order", "pop", "round",
    "sorts", "split", "state", "table",
)  # fmt: skip
_random = secrets.SystemRandom()


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """The source of a file that holds one failing test, and the test's name in it, outermost first."""

    names: tuple[str, ...]
    source: str


def canaries() -> list[Canary]:
    """Two to four canaries in random order, of random names, values and forms.

    Functions and methods are among them, for pytest calls these in different ways.
    """
    grouped = [False, True, *_random.choices([False, True], k=_random.randint(0, 2))]
    _random.shuffle(grouped)
    return [_canary(one) for one in grouped]


def _canary(grouped: bool) -> Canary:
    """A test that fails, and looks like any other; `grouped` in a class."""
    text = _CLASS + _random.choice(_METHODS) if grouped else _random.choice(_FUNCTIONS)
    a, b = _random.sample(range(-99, 1000), 2)
    name = "test_" + "_".join(_random.sample(_WORDS, 2)) + _random.choice(["", "_2", f"_{abs(a)}"])
    group = "Test" + "".join(word.title() for word in _random.sample(_WORDS, 2))
    source = text.format(name=name, group=group, a=a, b=b)
    return Canary(names=(group, name) if grouped else (name,), source=source)
