"""Variants: other words, names and inputs, but the same problem; what is not sound is told apart."""

import ast
import json
from pathlib import Path

import pytest

from plateau_bench.tasks.base import FunctionTests, Outcome, Task
from plateau_bench.tasks.grading.functions import FunctionGrader
from plateau_bench.tasks.grading.published_programs import PublishedTests
from plateau_bench.tasks.quality.variants import KINDS, unsound, variants_of
from plateau_bench.tasks.suites import katas
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.variants import pipeline_of
from plateau_bench.tasks.suites.renaming import rename
from tests.tasks.test_grade import TrustedBackend
from tests.tasks.test_published import MBPP, MEAN, PLUS, SHIFT, suite

PROGRAM = '''def pick(items, key):
    """ Pick. >>> pick([1], 2) """
    def inner(items):
        return sorted(items, key=lambda x: x.key + key)
    return inner(items) or pick(items[1:], key) or "pick items"
'''


@pytest.fixture(scope="module")
def grader() -> FunctionGrader:
    return FunctionGrader(TrustedBackend())


def test_kata_variants_are_sound_and_themselves(grader: FunctionGrader) -> None:
    held_out = katas.held_out_tasks(2, 45)
    made = variants_of(held_out, KINDS, 1)
    assert made == variants_of(held_out, KINDS, 1)
    assert made != variants_of(held_out, KINDS, 2)
    assert unsound(made, grader) == {}
    by_id = {task.id: task for task in held_out}
    assert len(made) > 150
    for task in made:
        source = by_id[task.id.rpartition("~")[0]]
        assert task.stratum == f"variant/{task.id.rpartition('~')[2]}"
        assert task.cluster == source.cluster
        assert task.digest != source.digest
        assert isinstance(task.tests, FunctionTests)
        match task.stratum:
            case "variant/rename":
                assert "f(a)" not in task.instruction
                assert f"{task.tests.entry_point}(" in task.instruction
                assert source.tests.hidden == task.tests.hidden  # type: ignore[union-attr]
            case "variant/paraphrase":
                assert task.instruction != source.instruction
                assert task.tests == source.tests
            case "variant/large":
                assert all(len(case.args[0]) >= 120 for case in task.tests.hidden)
            case "variant/edge":
                assert any(len(case.args[0]) <= 4 for case in task.tests.hidden)


def test_the_pipeline_of_a_kata_is_its_own() -> None:
    for task in (*katas.held_out_tasks(3, 30), *katas.train_tasks(3, 30)):
        pipeline = pipeline_of(task)
        assert grammar.combo(pipeline) == task.cluster
        assert isinstance(task.tests, FunctionTests)
        for case in task.tests.hidden:
            assert grammar.evaluate(pipeline, case.args[0]) == case.expected


def test_published_variants(tmp_path: Path, grader: FunctionGrader) -> None:
    rows = [
        PLUS | {"plus_input": [[[]], [[-5, 8]], [[2, 7, 2]], [[9, 9]], [[1, 2, 3, 4]]]},
        MEAN,
        SHIFT,
        MBPP,
    ]
    tasks = suite(tmp_path, *rows).tasks
    made = {task.id: task for task in variants_of(tasks, KINDS, 5)}
    assert unsound(list(made.values()), grader) == {}
    renamed = made["HumanEval/7~rename"]
    assert isinstance(renamed.tests, PublishedTests)
    assert "top(" not in renamed.instruction + renamed.solution + renamed.tests.prelude
    assert renamed.tests.prelude.strip() in renamed.instruction
    assert ">>>" not in made["Own/0~paraphrase"].instruction
    assert "mean(a)" in made["Own/0~paraphrase"].instruction
    assert "Own/1~rename" not in made  # its tests are code that uses the old names
    large = made["HumanEval/7~large"].tests
    assert isinstance(large, PublishedTests)
    assert max(len(args[0]) for args in large.hidden_inputs) >= 15
    wrong, right = "    return a[0] if a else None\n", "    return sorted(a)[-1] if a else None\n"
    found = grader.grade([(made["HumanEval/7~large"], wrong), (made["HumanEval/7~large"], right)])
    assert [verdict.outcome for verdict in found] == [Outcome.FAILED, Outcome.PASSED]


def test_inputs_on_which_the_solution_raises_do_not_count(tmp_path: Path, grader: FunctionGrader) -> None:
    inputs = [[[4.0, 1.0, 1.0]], [[1.0]], [[2.0, 2.0]], [[5.0, 6.0]]]
    row = PLUS | {k: MEAN[k] for k in ("entry_point", "prompt", "canonical_solution")}
    (task,) = suite(tmp_path, row | {"base_input": inputs, "plus_input": []}).tasks
    (edge,) = variants_of([task], ["edge"], 1)
    assert isinstance(edge.tests, PublishedTests)
    assert ([],) in edge.tests.hidden_inputs
    solved, half = grader.grade([(edge, task.solution), (edge, "    return sum(a) / 2\n")])
    assert (solved.outcome, half.outcome) == (Outcome.PASSED, Outcome.FAILED)


def test_unsound_variants_are_named(grader: FunctionGrader) -> None:
    task, other = katas.held_out_tasks(2, 2)
    broken = Task(
        id="b", instruction="", split=task.split, digest="b", tests=task.tests, solution=other.solution
    )
    assert list(unsound([task, broken], grader)) == ["b"]


def test_renaming_touches_names_only() -> None:
    renamed = rename(PROGRAM, "pick", {"pick": "solve", "items": "beta", "key": "gamma"})
    assert renamed is not None
    assert "key=lambda x: x.key + gamma" in renamed
    assert "solve([1], 2)" in renamed
    assert '"pick items"' in renamed
    names = {node.id for node in ast.walk(ast.parse(renamed)) if isinstance(node, ast.Name)}
    assert names == {"sorted", "beta", "gamma", "inner", "x", "solve"}


@pytest.mark.parametrize(
    "program",
    ["def f(:", "def f(a):\n    beta = a\n    return beta\n", "def f(a):\n    return f(a=a)\n", "(" * 300],
)
def test_renaming_that_could_go_wrong_is_not_done(program: str) -> None:
    assert rename(program, "f", {"f": "solve", "a": "beta"}) is None


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks\.variants: 'harder' is none of rename"):
        variants_of(katas.held_out_tasks(1, 1), ["harder"], 0)
    assert json.dumps(KINDS)
