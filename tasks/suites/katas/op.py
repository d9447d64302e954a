"""What an operation is, and the list operations that ints and words share.

An operation is its first expression: the reference semantics are compiled from it, and every other way
of writing it (variants, loops, recursion) is tested to give the same answers. Ints are named `x`,
words `w`; `{a}` is the list, `{k}` the constant, `{r}` a list being built, `{x}` the current element.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

FILTER, MAP, SEQ, REDUCE = "F", "M", "S", "R"
INTS, WORDS = "ints", "words"


class Fold(NamedTuple):
    """The operation as one pass over the elements: run `init`, then `body` per element, give `result`."""

    init: str
    body: str
    result: str


class Recursion(NamedTuple):
    """The operation as a recursion: `base` for the empty list, `step` from `{x}` and `{rest}`."""

    base: str
    step: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Op:
    """One operation: `Op(name="even", kind=FILTER, phrases=("keep the even numbers",), ...)`."""

    name: str
    family: str
    kind: str
    phrases: tuple[str, ...]
    texts: tuple[str, ...]
    """Ways to write it: a condition (F), an element expression (M), an expression of `{a}` (S, R)."""
    constants: range
    """What `k` may be; empty if the operation has no constant."""
    fold: Fold | None
    recursion: Recursion | None
    run: Callable[[Any, int], Any]
    """Reference semantics: (value, k) -> value."""

    @property
    def variable(self) -> str:
        return "x" if self.family == INTS else "w"


def _reference(family: str, kind: str, text: str) -> Callable[[Any, int], Any]:
    """The function of one of the expressions in this package; nothing from outside gets here."""
    from math import prod

    variable = "x" if family == INTS else "w"
    body = text.replace("{a}", "a").replace("{k}", "k")
    if kind == FILTER:
        body = f"[{variable} for {variable} in a if {body}]"
    elif kind == MAP:
        body = f"[{body} for {variable} in a]"
    compiled: Callable[[Any, int], Any] = eval(f"lambda a, k: {body}", {"prod": prod})
    return compiled


def op(
    name: str,
    phrases: str,
    *texts: str,
    k: range = range(0),
    fold: tuple[str, str, str] | None = None,
    recursion: tuple[str, str] | None = None,
) -> Callable[[str, str], Op]:
    """An operation still without its family and kind, which its table supplies."""

    def place(family: str, kind: str) -> Op:
        return Op(
            name=name,
            family=family,
            kind=kind,
            phrases=tuple(phrases.split("|")),
            texts=texts,
            constants=k,
            fold=Fold(*fold) if fold else None,
            recursion=Recursion(*recursion) if recursion else None,
            run=_reference(family, kind, texts[0]),
        )

    return place


ANY = range(2, 10)
SHORT = range(2, 5)
"""Lengths that cut even the short lists of the visible tests."""

REVERSE = op(
    "reverse",
    "reverse the list|put the list in reverse order",
    "{a}[::-1]",
    "list(reversed({a}))",
    fold=("{r} = []", "{r}.insert(0, {x})", "{r}"),
    recursion=("[]", "{rest} + [{x}]"),
)
FIRST = op(
    "first",
    "keep the first {k} items|take the first {k}",
    "{a}[:{k}]",
    k=SHORT,
    fold=("{r} = []", "if len({r}) < {k}:\n {r}.append({x})", "{r}"),
)
UNIQUE = op(
    "unique",
    "drop repeats, keeping the first of each|remove later duplicates",
    "list(dict.fromkeys({a}))",
    fold=("{r} = []", "if {x} not in {r}:\n {r}.append({x})", "{r}"),
)
SKIP = op(
    "skip",
    "drop the first {k} items|skip the first {k}",
    "{a}[{k}:]",
    k=SHORT,
    fold=("{r} = []\nn = 0", "n += 1\nif n > {k}:\n {r}.append({x})", "{r}"),
)
LAST = op(
    "last",
    "keep the last {k} items|take the last {k}",
    "{a}[-{k}:]",
    k=SHORT,
    fold=("{r} = []", "{r} = ({r} + [{x}])[-{k}:]", "{r}"),
)
EVERY_SECOND = op(
    "every-second",
    "keep every second item, starting with the first|take every other item",
    "{a}[::2]",
    fold=("{r} = []\nn = 0", "if n % 2 == 0:\n {r}.append({x})\nn += 1", "{r}"),
)
ROTATE = op("rotate", "move the first item to the end|rotate left by one", "{a}[1:] + {a}[:1]")

COUNT = op(
    "count",
    "return how many there are|count them",
    "len({a})",
    "sum(1 for _ in {a})",
    fold=("t = 0", "t += 1", "t"),
    recursion=("0", "1 + {rest}"),
)
