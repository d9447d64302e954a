"""Variants of held-out tasks: is what was learnt the task, or its wording, names and usual inputs?

    rename      the function and its parameters have other names
    paraphrase  the same is asked for in other words
    edge        tested on few, equal and repeated items
    large       tested on inputs many times longer

A variant is a task of its own, in the stratum `variant/<kind>`, in the cluster of its original. Variants only
measure; nothing is trained on them, and they are no part of any figure about the originals.
"""

import ast
import inspect
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from plateau_bench.tasks.base import FunctionTests, Outcome, Task
from plateau_bench.tasks.grading.compare import same
from plateau_bench.tasks.grading.functions import FunctionGrader
from plateau_bench.tasks.grading.published_programs import PublishedTests, digest_of
from plateau_bench.tasks.suites.katas import digest as kata_digest
from plateau_bench.tasks.suites.katas.variants import vary as vary_kata
from plateau_bench.tasks.suites.renaming import rename

KINDS = ("rename", "paraphrase", "edge", "large")
STRATUM = "variant/"
_INPUTS = 12
_NAMES = ("solve", "compute_result", "run_task", "handle_request", "evaluate_case")
_PARAMETERS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
_FRAMES = (
    "I need a Python function with the signature `{signature}`. In my own words: {text}\n\nWrite all of it.",
    "Please implement `{signature}` in Python. This is what it is for: {text}\n\nGive me the whole function.",
)
_SYNONYMS = {
    "return": "give back", "returns": "gives back", "check": "find out",
    "list": "Python list", "string": "piece of text", "integer": "whole number",
    "integers": "whole numbers", "largest": "biggest", "smallest": "least", "write": "produce",
    "function": "routine", "example": "sample", "examples": "samples",
}  # fmt: skip


