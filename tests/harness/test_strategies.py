import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from plateau_bench.harness.learning.dataset import Example, Origin, from_attempt
from plateau_bench.harness.learning.ledger import Ledger
from plateau_bench.harness.strategies import STRATEGIES, Material
from plateau_bench.harness.strategies.params import names
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome, Verdict
from tests.harness.material import attempt, human


def choose(
    name: str, current: Sequence[Attempt], earlier: Sequence[Attempt] = (), budget: int = 100, **arm: float
) -> list[Example]:
    material = Material(
        current=current, earlier=lambda: list(earlier), fresh_human=human, original_human=human,
        as_example=from_attempt, budget=budget, ledger=Ledger(), rng=random.Random(1),
    )  # fmt: skip
    return STRATEGIES[name].choose(material, STRATEGIES[name].params(**arm))


NOW = [attempt(f"t{i}", verified=i % 2 == 0, round=1) for i in range(40)]
BEFORE = [attempt(f"t{i}", verified=True, round=0) for i in range(40)]


TRAINING = [name for name, strategy in STRATEGIES.items() if strategy.trains]
CONTROLS = {"random_filter", "unverified", "wrong_verifier", "fresh_human_only"}


@pytest.mark.parametrize("name", [name for name in TRAINING if name not in CONTROLS])
def test_only_what_the_visible_tests_accept_is_learnt(name: str) -> None:
    bad = {e.source for e in (from_attempt(a) for a in NOW if not a.verdict.verified)}
    assert bad.isdisjoint(e.source for e in choose(name, NOW, BEFORE))


@pytest.mark.parametrize("name", [name for name in TRAINING if name != "accumulate"])
@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_no_arm_exceeds_the_budget(name: str, budget: int) -> None:
    assert 0 < len(choose(name, NOW, BEFORE, budget)) <= budget


def test_replace_forgets_earlier_rounds_and_accumulate_does_not() -> None:
    assert {e.source[:8] for e in choose("replace", NOW, BEFORE)} == {"round-01"}
    assert {e.source[:8] for e in choose("accumulate", NOW, BEFORE)} == {"round-00", "round-01"}


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.5])
def test_fresh_human_replaces_a_share_and_keeps_the_total(fraction: float) -> None:
    own, mixed = choose("replace", NOW), choose("fresh_human", NOW, fraction=fraction)
    humans = sum(e.origin is Origin.HUMAN for e in mixed)
    assert len(mixed) == len(own)
    assert humans == round(fraction * len(own))


def test_the_hidden_tests_never_choose() -> None:
    """A program that passes the visible tests only is learnt from: that leak is part of what is measured."""
    lucky = [attempt(f"t{i}", verified=True, passed=False) for i in range(5)]
    assert len(choose("replace", lucky)) == 5
    assert not any(example.correct for example in choose("replace", lucky))


@pytest.mark.parametrize("name", TRAINING)
def test_tampering_is_never_learnt_from_unless_an_ablation_asks(name: str) -> None:
    honest = [attempt(f"t{i}") for i in range(4)]
    cheat = replace(
        attempt("cheat"), verdict=Verdict(outcome=Outcome.INVALID, verified=True, reason="reward pre-seeded")
    )
    assert all("cheat" not in e.source for e in choose(name, [*honest, cheat]))
    wanted = {"tampered": True, "fraction": 0, "share": 1, "verifications": 0}
    takes = names(STRATEGIES[name].params)
    asked = choose(name, [*honest, cheat], **{key: value for key, value in wanted.items() if key in takes})
    assert name == "fresh_human_only" or any("cheat" in e.source for e in asked)


def test_the_choice_depends_on_the_seed_alone() -> None:
    for name in TRAINING:
        assert choose(name, NOW, BEFORE, 10) == choose(name, NOW, BEFORE, 10)


def test_every_strategy_says_what_it_is_and_where_it_comes_from() -> None:
    assert all(strategy.summary and strategy.source for strategy in STRATEGIES.values())
    assert not STRATEGIES["no_train"].trains
    assert STRATEGIES["reset_base"].start == "base"
