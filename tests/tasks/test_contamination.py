"""Copies of held-out tasks among training material: found, named, and told from chance."""

from pathlib import Path

import pytest

from plateau_bench.tasks.quality.contamination import (
    Exercise,
    clashes,
    normal_tokens,
    of_sample,
    of_task,
    shingles,
)
from plateau_bench.tasks.suites import katas
from tests.tasks.test_published import MBPP, MEAN, PLUS, suite

SOLUTION = '''def dedupe(items, limit):
    """Keep the first `limit` distinct items."""
    seen = set()
    kept = []
    for item in items:
        if item in seen or len(kept) >= limit:
            continue
        seen.add(item)
        kept.append(item)
    return kept
'''
RENAMED = """def first_unique(values: list, n: int = 3) -> list:
    # not the same at all
    s = set()

    out = []
    for v in values:
        if (v in s) or (len(out) >= n):
            continue
        s.add(v); out.append(v)
    return out
"""
OTHER = """def dedupe(items, limit):
    result = {}
    while items and len(result) < limit:
        head, *items = items
        result.setdefault(head, len(result))
    return sorted(result, key=result.get)
"""
HELD_OUT = [
    Exercise(name="h", instruction="Remove repeats.", program=SOLUTION, digest="d", cluster="org/repo")
]


def material(program: str = "", *, instruction: str = "x", digest: str = "", cluster: str = "") -> Exercise:
    return Exercise(name="t", instruction=instruction, program=program, digest=digest, cluster=cluster)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (material(SOLUTION), "t and held-out h: their solutions are alike"),
        (material(RENAMED), "their solutions are alike"),
        (material(instruction="Remove\n  repeats."), "the same instruction"),
        (material(digest="d"), "the same task"),
        (material(cluster="org/repo"), "both are of 'org/repo'"),
    ],
)
def test_copies_are_named(one: Exercise, why: str) -> None:
    (found,) = clashes([material("def f(): pass"), one], HELD_OUT)
    assert why in str(found)


def test_other_programs_short_ones_and_text_are_no_copies() -> None:
    others = [OTHER, "def f(a):\n    return sum(a)\n", "this is no Python (", "", "\0", "(" * 500]
    assert not [*clashes(map(material, others), HELD_OUT)]
    short = "def f(a):\n    return len(a)\n"
    assert not [*clashes([material(short)], [Exercise(name="h", instruction="y", program=short)])]
    assert shingles(short) == frozenset()


def test_normal_tokens_keep_what_a_program_does() -> None:
    assert normal_tokens(SOLUTION) == normal_tokens(SOLUTION.replace("items", "xs").replace("kept", "k"))
    assert normal_tokens(SOLUTION) != normal_tokens(SOLUTION.replace("append", "insert(0, item) or str"))
    assert normal_tokens("def f(a):\n    return len(a)") != normal_tokens("def f(a):\n    return sum(a)")


def test_katas_share_operations_but_no_combination() -> None:
    train, held_out = katas.train_tasks(5, 60), katas.held_out_tasks(6, 60)
    samples = [of_sample(sample, i) for i, sample in enumerate(katas.corpus(7, 300))]
    theirs = list(map(of_task, held_out))
    assert not [*clashes([*map(of_task, train), *samples], theirs, shares_parts=True)]
    leaked = of_sample(katas.held_out_text(8, 1)[0], 9)
    planted = Exercise(name="p", instruction="", program="", cluster=leaked.cluster)
    assert "both are of" in str(next(clashes([leaked], [*theirs, planted], shares_parts=True)))


def test_rows_of_one_cluster_fall_on_one_side(tmp_path: Path) -> None:
    rows = [row | {"task_id": f"X/{i}", "cluster": "one"} for i, row in enumerate((MEAN, MEAN, PLUS, MBPP))]
    assert len({task.split for task in suite(tmp_path, *rows).tasks}) == 1