def variants_of(tasks: Sequence[Task], kinds: Sequence[str], seed: int) -> list[Task]:
    """All variants of function-level tasks, task by task; a task without a variant of a kind has none.

    Raises ValueError for an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"tasks.variants: {kind!r} is none of {', '.join(KINDS)}")
    made = []
    for task in tasks:
        for kind in kinds:
            rng = random.Random(f"variants/{seed}/{kind}/{task.digest}")
            varied = _vary(task, kind, rng)
            if varied is not None:
                made.append(_named(varied, task, kind))
    return made


def unsound(variants: Sequence[Task], grader: FunctionGrader) -> dict[str, str]:
    """Variant id -> what is wrong: its own solution fails, or the empty answer passes. Others are sound."""
    solved = grader.grade([(task, task.solution) for task in variants])
    empty = grader.grade([(task, "") for task in variants])
    found = {}
    for task, own, none in zip(variants, solved, empty, strict=True):
        if own.outcome is not Outcome.PASSED:
            found[task.id] = f"its solution fails: {own.reason}"
        elif none.outcome is Outcome.PASSED:
            found[task.id] = "the empty answer passes"
    return found


def _named(varied: Task, task: Task, kind: str) -> Task:
    tests = varied.tests
    if isinstance(tests, PublishedTests):
        digest = digest_of(kind, varied.instruction, tests, varied.solution)
    else:
        assert isinstance(tests, FunctionTests)
        digest = kata_digest(varied.instruction, tests)
    return replace(
        varied,
        id=f"{task.id}~{kind}",
        stratum=STRATUM + kind,
        digest=digest,
        cluster=task.cluster or task.id,
    )


def _vary(task: Task, kind: str, rng: random.Random) -> Task | None:
    if isinstance(task.tests, PublishedTests):
        ways = {"rename": _renamed, "paraphrase": _paraphrased, "edge": _edge, "large": _large}
        return ways[kind](task, task.tests, rng)
    kata = isinstance(task.tests, FunctionTests) and "constants" in task.tags
    return vary_kata(task, kind, rng) if kata else None


# --- published tasks -----------------------------------------------------------------------------------


def _function(task: Task, tests: PublishedTests) -> ast.FunctionDef | None:
    tree = ast.parse(tests.prelude + task.solution)
    found = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == tests.entry_point)
    return next(found, None)


def _renamed(task: Task, tests: PublishedTests, rng: random.Random) -> Task | None:
    """The task with other names; None if its test code would have to be changed, too."""
    node = _function(task, tests)
    if node is None or tests.script or not tests.prelude:
        return None
    parameters = [arg.arg for arg in node.args.args]
    names = dict(zip(parameters, rng.sample(_PARAMETERS, min(len(parameters), 8)), strict=False))
    names[tests.entry_point] = name = rng.choice(_NAMES)
    # the prompt alone has no body that parses, so both are renamed as one and cut at the same line
    mark = "\n# 7d1e: the solution starts here\n"
    joined = tests.prelude.rstrip(" \t\n") + mark + task.solution.lstrip("\n")
    whole = rename(joined, tests.entry_point, names)
    if whole is None or mark not in whole:
        return None
    prelude, _, solution = whole.partition(mark)
    prelude += "\n"
    instruction = task.instruction.replace(tests.prelude.strip(), prelude.strip())
    changed = replace(tests, entry_point=name, prelude=prelude)
    return replace(task, instruction=instruction, tests=changed, solution=solution)


def _paraphrased(task: Task, tests: PublishedTests, rng: random.Random) -> Task | None:
    node = _function(task, tests)
    text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "") if node is not None else ""
    if node is None or not text:
        return None
    said, *examples = re.split(r"(?m)^(?=\s*>>>)", text, maxsplit=1)
    told = re.sub(r"(?<![\w'\"])[A-Za-z]+(?![\w'\"(])", lambda word: _other_word(word[0]), said)
    signature = f"{node.name}({', '.join(arg.arg for arg in node.args.args)})"
    whole = rng.choice(_FRAMES).format(signature=signature, text=told.strip() + "\n" + "".join(examples))
    return replace(task, instruction=whole)


def _other_word(word: str) -> str:
    other = _SYNONYMS.get(word.lower(), word)
    return other[0].upper() + other[1:] if word[0].isupper() else other


def _edge(task: Task, tests: PublishedTests, rng: random.Random) -> Task | None:
    return _on_inputs(task, tests, [_fewer(args, rng) for args in tests.arguments for _ in range(3)], rng)


def _large(task: Task, tests: PublishedTests, rng: random.Random) -> Task | None:
    return _on_inputs(task, tests, [_longer(args, rng.randint(15, 40)) for args in tests.arguments], rng)


def _on_inputs(
    task: Task, tests: PublishedTests, inputs: Sequence[tuple[Any, ...]], rng: random.Random
) -> Task | None:
    """The task tested on other inputs, of the kind that its own tests have, against its solution."""
    seen = tests.arguments
    fresh: list[tuple[Any, ...]] = []
    for args in inputs:
        if not any(same(args, other) for other in (*seen, *fresh)):
            fresh.append(args)
    if tests.script or len(fresh) < 3:
        return None
    chosen = tuple(rng.sample(fresh, min(len(fresh), _INPUTS)))
    loosest = max((case.tolerance or 0.0 for case in (*tests.visible, *tests.hidden)), default=0.0)
    changed = replace(
        tests,
        visible=(),
        hidden=(),
        visible_inputs=(),
        hidden_inputs=chosen,
        tolerance=max(loosest, tests.tolerance or 0.0, 1e-6),
        fallible=True,
    )
    return replace(task, tests=changed)


def _fewer(args: tuple[Any, ...], rng: random.Random) -> tuple[Any, ...]:
    """Fewer items, equal items or repeated ones; numbers at the lower end of their own range."""

    def other(value: Any) -> Any:
        if isinstance(value, list | tuple | str) and value:
            items: Any = value
            i = rng.randrange(len(items))
            return rng.choice([items[:0], items[i : i + 1], items[i : i + 1] * 3, items[:1] + items[-1:] * 2])
        if type(value) is int and value > 1:
            return rng.choice([1, 2, value - 1])
        return value

    return tuple(map(other, args))


def _longer(args: tuple[Any, ...], times: int) -> tuple[Any, ...]:
    """Lists and strings repeated; numbers stay, since a solution may be exponential in them."""
    return tuple(
        value * times if isinstance(value, list | tuple | str) and value else value for value in args
    )
