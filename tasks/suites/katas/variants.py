"""Kata variants: the same pipeline told, named or tested in ways that no training text has.

A variant's expected values come from the reference semantics, like those of every kata.
"""

import random
import re
from dataclasses import replace
from typing import Any

from plateau_bench.tasks.base import FunctionTests, Task
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.grammar import Pipeline, Step
from plateau_bench.tasks.suites.katas.op import INTS
from plateau_bench.tasks.suites.renaming import rename

_NAMES = ("solve", "process", "transform", "compute", "handle")
_PARAMETERS = ("values", "data", "entries", "given", "source")
_SYNONYMS = {
    "keep": "retain", "drop": "discard", "return": "give back", "remove": "take out", "replace": "exchange",
    "sort": "arrange", "number": "integer", "numbers": "integers", "items": "elements", "item": "element",
    "largest": "biggest", "smallest": "least", "repeats": "duplicates",
}  # fmt: skip
_FRAMES = (
    "The function f takes one argument, a, which is a list of {kind}. It has to do this: {steps}.",
    "I have {kind} in a list a and need a function f(a). What it should do: {steps}. Please write it.",
    "Task: implement f. Input: a, a list of {kind}. Steps: {steps}.",
)
_JOINTS = ("; after that, ", ". Afterwards, ", " and, with what results, ")


def pipeline_of(task: Task) -> Pipeline:
    """The pipeline that a kata was made from. Raises ValueError for any other task."""
    family, _, names = task.cluster.partition(":")
    constants = task.tags.get("constants", "").split(",")
    ops = {op.name: op for (kind, _), table in grammar.TABLES.items() if kind == family for op in table}
    try:
        return tuple(Step(ops[name], int(k)) for name, k in zip(names.split(">"), constants, strict=True))
    except (KeyError, ValueError):
        raise ValueError(f"{task.id}: is not a kata") from None


def vary(task: Task, kind: str, rng: random.Random) -> Task | None:
    """The kata as a variant: `kind` is rename, paraphrase, edge or large. None if there is none of it.

    Id, digest and stratum are the caller's business.
    """
    pipeline = pipeline_of(task)
    assert isinstance(task.tests, FunctionTests)
    if kind == "rename":
        return _renamed(task, task.tests, rng)
    if kind == "paraphrase":
        return replace(task, instruction=_paraphrased(pipeline, rng))
    inputs = _edges(pipeline, rng) if kind == "edge" else _large(pipeline, rng)
    fresh = (value for i, value in enumerate(inputs) if value not in inputs[:i])
    cases = tuple(grammar.defined_cases(pipeline, fresh))
    return replace(task, tests=replace(task.tests, hidden=cases)) if len(cases) >= 3 else None


def _renamed(task: Task, tests: FunctionTests, rng: random.Random) -> Task | None:
    name, parameter = rng.choice(_NAMES), rng.choice(_PARAMETERS)
    text = task.instruction.replace("f(a)", f"{name}({parameter})")
    text = re.sub(r"^Given a list of (ints|words) a,", rf"Given a list of \1 {parameter},", text)
    solution = rename(task.solution, "f", {"f": name, "a": parameter})
    if solution is None:
        return None
    return replace(task, instruction=text, solution=solution, tests=replace(tests, entry_point=name))


def _paraphrased(pipeline: Pipeline, rng: random.Random) -> str:
    phrases = [step.phrase(rng) for step in pipeline]
    told = [re.sub(r"[a-z]+", lambda word: _SYNONYMS.get(word[0], word[0]), phrase) for phrase in phrases]
    kind = "integers" if pipeline[0].op.family == INTS else "words"
    return rng.choice(_FRAMES).format(kind=kind, steps=rng.choice(_JOINTS).join(told))


def _edges(pipeline: Pipeline, rng: random.Random) -> list[list[Any]]:
    """Few items, equal items, extremes."""
    if pipeline[0].op.family == INTS:
        x = rng.randint(2, 9)
        ints = [[], [0], [x], [-x], [x] * 4, [0, 0, 0], [-x, x], [-3, -2, -1], [10**6, -(10**6), x, 0]]
        return [*ints, list(range(-x, x + 1)), [1, 1, 2, 2, -1, -1]]
    one, two = rng.sample(("noon", "tree", "a", "ox", "level", "sky"), 2)
    return [[], [one], [one] * 3, [two, one], [one, two, one], ["a"], ["b", "a"], [two, two, one, one]]


def _large(pipeline: Pipeline, rng: random.Random) -> list[list[Any]]:
    """Ten to twenty times as long as any other test."""
    family = pipeline[0].op.family
    parts = [[grammar.draw_input(rng, family, 12) for _ in range(rng.randint(10, 20))] for _ in range(6)]
    return [[item for part in whole for item in part] for whole in parts]
