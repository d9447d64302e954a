"""Pipelines as English and as Python, in six styles that people write.

The styles of one pipeline are different programs with the same answers; a style that would not differ
from a comprehension for a given pipeline is not offered for it.
"""

import random
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from plateau_bench.tasks.suites.katas.grammar import Pipeline
from plateau_bench.tasks.suites.katas.op import FILTER, MAP, Op

STYLES = {"comp": 30, "loop": 24, "fused": 18, "func": 14, "while": 8, "recursion": 6}
"""Style -> how often people reach for it, percent."""

_OPENERS = (
    "Write f(a) for a list of {kind}s: ",
    "Given a list of {kind}s a, write f(a): ",
    "f(a) gets a list of {kind}s: ",
    "Define f(a) on {kind}s: ",
    "Make f(a) for {kind} lists: ",
)
_CONNECTORS = (", then ", "; then ", ", next ", ", and then ")


def instruction(pipeline: Pipeline, rng: random.Random) -> str:
    """`"Write f(a) for a list of ints: keep the even numbers, then square each, then return the sum"`."""
    phrases = [step.phrase(rng) for step in pipeline]
    opener = rng.choice(_OPENERS).format(kind=pipeline[0].op.family.removesuffix("s"))
    return opener + rng.choice(_CONNECTORS).join(phrases)


class _Part(NamedTuple):
    """A step whose wording is chosen."""

    op: Op
    k: int
    text: str

    def fill(self, template: str) -> str:
        return template.replace("{k}", str(self.k))

    def of(self, source: str) -> str:
        return self.text.replace("{a}", source)


class _Run(NamedTuple):
    """A stretch that fits in one pass: keep some elements, change them, hand them to a sink."""

    keep: str = ""
    make: str = ""
    sink: _Part | None = None

    @property
    def passes(self) -> bool:
        return bool(self.keep or self.make)


def render(pipeline: Pipeline, style: str, rng: random.Random) -> str | None:
    """The program in that style, or None where the style has nothing of its own to offer."""
    parts = [_Part(op, k, rng.choice(op.texts).replace("{k}", str(k))) for op, k in pipeline]
    variable = parts[0].op.variable if parts else "x"
    lines = _WRITERS[style](_runs(parts), variable)
    if lines is None:
        return None
    body = "\n".join(lines)
    imports = [f"from {module} import {name}" for module, name in _IMPORTS if f"{name}(" in body]
    return "def f(a):\n" + _indent([*imports, *lines]) + "\n"


_IMPORTS = (("math", "prod"), ("functools", "reduce"))


def render_any(pipeline: Pipeline, rng: random.Random) -> tuple[str, str]:
    """(style, program), the style drawn by how often people use it among those that fit."""
    while True:
        (style,) = rng.choices(tuple(STYLES), tuple(STYLES.values()))
        program = render(pipeline, style, rng)
        if program is not None:
            return style, program


def _indent(lines: list[str]) -> str:
    return "\n".join(" " + line for text in lines for line in text.split("\n"))


def _runs(parts: list[_Part]) -> list[_Run]:
    runs, keep, make = [], "", ""
    for part in parts:
        if part.op.kind == FILTER:
            keep = part.text
        elif part.op.kind == MAP:
            make = part.text
        else:
            runs.append(_Run(keep, make, part))
            keep, make = "", ""
    if keep or make:
        runs.append(_Run(keep, make, None))
    return runs


def _comprehension(run: _Run, source: str, v: str, brackets: str = "[]") -> str:
    condition = f" if {run.keep}" if run.keep else ""
    return f"{brackets[:1]}{run.make or v} for {v} in {source}{condition}{brackets[1:]}"


def _mapped(run: _Run, source: str, v: str) -> str:
    inner = f"filter(lambda {v}: {run.keep}, {source})" if run.keep else source
    return f"map(lambda {v}: {run.make}, {inner})" if run.make else inner


def _returned(lines: list[str]) -> list[str]:
    """Ends with `return`, and returns a last assignment at once instead of naming it."""
    if lines and lines[-1].startswith("a = "):
        return [*lines[:-1], "return " + lines[-1][4:]]
    return [*lines, "return a"]


def _steps(runs: list[_Run], v: str) -> list[str]:
    lines = []
    for run in runs:
        if run.passes:
            lines.append("a = " + _comprehension(run, "a", v))
        if run.sink:
            lines.append("a = " + run.sink.of("a"))
    return lines


def _reduces(runs: list[_Run]) -> bool:
    return any(run.sink is not None and "reduce(" in run.sink.text for run in runs)


def _comp(runs: list[_Run], v: str) -> list[str] | None:
    return None if _reduces(runs) else _returned(_steps(runs, v))


_SOLE_ITERABLE = re.compile(r"[^{]*(sum|max|min|sorted|set|prod|fromkeys|join)\(\{a\}\)[^{]*")
"""Expressions of the list that read as well with a bare generator."""
_ANY_ITERABLE = re.compile(
    r"(sum|max|min|sorted|set|prod|fromkeys|join)\(\{a\}[,)]| in \{a\}\)|reduce\(.*, \{a\}, 1\)"
)
"""Expressions of the list that take an iterator as well."""


