"""`python -m experiments.katas [SIZE]` prints the figures that docs/katas.md speaks of."""

import random
import time
from collections import Counter
from itertools import product
from typing import Annotated

import typer

from plateau_bench.harness.cli.terminal import call
from plateau_bench.tasks.base import Case
from plateau_bench.tasks.suites import katas
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.grammar import Pipeline, Step
from plateau_bench.tasks.suites.katas.render import STYLES


def _split() -> Counter[bool]:
    sides: Counter[bool] = Counter()
    for family, shape in product(("ints", "words"), grammar.SHAPES):
        for ops in product(*(grammar.TABLES[family, kind] for kind in shape)):
            sides[grammar.is_held_out(tuple(Step(op, 0) for op in ops))] += 1
    return sides


def _passes(pipeline: Pipeline, cases: tuple[Case, ...]) -> bool:
    try:
        return all(grammar.evaluate(pipeline, case.args[0]) == case.expected for case in cases)
    except grammar.UNDEFINED:
        return False


def _leaks(count: int) -> float:
    """Share of mutants that fail the hidden tests of a task but pass its visible ones."""
    rng = random.Random("katas/figures")
    wrong = leaked = 0
    while wrong < count:
        pipeline = grammar.draw(rng, held_out=False)
        tests = grammar.draw_tests(pipeline, rng)
        mutant = grammar.mutate(pipeline, rng)
        if tests is not None and not _passes(mutant, tests.hidden):
            wrong += 1
            leaked += _passes(mutant, tests.visible)
    return leaked / wrong


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(size: Annotated[int, typer.Argument(min=1, help="Samples or tasks to draw.")] = 40_000) -> None:
    """Print how the katas and their stand-in corpus are composed."""
    sides = _split()
    ops = sum(map(len, grammar.TABLES.values()))
    print(f"{ops} operations, {sides.total()} combinations, {sides[True]} of them held out")
    started = time.process_time()
    samples = katas.corpus(0, size)
    print(f"corpus of {size}: {time.process_time() - started:.1f} CPU-s, seed 0")
    for name, key in (("stratum", grammar.STRATA), ("style", tuple(STYLES))):
        counts = Counter(getattr(sample, name) for sample in samples)
        print(f"  {name}: " + ", ".join(f"{value} {counts[value] / size:.3f}" for value in key))
    print(f"  distinct combinations: {len({sample.combo for sample in samples})}")
    print(f"  wrong programs: {sum(not sample.correct for sample in samples) / size:.3f}")
    print(f"  characters: instruction {sum(len(s.instruction) for s in samples) / size:.1f}, ", end="")
    print(f"program {sum(len(s.program) for s in samples) / size:.1f}")
    print(f"wrong mutants that pass the visible tests: {_leaks(2_000):.3f}")


if __name__ == "__main__":
    call(app)
