"""Small packages with one bug: what they hold, where the bug sits, and the issue that tells of it.

A package is a kata's pipeline under a proper name, in one file or cut in two (a helper in a file of its own),
among functions and files that have nothing to do with it. The bug is a change of the pipeline of one of its
functions: a step swapped for another, a step left out, a wrong constant, two steps in the wrong order.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from plateau_bench.tasks.base import Case, FunctionTests
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.grammar import Pipeline, Step
from plateau_bench.tasks.suites.katas.op import INTS
from plateau_bench.tasks.suites.katas.render import STYLES, render
from plateau_bench.tasks.suites.repo_katas.testfile import answers, printed_by_tests, test_file

BUGS = {"op": 30, "missing": 25, "constant": 60, "order": 60}
"""Kind of bug -> weight among those that a pipeline can have; few have constants or an order to break."""
HELPER_SHARE, HELPER_BUG_SHARE, BYSTANDER_SHARE, HINT_SHARE = 0.4, 0.45, 0.3, 0.35

_VERBS = ("load", "walk", "pick", "scan", "fold", "make", "read", "find", "pack", "trim", "wrap", "join")
_NOUNS = ("nums", "rows", "bits", "parts", "items", "codes", "marks", "units")
_FILES = ("core", "main", "data", "work", "base", "tool", "calc", "list", "step", "plan")
_ISSUES = (
    "{name} is wrong: it must {what}",
    "bug in {name}. it should {what}",
    "fix {name}: {what}",
    "{name} gives wrong answers. it has to {what}",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """One function of a package and the pipeline that it is to compute."""

    name: str
    file: str
    pipeline: Pipeline
    helper: str = ""
    """Name of the function that is called first, from another file."""

    def write(self, pipeline: Pipeline, style: str, salt: int) -> list[str] | None:
        """Its lines with `pipeline` as body, or None where the style has nothing to offer.

        The same salt words the same operation in the same way.
        """
        text = render(pipeline, style, Steady(salt))
        if text is None:
            return None
        lines = re.sub(r"\bf\(", self.name + "(", text).splitlines()
        if self.helper:
            if any(self.name + "(" in line for line in lines[1:]):
                return None  # a recursion would call the helper again and again
            lines.insert(1, f" a = {self.helper}(a)")
        return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A package with a bug. `files` is what an agent starts from, `fixed` the same without the bug."""

    issue: str
    name: str
    file: str
    files: Mapping[str, str]
    fixed: Mapping[str, str]
    tests: FunctionTests
    culprit: Function
    """The function that holds the bug."""
    helper: Function | None
    bug: str
    style: str
    salt: int

    def passes(self, files: Mapping[str, str], cases: Sequence[Case]) -> bool:
        """Whether the function answers as wanted, exact types included."""
        return all(
            type(got) is type(case.expected) and got == case.expected
            for case, got in zip(cases, answers(files, self.file, self.name, cases), strict=True)
        )


class Steady(random.Random):
    """Chooses the same of the same options every time: two renderings differ where the pipelines do."""

    def __init__(self, salt: int) -> None:
        super().__init__(0)
        self._salt = salt

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[crc32(f"{self._salt}/{seq!r}".encode()) % len(seq)]


def draw_project(rng: random.Random, pipeline: Pipeline) -> Project | None:
    """A package around `pipeline`, or None if this draw gave no bug that its visible tests show."""
    tests = grammar.draw_tests(pipeline, rng)
    if tests is None:
        return None
    names = [f"{v}_{n}" for v, n in zip(rng.sample(_VERBS, 4), rng.sample(_NOUNS, 4), strict=True)]
    files = [f"{name}.py" for name in rng.sample(_FILES, 4)]
    helper = None
    main = Function(name=names[0], file=files[0], pipeline=pipeline)
    if len(pipeline) > 1 and rng.random() < HELPER_SHARE:
        cut = rng.randrange(1, len(pipeline))
        helper = Function(name=names[1], file=files[1], pipeline=pipeline[:cut])
        main = replace(main, pipeline=pipeline[cut:], helper=names[1])
    culprit = helper if helper and rng.random() < HELPER_BUG_SHARE else main
    kind, wrong, hint = _break(culprit.pipeline, rng)
    salt = rng.getrandbits(32)
    written = _write_both(culprit, wrong, salt, rng)
    if written is None:
        return None
    style, broken, right = written
    rest = [one for one in (main, helper) if one and one is not culprit]
    others = {one: write_in_any_style(one, salt, rng) for one in rest}
    bystanders = _bystanders(names[2:], files, main, rng)
    start, fixed = (_assemble({culprit: body, **others, **bystanders}, main) for body in (broken, right))
    tests = replace(tests, entry_point=main.name)
    test = test_file(main.file.removesuffix(".py"), main.name, tests.visible)
    project = Project(
        issue=_issue(main.name, pipeline, hint, rng),
        name=main.name,
        file=main.file,
        files={**start, "test.py": test},
        fixed={**fixed, "test.py": test},
        tests=tests,
        culprit=culprit,
        helper=helper,
        bug=kind,
        style=style,
        salt=salt,
    )
    honest = project.passes(fixed, (*tests.visible, *tests.hidden))
    shows = not printed_by_tests(start, main.file, main.name, tests.visible).endswith("passed")
    return project if honest and shows else None