def _fused(runs: list[_Run], v: str) -> list[str] | None:
    lines: list[str] = []
    value = "a"
    for run in runs:
        if run.passes:
            bare = run.sink is not None and bool(_SOLE_ITERABLE.fullmatch(run.sink.text))
            value = _comprehension(run, value, v, "" if bare else "[]")
        if run.sink:
            if run.sink.text.count("{a}") > 1 and value != "a":
                lines.append("a = " + value)
                value = "a"
            value = run.sink.of(value)
    lines.append("return " + value)
    return None if _reduces(runs) or lines == _comp(runs, v) else lines


def _func(runs: list[_Run], v: str) -> list[str] | None:
    if not _reduces(runs) and not any(run.passes for run in runs):
        return None
    lines = []
    for run in runs:
        sink = run.sink
        if sink and sink.text.count("{a}") == 1 and _ANY_ITERABLE.search(sink.text):
            lines.append("a = " + sink.of(_mapped(run, "a", v)))
            continue
        if run.passes:
            lines.append(f"a = list({_mapped(run, 'a', v)})")
        if sink:
            lines.append("a = " + sink.of("a"))
    return _returned(lines)


_INLINE = re.compile(r"(?:\(|^|= )\{x\}(?:\)|$)", re.MULTILINE)
"""Where any expression may stand for the element: as a sole argument or a whole right-hand side."""


def _element(run: _Run, template: str, v: str, inline: bool) -> list[str]:
    """Lines that do `template` to the current element, changed by the run's map."""
    changes, value = [], v
    if run.make:
        if inline and template.count("{x}") == 1:
            value = run.make
        else:
            changes = [f"{v} = {run.make}"]
    return [*changes, template.replace("{x}", value)]


def _guarded(run: _Run, lines: list[str]) -> list[str]:
    return [f"if {run.keep}:", _indent(lines)] if run.keep else lines


def _passes(runs: list[_Run], v: str, opening: str) -> list[str] | None:
    """Loops; `opening` begins a pass over `{a}` whose current element is to be called `{v}`."""
    lines: list[str] = []
    names = iter("bcd")
    source, looped, answer = "a", False, "a"
    for run in runs:
        sink = run.sink
        fold = sink.op.fold if sink else None
        if run.passes or fold:
            looped = True
            target = next(names)
            init, body, answer = fold or ("{r} = []", "{r}.append({x})", "{r}")
            fill = sink.fill if fold and sink else str
            init, body, answer = (fill(text).replace("{r}", target) for text in (init, body, answer))
            work = _element(run, body, v, bool(_INLINE.search(body)))
            lines += [init, opening.format(a=source, v=v), _indent(_guarded(run, work))]
            source = target
        if sink and not fold:
            name = next(names)
            lines.append(f"{name} = {sink.of(source)}")
            source = answer = name
    if not looped:
        return None
    last, equals, value = lines[-1].partition(" = ")
    if equals and last == answer:
        return [*lines[:-1], f"return {value}"]
    return [*lines, f"return {answer}"]


def _recursive(run: _Run, name: str, v: str) -> list[str]:
    """Body of a recursive function over `a`."""
    sink = run.sink
    own = sink.op.recursion if sink else None
    base, step = own or ("[]", "[{x}] + {rest}")
    rest = f"{name}(a[1:])"
    work = _element(run, "return " + step.replace("{rest}", rest), v, "[{x}]" in step)
    lines = ["if not a:", f" return {base}", f"{v} = a[0]", *_guarded(run, work)]
    return [*lines, f"return {rest}"] if run.keep else lines


def _recursion(runs: list[_Run], v: str) -> list[str] | None:
    place = next(
        (i for i, run in enumerate(runs) if run.passes or (run.sink and run.sink.op.recursion)), None
    )
    if place is None:
        return None
    run = runs[place]
    whole = run.sink is None or run.sink.op.recursion is not None
    if whole and len(runs) == 1:
        return _recursive(run, "f", v)
    helper = run if whole else run._replace(sink=None)
    after = [] if whole or run.sink is None else ["a = " + run.sink.of("a")]
    lines = ["def g(a):", _indent(_recursive(helper, "g", v))]
    return _returned([*lines, *_steps(runs[:place], v), "a = g(a)", *after, *_steps(runs[place + 1 :], v)])


Writer = Callable[[list[_Run], str], list[str] | None]
_WRITERS: dict[str, Writer] = {
    "comp": _comp,
    "loop": partial(_passes, opening="for {v} in {a}:"),
    "fused": _fused,
    "func": _func,
    "while": partial(_passes, opening="i = 0\nwhile i < len({a}):\n {v} = {a}[i]\n i += 1"),
    "recursion": _recursion,
}
