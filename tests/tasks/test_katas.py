"""The built-in suite: same bytes from the same seed, styles that agree, a wall between the splits."""

import contextlib
import copy
import hashlib
import json
import random
from collections import Counter
from dataclasses import asdict

import pytest

from plateau_bench.sandbox.base import Program
from plateau_bench.tasks.base import FunctionTests, Split, Task
from plateau_bench.tasks.suites import katas
from plateau_bench.tasks.suites.katas import grammar, render
from plateau_bench.tasks.suites.katas.op import FILTER, MAP, REDUCE, SEQ
from tests.tasks.trusted_box import TrustedBox


def answers(program: str, tests: FunctionTests) -> list[object]:
    calls = [case.args for case in (*tests.visible, *tests.hidden)]
    (result,) = TrustedBox().run([Program(source=program, entry_point="f", calls=calls)])
    assert result.outputs is not None, f"{result}\n{program}"
    return [output.error or output.value for output in result.outputs]


def expected(tests: FunctionTests) -> list[object]:
    return [case.expected for case in (*tests.visible, *tests.hidden)]


def fingerprint(things: object) -> str:
    return hashlib.sha256(json.dumps(things, sort_keys=True).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def human() -> list[katas.HumanSample]:
    return katas.corpus(0, 12_000)


def test_same_seed_gives_the_same_bytes() -> None:
    samples = [asdict(sample) for sample in katas.corpus(7, 300)]
    tasks = [task.digest + task.solution for task in katas.train_tasks(7, 50) + katas.held_out_tasks(7, 50)]
    assert (fingerprint(samples), fingerprint(tasks)) == ("d12fdbf92c0f8cea", "205edd8520259ff5")


def test_seeds_and_streams_differ() -> None:
    first = [sample.instruction for sample in katas.corpus(0, 200)]
    assert first != [sample.instruction for sample in katas.corpus(1, 200)]
    assert first != [sample.instruction for sample in katas.fresh_human(0, 200, verified=True)]
    assert {task.id for task in katas.train_tasks(0, 30)}.isdisjoint(t.id for t in katas.train_tasks(1, 30))


def test_every_style_gives_the_reference_answers() -> None:
    rng = random.Random("styles")
    renders: Counter[str] = Counter()
    ops = set()
    while renders.total() < 2_400 or len(ops) < 81:
        pipeline = grammar.draw(rng, held_out=bool(rng.randrange(2)))
        tests = grammar.draw_tests(pipeline, rng)
        if tests is None:
            continue
        ops |= {(step.op.family, step.op.name) for step in pipeline}
        for style in render.STYLES:
            program = render.render(pipeline, style, rng)
            if program is not None:
                renders[style] += 1
                got = answers(program, tests)
                assert repr(got) == repr(expected(tests)), f"{style} {grammar.combo(pipeline)}\n{program}"
    assert set(renders) == set(render.STYLES)


@pytest.mark.parametrize("place", grammar.TABLES, ids=str)
def test_every_wording_of_every_operation_agrees(place: tuple[str, str]) -> None:
    rng = random.Random(f"wordings/{place}")
    for op in grammar.TABLES[place]:
        assert len(op.phrases) == len(set(op.phrases)) == 2
        for _ in range(4):
            pipeline = (grammar.Step(op, grammar.draw_constant(rng, op)),)
            tests = grammar.draw_tests(pipeline, rng)
            assert tests is not None
            programs = {
                render.render(pipeline, style, rng)
                for style in render.STYLES
                for _ in range(2 * len(op.texts))
            }
            for program in programs - {None}:
                assert program is not None
                assert repr(answers(program, tests)) == repr(expected(tests)), program


def test_styles_are_different_programs() -> None:
    rng = random.Random("different")
    for _ in range(300):
        pipeline = grammar.draw(rng, held_out=False)
        programs = [render.render(pipeline, style, random.Random(0)) for style in render.STYLES]
        offered = [program for program in programs if program is not None]
        assert len(offered) == len(set(offered)), grammar.combo(pipeline)


def test_programs_and_instructions_look_as_promised(human: list[katas.HumanSample]) -> None:
    for sample in human[:2_000]:
        assert sample.program.startswith("def f(a):\n ")
        assert sample.program.endswith("\n")
        assert not set("{}") & set(sample.program + sample.instruction)
        assert "word" in sample.instruction or "int" in sample.instruction
        compile(sample.program, "<sample>", "exec")


def test_no_held_out_combination_is_ever_trained_on(human: list[katas.HumanSample]) -> None:
    trained = {sample.combo for sample in human}
    trained |= {sample.combo for sample in katas.fresh_human(3, 2_000, verified=False)}
    trained |= {task.cluster for task in katas.train_tasks(3, 500)}
    held = {task.cluster for task in katas.held_out_tasks(3, 300)}
    text = {sample.combo for sample in katas.held_out_text(3, 500)}
    assert not trained & (held | text)
    assert all(">" in name for name in held | text)


def test_every_operation_can_be_learnt(human: list[katas.HumanSample]) -> None:
    def used(combo: str) -> set[tuple[str, str]]:
        family, _, names = combo.partition(":")
        return {(family, name) for name in names.split(">")}

    everything = {(family, op.name) for (family, _), ops in grammar.TABLES.items() for op in ops}
    assert set().union(*(used(sample.combo) for sample in human)) == everything
    assert len(everything) == 81


def test_strata_follow_zipf(human: list[katas.HumanSample]) -> None:
    shares = Counter(sample.stratum for sample in human)
    assert 0.54 < shares["head"] / len(human) < 0.66
    assert 0.20 < shares["torso"] / len(human) < 0.32
    assert 0.10 < shares["tail"] / len(human) < 0.20
    singles = Counter(sample.combo for sample in human if ">" not in sample.combo)
    for family, kind in (("ints", FILTER), ("ints", MAP), ("ints", SEQ), ("ints", REDUCE)):
        counts = [singles[f"{family}:{op.name}"] for op in grammar.TABLES[family, kind]]
        assert counts[0] == max(counts)
        ratio = counts[0] / counts[3]
        assert 0.6 < ratio / 4**grammar.ZIPF_EXPONENT < 1.7


def test_styles_keep_their_order_of_use(human: list[katas.HumanSample]) -> None:
    shares = Counter(sample.style for sample in human)
    assert shares.most_common(2)[0][0] == "comp"
    assert shares.most_common(2)[1][0] == "loop"
    assert min(shares.values()) / len(human) > 0.04


def test_noisy_text_is_wrong_about_as_often_as_people(human: list[katas.HumanSample]) -> None:
    assert 0.15 < sum(not sample.correct for sample in human) / len(human) < 0.21
    assert all(sample.correct for sample in katas.held_out_text(0, 500))
    assert all(sample.correct for sample in katas.fresh_human(0, 500, verified=True))
    assert not all(sample.correct for sample in katas.fresh_human(0, 500, verified=False))


def test_correct_means_that_the_tests_pass() -> None:
    rng = random.Random("correct")
    judged: Counter[tuple[bool, bool]] = Counter()
    for _ in range(1_500):
        pipeline = grammar.draw(rng, held_out=False)
        sample = katas._sample(pipeline, rng)
        tests = grammar.draw_tests(pipeline, rng)
        if tests is not None:
            judged[sample.correct, repr(answers(sample.program, tests)) == repr(expected(tests))] += 1
    assert judged[True, False] <= judged[True, True] / 200
    assert judged[False, True] <= judged[False, False] / 20


@pytest.mark.parametrize(
    ("make", "split"), [(katas.train_tasks, Split.TRAIN), (katas.held_out_tasks, Split.HELD_OUT)]
)
def test_tasks_are_sound(make, split: Split) -> None:  # type: ignore[no-untyped-def]
    tasks: tuple[Task, ...] = make(5, 120)
    assert len({task.id for task in tasks}) == len({task.digest for task in tasks}) == 120
    for task in tasks:
        tests = task.tests
        assert isinstance(tests, FunctionTests)
        assert task.split is split
        assert task.digest == katas.digest(task.instruction, tests)
        assert (len(tests.visible), len(tests.hidden)) == (2, 10)
        assert repr(answers(task.solution, tests)) == repr(expected(tests))
        assert json.loads(json.dumps(expected(tests))) == expected(tests)
        assert len({repr(case.expected) for case in tests.hidden}) > 1


def test_held_out_tasks_are_balanced_and_varied() -> None:
    for count in (90, 200):
        tasks = katas.held_out_tasks(0, count)
        shares = Counter(task.stratum for task in tasks)
        assert max(shares.values()) - min(shares.values()) <= 1
        assert len({task.cluster for task in tasks}) > 0.95 * count


def test_reference_semantics_leave_their_input_alone() -> None:
    rng = random.Random("pure")
    for _ in range(500):
        pipeline = grammar.draw(rng, held_out=False)
        value = grammar.draw_input(rng, pipeline[0].op.family, 9)
        before = copy.deepcopy(value)
        with contextlib.suppress(ValueError, IndexError, ZeroDivisionError):
            grammar.evaluate(pipeline, value)
        assert value == before