def draw_pipeline(rng: random.Random, *, held_out: bool, stratum: str = "") -> Pipeline:
    """A pipeline over ints, from one side of the katas' split; held-out ones of one stratum if given."""
    while True:
        if stratum:
            pipeline = grammar.draw_held_out(rng, stratum)
        else:
            pipeline = grammar.draw(rng, held_out=held_out)
        if pipeline[0].op.family == INTS:
            return pipeline


def slip(pipeline: Pipeline, rng: random.Random) -> Pipeline:
    """A wrong version, as a person writes one; may turn out to be no different."""
    return _break(pipeline, rng)[1]


def span(lines: Sequence[str], name: str) -> tuple[int, int]:
    """[first, last) of the function's lines in a file, its `def` line included; (0, 0) if it is not there."""
    first = next((i for i, line in enumerate(lines) if line.startswith(f"def {name}(")), None)
    if first is None:
        return 0, 0
    rest = range(first + 1, len(lines))
    return first, next((i for i in rest if not lines[i].startswith(" ")), len(lines))


def _break(pipeline: Pipeline, rng: random.Random) -> tuple[str, Pipeline, str]:
    """(kind of bug, the pipeline with it, what one may say about it)."""
    constants = [i for i, step in enumerate(pipeline) if step.op.constants]
    swaps = [i for i in range(len(pipeline) - 1) if pipeline[i] != pipeline[i + 1]]
    kinds = [k for k in BUGS if (k != "constant" or constants) and (k != "order" or swaps)]
    (kind,) = rng.choices(kinds, [BUGS[k] for k in kinds])
    changed = list(pipeline)
    if kind == "order":
        i = rng.choice(swaps)
        changed[i : i + 2] = changed[i + 1], changed[i]
        return kind, tuple(changed), "the order of the steps is wrong"
    i = rng.choice(constants if kind == "constant" else range(len(pipeline)))
    op, k = pipeline[i]
    if kind == "constant":
        changed[i] = Step(op, rng.choice([other for other in op.constants if other != k]))
        return kind, tuple(changed), "a number in it is off"
    if kind == "missing":
        del changed[i]
        return kind, tuple(changed), f"it forgets to {pipeline[i].phrase(rng)}"
    other = rng.choice([one for one in grammar.TABLES[INTS, op.kind] if one is not op])
    changed[i] = Step(other, k if k in other.constants else grammar.draw_constant(rng, other))
    return kind, tuple(changed), f"it seems to {changed[i].phrase(rng)}"


def _issue(name: str, pipeline: Pipeline, hint: str, rng: random.Random) -> str:
    what = ", then ".join(step.phrase(rng) for step in pipeline)
    text = rng.choice(_ISSUES).format(name=name, what=what)
    return f"{text}. {hint}" if rng.random() < HINT_SHARE else text


def _styles(rng: random.Random) -> list[str]:
    """All styles, the common ones more likely to come first."""
    return sorted(STYLES, key=lambda style: rng.random() ** (1 / STYLES[style]), reverse=True)


def write_in_any_style(function: Function, salt: int, rng: random.Random) -> list[str]:
    """The function as it should be, in a style drawn by how often people use it."""
    tries = (function.write(function.pipeline, style, salt) for style in _styles(rng))
    found = next((lines for lines in tries if lines), None)
    assert found is not None, f"no style can write {function}"
    return found


def _write_both(
    function: Function, wrong: Pipeline, salt: int, rng: random.Random
) -> tuple[str, list[str], list[str]] | None:
    """(style, lines with the bug, lines without it), both in one style."""
    for style in _styles(rng):
        broken, right = (function.write(one, style, salt) for one in (wrong, function.pipeline))
        if broken and right:
            return (style, broken, right) if broken != right else None
    return None


def _bystanders(
    names: Sequence[str], files: Sequence[str], main: Function, rng: random.Random
) -> dict[Function, list[str]]:
    """Functions that have nothing to do with the issue: in the main file, and in files of their own."""
    found = {}
    places = [main.file] * (rng.random() < BYSTANDER_SHARE) + [*files[2:]][: rng.choice((0, 0, 1, 2))]
    for name, file in zip(names, places, strict=False):
        pipeline = draw_pipeline(rng, held_out=False)[:1]
        function = Function(name=name, file=file, pipeline=pipeline)
        salt = rng.getrandbits(32)
        # Short, because every token of it is read.
        found[function] = function.write(pipeline, "comp", salt) or write_in_any_style(function, salt, rng)
    return found


def _assemble(written: Mapping[Function, list[str]], main: Function) -> dict[str, str]:
    """File name -> text."""
    files: dict[str, list[str]] = {}
    for helper in (one for one in written if one.name == main.helper):
        files[main.file] = [f"from {helper.file.removesuffix('.py')} import {helper.name}"]
    for function, lines in written.items():
        files.setdefault(function.file, []).extend(lines)
    return {file: "\n".join(lines) + "\n" for file, lines in sorted(files.items())}
