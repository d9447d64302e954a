"""The panel over many solutions: what it merges must be what one pass over everything would give."""

import math
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from experiments.speed import diversity as scale
from experiments.speed.diversity import (
    ScaleBench,
    ScaleResult,
    bench_diversity,
    diversity_at_scale,
    kata_solutions,
)
from plateau_bench.results.metrics.diversity import class_columns
from plateau_bench.results.metrics.estimators import at_least_one
from plateau_bench.results.metrics.program_classes import program_key
from plateau_bench.results.metrics.richness import chao1, hill


def test_merged_parts_are_one_pass_over_everything() -> None:
    tasks = kata_solutions(3, 2 * scale.PART)
    found = diversity_at_scale(tasks)
    assert found.solutions == 2 * scale.PART
    columns, _ = class_columns(tasks, np.array([16.0] * len(tasks)))
    for name, column in columns.items():
        assert found.values[name] == pytest.approx(float(np.nanmean(column))), name
    classes = Counter(program_key(program) for rows in tasks for program, _ in rows)
    assert found.values["programs/all/hill1"] == pytest.approx(hill(list(classes.values())))
    assert found.values["programs/all/chao1"] == pytest.approx(chao1(list(classes.values())))
    correct = Counter(program_key(program) for rows in tasks for program, passed in rows if passed)
    rarefied = at_least_one(correct.total(), list(correct.values()), 500).sum()
    assert found.values["programs/correct"] == pytest.approx(rarefied)


def test_words_are_counted_within_programs_only() -> None:
    tasks = [[("a b c d", True), ("a b c d", False)], [("b c d e", True), ("a b", True)]]
    texts = [scale._WORD.findall(program) for rows in tasks for program, _ in rows]
    for n in (1, 2, 4):
        grams = Counter(tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1))
        codes = [np.array([scale._code(word) for word in t], dtype=np.uint64) for t in texts]
        assert sorted(scale._grams(codes, n)[1].tolist()) == sorted(grams.values())


def test_processes_change_nothing() -> None:
    tasks = kata_solutions(5, scale.PART + 16)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert diversity_at_scale(tasks, pool).values == pytest.approx(
            diversity_at_scale(tasks).values, nan_ok=True
        )


def test_exponent_of_growth() -> None:
    rows = [ScaleResult(solutions=n, values={}, seconds=1.0, cpu_s=n**1.5) for n in (10, 100, 1000)]
    assert ScaleBench(results=tuple(rows), workers=2).exponent == pytest.approx(1.5)
    assert math.isnan(ScaleBench(results=tuple(rows[:1]), workers=2).exponent)
    assert rows[1].microseconds == 10_000
    with pytest.raises(ValueError, match="--sizes must be at least 16"):
        next(bench_diversity([4]))
