"""Katas: the built-in suite of small Python functions over lists of ints and of words.

A kata is a pipeline of one to three operations, told in English. Operations follow Zipf's law, so a
model sees some of them rarely: the rare knowledge that collapse loses first. The suite comes with a
generated stand-in for human data (`HumanSample`): six styles, and slips as people make them.

The same seed gives the same bytes on every platform. Held-out combinations of operations are the same
for every seed and never occur in training tasks, the corpus or fresh human data.
"""

import hashlib
import itertools
import json
import random
from functools import partial
from types import SimpleNamespace
from typing import cast

from plateau_bench.tasks.base import Case, FunctionTests, Split, Task
from plateau_bench.tasks.suite import HumanSample, Suite
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.grammar import STRATA, Pipeline
from plateau_bench.tasks.suites.katas.render import instruction, render_any

name = "katas"
has_human_data = True
shares_parts = True
tasks: tuple[Task, ...] | None = None
"""This module is itself a `tasks.suite.Suite`; its tasks share operations by design."""

SLIP_SHARE = 0.25
"""Share of noisy human samples with one slip. Not every slip makes the program wrong."""
_ATTEMPTS = 60


def corpus(seed: int, size: int) -> list[HumanSample]:
    """`size` samples of human text on training combinations, with slips.

    `correct` is judged on drawn inputs, and `style` names one of `render.STYLES`.
    """
    rng = random.Random(f"katas/corpus/{seed}/True")
    return [_sample(grammar.draw(rng, held_out=False), rng) for _ in range(size)]


def fresh_human(seed: int, count: int, *, verified: bool) -> list[HumanSample]:
    """New human samples on training combinations; `verified` keeps only the correct ones."""
    rng = random.Random(f"katas/fresh/{seed}/{verified}")
    samples = (_sample(grammar.draw(rng, held_out=False), rng) for _ in itertools.count())
    return list(itertools.islice((one for one in samples if one.correct or not verified), count))


def held_out_text(seed: int, size: int) -> list[HumanSample]:
    """Clean human text on held-out combinations, so disjoint from every corpus and training set.

    For excess cross-entropy and rare-token perplexity, which need text that no model was trained on.
    """
    rng = random.Random(f"katas/held-out-text/{seed}")
    return [_sample(grammar.draw(rng, held_out=True), rng, slip_share=0.0) for _ in range(size)]


def train_tasks(seed: int, count: int, *, visible: int = grammar.VISIBLE) -> tuple[Task, ...]:
    """`count` training tasks in the natural Zipf mix, instructions distinct as far as possible.

    `visible` changes the number of visible cases and nothing else about the tasks.
    """
    rng = random.Random(f"katas/train/{seed}")
    seen: set[str] = set()
    tasks = []
    for number in range(count):
        for _ in range(_ATTEMPTS):
            pipeline, text, tests = _draw_train_task(rng)
            if text not in seen:
                break
        seen.add(text)
        if visible != grammar.VISIBLE:
            tests = grammar.with_visible(tests, pipeline, visible, random.Random(f"visible/{text}"))
        tasks.append(_task(f"t-{seed}-{number}", Split.TRAIN, pipeline, text, tests, rng))
    return tuple(tasks)


def with_visible(count: int) -> Suite:
    """The same suite with another number of visible cases in training tasks."""
    return cast(Suite, SimpleNamespace(**globals() | {"train_tasks": partial(train_tasks, visible=count)}))


def held_out_tasks(seed: int, count: int) -> tuple[Task, ...]:
    """`count` held-out tasks, strata in turn, combinations distinct as far as they last."""
    rng = random.Random(f"katas/held-out/{seed}")
    seen: set[str] = set()
    tasks = []
    for number in range(count):
        attempts = 0
        while True:
            attempts += 1
            pipeline = grammar.draw_held_out(rng, STRATA[number % len(STRATA)])
            if grammar.combo(pipeline) in seen and attempts < _ATTEMPTS:
                continue
            if tests := grammar.draw_tests(pipeline, rng):
                break
        seen.add(grammar.combo(pipeline))
        text = instruction(pipeline, rng)
        tasks.append(_task(f"h-{seed}-{number}", Split.HELD_OUT, pipeline, text, tests, rng))
    return tuple(tasks)


def digest(text: str, tests: FunctionTests) -> str:
    """sha256 over what can change a verdict: instruction, entry point and cases."""

    def plain(cases: tuple[Case, ...]) -> list[list[object]]:
        return [[list(case.args), case.expected] for case in cases]

    content = [text, tests.entry_point, plain(tests.visible), plain(tests.hidden)]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _sample(pipeline: Pipeline, rng: random.Random, slip_share: float = SLIP_SHARE) -> HumanSample:
    written, correct = pipeline, True
    if rng.random() < slip_share:
        written = grammar.mutate(pipeline, rng)
        correct = grammar.agree(pipeline, written, rng)
    text = instruction(pipeline, rng)
    style, program = render_any(written, rng)
    return HumanSample(
        instruction=text,
        program=program,
        combo=grammar.combo(pipeline),
        stratum=grammar.stratum(pipeline),
        correct=correct,
        style=style,
    )


def _draw_train_task(rng: random.Random) -> tuple[Pipeline, str, FunctionTests]:
    while True:
        pipeline = grammar.draw(rng, held_out=False)
        tests = grammar.draw_tests(pipeline, rng)
        if tests is not None:
            return pipeline, instruction(pipeline, rng), tests


def _task(
    name: str, split: Split, pipeline: Pipeline, text: str, tests: FunctionTests, rng: random.Random
) -> Task:
    style, solution = render_any(pipeline, rng)
    checksum = digest(text, tests)
    return Task(
        id=f"katas/{name}-{checksum[:8]}",
        instruction=text,
        split=split,
        digest=checksum,
        tests=tests,
        solution=solution,
        stratum=grammar.stratum(pipeline),
        cluster=grammar.combo(pipeline),
        tags={"suite": "katas", "style": style, "constants": ",".join(str(step.k) for step in pipeline)},
    )
