"""Endpoints that misbehave: what is tried again, what is not, and that nothing is lost or overspent."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from plateau_bench.agents.base import BudgetSpent, Ending, Limits, ModelUnavailable, Trajectory
from plateau_bench.agents.models.endpoint import (
    Breaker,
    Budget,
    EndpointChat,
    Policy,
    open_endpoint,
    plausible,
    upper_bound,
)
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.agents.scripted import ScriptedChat, call
from plateau_bench.agents.tool import ToolAgent
from plateau_bench.sandbox.base import SandboxSpec
from tests.agents.hostile import MISCHIEF, HostileServer
from tests.tasks.local_backend import LocalSandbox

FAST = Policy(tries=12, first_wait_s=0.001, longest_wait_s=0.02)
PRICE = Price(read=2.0, written=10.0)


def chat(server: HostileServer, **options: object) -> EndpointChat:
    settings: dict[str, object] = {"timeout_s": 0.5, "policy": FAST, "price": PRICE} | options
    return open_endpoint("openai:hostile", base_url=server.url, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "what", [kind for kind in MISCHIEF if kind not in ("empty", "no usage", "wrong usage")]
)
def test_what_may_pass_is_tried_again(what: str) -> None:
    with HostileServer(share=0.7, seed=3, only=(what,)) as server:
        model = chat(server, policy=Policy(tries=30, first_wait_s=0.001, longest_wait_s=0.01))
        for _ in range(3):
            assert model.invoke("x").text.startswith("def f")
        assert server.served[what] > 0
        assert server.served["good"] == 3


def test_what_stays_wrong_is_not_tried_again() -> None:
    with HostileServer(share=1.0, only=("400",)) as server:
        with pytest.raises(Exception, match="400"):
            chat(server).invoke("x")
        assert server.served["400"] == 1


def test_a_count_that_cannot_be_true_is_no_count() -> None:
    good = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    assert plausible(good) == good
    for wrong in (
        None, {}, good | {"input_tokens": -1}, good | {"output_tokens": 10**12},
        good | {"output_tokens": None}, good | {"input_tokens": "9"},
        good | {"input_token_details": {"cache_read": 50}},
    ):  # fmt: skip
        assert plausible(wrong) is None


@pytest.mark.parametrize(("total", "written"), [(1012, 1003), (12, 3), (5, 3), (None, 3), (10**12, 3)])
def test_reasoning_that_only_the_total_counts_was_written(total: int | None, written: int) -> None:
    found = plausible({"input_tokens": 9, "output_tokens": 3, "total_tokens": total})
    assert (found["output_tokens"], found["total_tokens"]) == (written, 9 + written)


def test_unknown_cost_is_none_and_still_counts_against_the_limit() -> None:
    with HostileServer(share=1.0, only=("no usage",)) as server:
        model = chat(server)
        found = OneShot(model, limits=Limits(completion_tokens=50)).solve("x", [1])[0]
        assert found.cost_usd is None
        assert found.ending is Ending.SUBMITTED
        assert model.budget.uncounted == 1
        assert model.budget.spent_usd > 0


def test_an_upper_bound_is_one() -> None:
    message = HumanMessage("grüße \u4f60\u597d" * 20)
    assert upper_bound([message], None) >= len(message.text.encode())


def test_calls_at_once_cannot_pass_the_limit_together() -> None:
    limit = 0.005
    with HostileServer(share=0.3, seed=5) as server:
        model = chat(server, budget=Budget(usd=limit))

        def attempt(i: int) -> Trajectory | None:
            try:
                return OneShot(model, limits=Limits(completion_tokens=100)).solve(f"task {i}", [i])[0]
            except BudgetSpent:
                return None

        with ThreadPoolExecutor(16) as pool:
            found = [one for one in pool.map(attempt, range(120)) if one is not None]
    assert 0 < len(found) < 120
    worst_call = PRICE.of({"input_tokens": 200, "output_tokens": 100})
    assert limit - worst_call <= model.budget.spent_usd <= limit
    assert sum(one.cost_usd or 0 for one in found) <= limit


def test_an_endpoint_that_only_fails_is_left_alone_and_then_given_up() -> None:
    with HostileServer(share=1.0, only=("500",)) as server:
        breaker = Breaker(failures=4, rest_s=0.05, give_up_s=0.3)
        model = chat(
            server, breaker=breaker, policy=Policy(tries=1000, first_wait_s=0.001, longest_wait_s=0.001)
        )
        with pytest.raises(ModelUnavailable, match="in a row"):
            OneShot(model).solve("x", [1])
        assert server.served["500"] < 15, "between probes nobody asks"


def test_a_breaker_closes_again() -> None:
    breaker = Breaker(failures=2, rest_s=0.05, give_up_s=5)
    breaker.note(ok=False)
    breaker.note(ok=False)
    waited: list[float] = []
    started = time.monotonic()

    def ask() -> None:
        breaker.wait()
        waited.append(time.monotonic() - started)
        breaker.note(ok=True)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(waited) >= 0.05
    assert max(waited) < 1.0


def test_the_runs_budget_leaves_a_tool_attempt_open() -> None:
    inner = ScriptedChat.of([call("bash", command="true")])
    model = EndpointChat(inner=inner, model="m", price=PRICE, budget=Budget(usd=0.03))
    box = LocalSandbox(SandboxSpec())
    with pytest.raises(BudgetSpent, match="budget"):
        ToolAgent(model, limits=Limits(completion_tokens=500)).solve("x", [1], [box])
    box.close()
    with pytest.raises(BudgetSpent):
        model.invoke("x" * 40_000)


def test_n_answers_are_n_calls() -> None:
    with HostileServer(share=0.0) as server:
        found = OneShot(chat(server)).solve("x", [1, 2, 3])
        assert len(found) == 3
        assert server.served["good"] == 3
        assert isinstance(AIMessage("x"), AIMessage)


@pytest.mark.slow
def test_a_thousand_attempts_against_a_hostile_endpoint() -> None:
    """Each ends in a named ending; nothing is lost or doubled; costs add up to the server's own books."""
    # Late answers would be on the server's books only: what is no stall must come in time on any machine.
    with HostileServer(share=0.4, seed=1, stall_s=14.0) as server:
        model = chat(server, timeout_s=12.0)
        agent = ToolAgent(model, limits=Limits(completion_tokens=100, steps=8, cost_usd=1.0))

        def attempt(i: int) -> tuple[int, Trajectory]:
            box = LocalSandbox(SandboxSpec())
            try:
                return i, agent.solve(f"task {i}", [i], [box])[0]
            finally:
                box.close()

        with ThreadPoolExecutor(64) as pool:
            found = dict(pool.map(attempt, range(1000)))
    assert sorted(found) == list(range(1000))
    endings = Counter(trajectory.ending for trajectory in found.values())
    print(dict(endings), dict(server.served))
    assert endings[Ending.SUBMITTED] > 900
    assert set(endings) <= {Ending.SUBMITTED, Ending.CRASHED, Ending.MALFORMED}
    counted = [m for t in found.values() for m in t.messages if m.completion_tokens is not None]
    assert sum(m.completion_tokens or 0 for m in counted) == server.tokens["out"]
    assert sum(m.prompt_tokens or 0 for m in counted) == server.tokens["in"]
    known = sum(m.cost_usd or 0.0 for m in counted)
    expected = PRICE.of({"input_tokens": server.tokens["in"], "output_tokens": server.tokens["out"]})
    assert known == pytest.approx(expected)
    assert all(
        t.cost_usd is not None
        for t in found.values()
        if all(m.completion_tokens is not None for m in t.messages if m.role == "assistant")
        and t.ending is Ending.SUBMITTED
    )
