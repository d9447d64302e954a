"""Repository katas: what a task holds, that its bug shows and its solution cures it, how people work."""

import random
from collections import Counter
from functools import lru_cache

from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import PackageTests, Split, Task
from plateau_bench.tasks.loading import load_suite
from plateau_bench.tasks.quality.contamination import clashes, of_sample, of_task
from plateau_bench.tasks.suite import HumanSample
from plateau_bench.tasks.suites import repo_katas
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.repo_katas.project import BUGS, Project, draw_pipeline, draw_project
from plateau_bench.tasks.suites.repo_katas.testfile import answers, printed_by_tests
from plateau_bench.tasks.suites.repo_katas.transcript import Workspace, smallest_edit, work


@lru_cache
def held_out() -> tuple[Task, ...]:
    return repo_katas.held_out_tasks(5, 60)


@lru_cache
def train() -> tuple[Task, ...]:
    return repo_katas.train_tasks(5, 60)


@lru_cache
def people() -> list[HumanSample]:
    return repo_katas.corpus(5, 250)


def package(task: Task) -> PackageTests:
    assert isinstance(task.tests, PackageTests)
    return task.tests


def project(seed: int) -> Project:
    rng = random.Random(seed)
    while True:
        found = draw_project(rng, draw_pipeline(rng, held_out=False))
        if found:
            return found


def test_it_is_a_suite_by_name() -> None:
    assert load_suite("repo-katas") is repo_katas  # type: ignore[comparison-overlap]


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    assert repo_katas.held_out_tasks(5, 60) == held_out()
    assert repo_katas.corpus(5, 20) == people()[:20]
    assert {t.digest for t in repo_katas.train_tasks(6, 60)}.isdisjoint(t.digest for t in train())


def test_a_task_is_a_small_package_with_an_issue_and_tests() -> None:
    for task in (*held_out(), *train()):
        tests = package(task)
        assert 2 <= len(tests.files) <= 5
        assert "test.py" in tests.files
        assert tests.cases.entry_point in task.instruction
        assert f"def {tests.cases.entry_point}(".encode() in tests.files[f"{tests.module}.py"]
        assert (len(tests.cases.visible), len(tests.cases.hidden)) == (2, 10)
    assert {task.split for task in held_out()} == {Split.HELD_OUT}


def test_the_start_fails_visibly_and_the_solution_passes() -> None:
    for task in (*held_out(), *train()):
        tests, solution = package(task), diff_from_text(task.solution)
        cases = (*tests.cases.visible, *tests.cases.hidden)
        start = {path: data.decode() for path, data in tests.files.items()}
        fixed = {**start, **{path: data.decode() for path, data in solution.written.items()}}
        want = [case.expected for case in cases]
        file, name = f"{tests.module}.py", tests.cases.entry_point
        assert answers(fixed, file, name, cases) == want
        assert answers(start, file, name, tests.cases.visible) != want[:2]
        assert printed_by_tests(fixed, file, name, tests.cases.visible) == "2 passed"


def test_bugs_are_of_every_kind_and_lie_in_both_places() -> None:
    tasks = repo_katas.train_tasks(1, 200)
    bugs, places = (Counter(task.tags[tag] for task in tasks) for tag in ("bug", "place"))
    assert set(bugs) == set(BUGS)
    assert min(bugs.values()) >= 8
    assert places["helper"] >= 12
    assert {len(package(task).files) for task in tasks} == {2, 3, 4, 5}


def test_nothing_held_out_is_trained_on() -> None:
    material = [*map(of_task, train()), *(of_sample(sample, i) for i, sample in enumerate(people()))]
    assert not [*clashes(material, list(map(of_task, held_out())), shares_parts=True)]
    assert Counter(task.stratum for task in held_out()) == dict.fromkeys(grammar.STRATA, 20)
    fresh = repo_katas.fresh_human(5, 50, verified=True)
    assert all(sample.correct for sample in fresh)
    text = repo_katas.held_out_text(5, 50)
    assert {s.combo for s in text}.isdisjoint(s.combo for s in (*fresh, *people()))
    assert all(sample.correct for sample in text)


def test_people_work_as_told_and_make_mistakes() -> None:
    share = sum(sample.correct for sample in people()) / len(people())
    assert 0.9 < share < 1
    seen = [m["content"] for sample in people() for m in sample.chat if m["role"] == "tool"]
    assert any(" failed in " in text for text in seen)
    assert sum(text == "2 passed" for text in seen) > 0.9 * len(people())
    for sample in people():
        roles = [message["role"] for message in sample.chat]
        assert roles == ["user", *["assistant", "tool"] * (len(roles) // 2 - 1), "assistant"]
        assert sample.chat[-1]["tool_calls"][0]["function"]["name"] == "submit"


@given(st.integers(0, 2**32))
def test_careful_people_always_repair_the_package(seed: int) -> None:
    found = project(seed)
    space = work(found, random.Random(seed), careful=True)
    assert found.passes(space.files, (*found.tests.visible, *found.tests.hidden))


lines = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6)


@given(lines, lines)
def test_the_smallest_edit_makes_the_new_from_the_old(old: list[str], new: list[str]) -> None:
    edit = smallest_edit(old, new)
    assert 1 <= edit.start <= edit.end <= len(old)
    changed = [*old[: edit.start - 1], *edit.text.splitlines(), *old[edit.end :]]
    assert changed == new


def test_a_workspace_answers_like_the_commands() -> None:
    space = Workspace(project(1))
    space.show("none.py")
    space.find("nothing")
    answers = [message["content"] for message in space.chat if message["role"] == "tool"]
    assert answers == ["cat: none.py: No such file or directory\n[exit code 1]", "[exit code 1]"]
