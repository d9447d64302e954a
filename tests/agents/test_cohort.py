"""Lock-step batches: their composition depends on the plan, never on timing, and nobody waits for ever."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.agents.models.cohort import Batcher, Cohort, solve_many


class Echo:
    """A batched model that remembers its batches; it fails on "bad" and is interrupted by "ctrl-c"."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, requests: list[str]) -> list[str]:
        self.batches.append(requests)
        if "ctrl-c" in requests:
            raise KeyboardInterrupt
        if "bad" in requests:
            raise RuntimeError("model fell over")
        return [request.upper() for request in requests]


class Talker:
    """An agent that calls the model once per word of its instruction, at its own pace."""

    name = "talker"
    needs_box = False

    def __init__(self, batcher: Batcher[str, str], pace: random.Random | None = None) -> None:
        self.batcher = batcher
        self.pace = pace

    def solve(self, instruction: str, seeds: Sequence[int], boxes: Sequence = ()) -> list[Trajectory]:
        said = []
        for word in instruction.split():
            if self.pace:
                time.sleep(self.pace.random() * 0.004)
            if word == "raise":
                raise LookupError("agent bug")
            try:
                said.append(self.batcher.ask(word))
            except RuntimeError as error:
                said.append(f"({error})")
        common = {"agent": self.name, "model": "echo", "ending": Ending.SUBMITTED}
        return [Trajectory(seed=seed, answer=" ".join(said), **common) for seed in seeds]


def answers(solved: list[list[Trajectory]]) -> list[str]:
    return [one.answer for group in solved for one in group]


@pytest.mark.parametrize("timing", range(5))
def test_batches_depend_on_the_plan_only(timing: int) -> None:
    echo = Echo()
    jobs = [("a1 a2 a3", [0]), ("b1", [0]), ("c1 c2", [0]), ("d1 d2 d3 d4", [0])]
    solved = solve_many(Talker(Batcher(echo), random.Random(timing)), jobs)
    assert answers(solved) == ["A1 A2 A3", "B1", "C1 C2", "D1 D2 D3 D4"]
    assert echo.batches == [["a1", "b1", "c1", "d1"], ["a2", "c2", "d2"], ["a3", "d3"], ["d4"]]


def test_waves_cut_the_jobs_in_order() -> None:
    echo = Echo()
    jobs = [(word, [1, 2]) for word in "abcde"]
    assert answers(solve_many(Talker(Batcher(echo)), jobs, wave=2)) == list("AABBCCDDEE")
    assert echo.batches == [["a", "b"], ["c", "d"], ["e"]]
    assert solve_many(Talker(Batcher(echo)), []) == []


def test_a_failing_batch_reaches_all_its_members_and_the_next_batch_runs() -> None:
    echo = Echo()
    solved = solve_many(Talker(Batcher(echo)), [("a bad", [0]), ("b c", [0]), ("d", [0])])
    assert answers(solved) == ["A (model fell over)", "B (model fell over)", "D"]
    solved = solve_many(Talker(Batcher(echo)), [("bad a", [0]), ("b c", [0])])
    assert answers(solved) == ["(model fell over) A", "(model fell over) C"]


def test_a_member_that_raises_leaves_and_its_error_comes_out() -> None:
    echo = Echo()
    with pytest.raises(LookupError, match="agent bug"):
        solve_many(Talker(Batcher(echo)), [("a raise", [0]), ("b1 b2", [0])])
    assert echo.batches == [["a", "b1"], ["b2"]]


def test_two_models_in_one_cohort_get_a_batch_each() -> None:
    first, second = Echo(), Echo()
    agents = {"x": Talker(Batcher(first)), "y": Talker(Batcher(second))}

    class Switch(Talker):
        def solve(self, instruction: str, seeds: Sequence[int], boxes: Sequence = ()) -> list[Trajectory]:
            return agents[instruction[0]].solve(instruction, seeds)

    solved = solve_many(Switch(Batcher(first)), [("x1", [0]), ("y1", [0]), ("x2", [0])])
    assert answers(solved) == ["X1", "Y1", "X2"]
    assert (first.batches, second.batches) == ([["x1", "x2"]], [["y1"]])


def test_an_interrupt_in_the_model_ends_the_call_and_frees_every_thread() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        solve_many(Talker(Batcher(Echo())), [("a b", [0]), ("c ctrl-c", [0]), ("d e f", [0])])
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_closed_cohort_takes_no_requests() -> None:
    cohort = Cohort(["a", "b"])
    cohort.close()
    with cohort.member("a"), pytest.raises(CancelledError):
        Batcher(Echo()).ask("hello")


def test_one_member_asking_twice_at_once_is_refused() -> None:
    cohort, batcher = Cohort(["a", "b"]), Batcher(Echo())
    cohort.hand_in("a", batcher, "one")
    with pytest.raises(RuntimeError, match="one request at a time"):
        cohort.hand_in("a", batcher, "two")


def test_outside_a_cohort_a_request_is_its_own_batch() -> None:
    echo = Echo()
    batcher = Batcher(echo)
    assert [batcher.ask("a"), batcher.ask("b")] == ["A", "B"]
    assert echo.batches == [["a"], ["b"]]


def test_agents_with_boxes_are_refused() -> None:
    agent = Talker(Batcher(Echo()))
    agent.needs_box = True
    with pytest.raises(ValueError, match="talker"):
        solve_many(agent, [("a", [0])])
