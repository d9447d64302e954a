"""What an operation is.

An operation is its first expression: the reference semantics are compiled from it, and every other way
of writing it (variants, loops, recursion) is tested to give the same answers. Ints are named `x`,
words `w`; `{a}` is the list, `{k}` the constant, `{r}` a list being built, `{x}` the current element.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

FILTER, MAP, SEQ, REDUCE = "F", "M", "S", "R"
INTS, WORDS = "ints", "words"


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
    fold: tuple[str, str, str] | None
    """It as one pass over the elements: what is run at first, what for each of them, and what it gives."""
    recursion: tuple[str, str] | None
    """It as a recursion: what it gives for the empty list, and for others from `{x}` and `{rest}`."""
    run: Callable[[Any, int], Any]
    """Reference semantics: (value, k) -> value."""

    @property
    def variable(self) -> str:
        return "x" if self.family == INTS else "w"


Unplaced = Callable[[str, str], Op]
"""An operation still without its family and kind."""


def _reference(family: str, kind: str, text: str) -> Callable[[Any, int], Any]:
    """The function of one of the expressions in this package; nothing from outside gets here."""
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
) -> Unplaced:
    """An operation whose family and kind its table supplies; `phrases` has a | between two."""

    def place(family: str, kind: str) -> Op:
        return Op(
            name=name,
            family=family,
            kind=kind,
            phrases=tuple(phrases.split("|")),
            texts=texts,
            constants=k,
            fold=fold,
            recursion=recursion,
            run=_reference(family, kind, texts[0]),
        )

    return place
