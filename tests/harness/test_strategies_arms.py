"""What each strategy picks, from attempts made by hand."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from plateau_bench.harness.learning.dataset import Example, Origin, from_attempt
from plateau_bench.harness.learning.ledger import Ledger, compute_multiplier
from plateau_bench.harness.strategies import STRATEGIES, Material, Strategy, Tempered, Trial
from plateau_bench.harness.strategies.base import REPEATS
from plateau_bench.harness.strategies.next_checkpoint import Gate, Patient
from plateau_bench.harness.strategies.params import docs, names, plain
from plateau_bench.results.records import Attempt
from tests.harness.material import attempt, human

LOOP = "def f(a):\n out = []\n for x in a:\n  out.append(x)\n return out"
COMPREHENSION = "def f(a):\n return [x for x in a]"
RENAMED = "def f(b):\n return [y for y in b]"
SLICE = "def f(a):\n return a[:]"


def material(
    current: Sequence[Attempt], earlier: Sequence[Attempt] = (), budget: int = 1000, seed: int = 1
) -> Material:
    ledger = Ledger()

    def fresh(count: int, *, verified: bool = True) -> list[Example]:
        ledger.human_drawn += count
        return human(count)

    return Material(
        current=current, earlier=lambda: list(earlier), fresh_human=fresh, original_human=human,
        as_example=from_attempt, budget=budget, ledger=ledger, rng=random.Random(seed),
    )  # fmt: skip


def choose(name: str, stuff: Material, **arm: object) -> list[Example]:
    return STRATEGIES[name].choose(stuff, STRATEGIES[name].params(**arm))


def sources(examples: Sequence[Example]) -> set[str]:
    return {example.source for example in examples}


def solved(task: str, *answers: str, **facts: object) -> list[Attempt]:
    return [attempt(task, i, answer=answer, **facts) for i, answer in enumerate(answers)]  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))
def test_every_parameter_has_a_default_and_says_what_it_does(strategy: Strategy) -> None:
    assert list(plain(strategy.params())) == names(strategy.params)
    assert docs(strategy.params).keys() == {*names(strategy.params)}


def test_a_strategy_has_the_parameters_that_a_round_reads() -> None:
    with pytest.raises(TypeError, match="must be derived from Usual"):
        Strategy(summary="", source="", params=Tempered)


def test_accumulate_grows_and_its_subsample_does_not() -> None:
    now = [attempt(f"t{i}", round=2) for i in range(10)]
    before = [attempt(f"t{i}", round=r) for i in range(10) for r in (0, 1)]
    assert len(choose("accumulate", material(now, before, budget=8))) == 30
    drawn = choose("accumulate_subsample", material(now, before))
    assert len(drawn) == len(sources(drawn)) == 10
    assert {source[:8] for source in sources(drawn)} == {"round-00", "round-01", "round-02"}


def test_a_small_pool_is_repeated_up_to_a_limit() -> None:
    hard = solved("hard", LOOP)
    easy = [a for task in ("a", "b", "c") for a in solved(task, *[LOOP] * 4)]
    examples = choose("hard_only", material([*hard, *easy]))
    assert [example.source for example in examples] == ["round-00/hard#0"] * REPEATS


def test_hard_only_keeps_tasks_with_few_successes() -> None:
    current = [*solved("once", LOOP), *solved("twice", LOOP, LOOP), *solved("often", *[LOOP] * 3)]
    current += solved("never", LOOP, verified=False)
    assert sources(choose("hard_only", material(current))) == {"round-00/once#0"}
    wider = sources(choose("hard_only", material(current), successes=2))
    assert wider == {"round-00/once#0", "round-00/twice#0", "round-00/twice#1"}


def test_dedupe_cap_takes_one_per_class_and_at_most_cap_per_task() -> None:
    current = [*solved("t", LOOP, COMPREHENSION, RENAMED, SLICE, LOOP), *solved("u", LOOP, LOOP)]
    examples = [from_attempt(a) for a in current]
    uncapped = sources(choose("dedupe_cap", material(current)))
    assert len([s for s in uncapped if "/t#" in s]) == 3  # renaming makes no new class
    assert len([s for s in uncapped if "/u#" in s]) == 1
    capped = choose("dedupe_cap", material(current), cap=2)
    assert len({s for s in sources(capped) if "/t#" in s}) == 2
    assert len(choose("dedupe_cap", material(current))) == len(examples)  # the same number as replace


def test_inverse_freq_draws_rare_classes_as_often_as_common_ones() -> None:
    current = [*solved("t", *[LOOP] * 30), *[replace(solved("t", SLICE)[0], sample=99)]]
    drawn = Counter(
        example.source == "round-00/t#99"
        for seed in range(40)
        for example in choose("inverse_freq", material(current, seed=seed))
    )
    assert 0.45 < drawn[True] / drawn.total() < 0.55


def test_surprise_filter_keeps_the_highest_perplexity() -> None:
    current = [attempt(f"t{i}", logprob=-0.1 * i) for i in range(10)]
    kept = sources(choose("surprise_filter", material(current), share=0.3))
    assert kept == {"round-00/t7#0", "round-00/t8#0", "round-00/t9#0"}


def test_the_discriminator_keeps_what_earlier_rounds_did_not_write() -> None:
    before = [attempt(f"t{i}", answer=LOOP.replace("x", f"x{i}")) for i in range(30)]
    seen = [attempt(f"t{i}", answer=LOOP.replace("x", f"x{i}"), round=1) for i in range(20)]
    new = [attempt(f"n{i}", answer=SLICE + f"  # {i}", round=1) for i in range(10)]
    stuff = material([*seen, *new], before)
    kept = sources(choose("diversity_discriminator", stuff, share=1 / 3))
    assert len(kept) == 10
    assert sum("/n" in source for source in kept) >= 9
    assert stuff.ledger.extra_tokens > 0


def test_in_round_0_the_discriminator_keeps_all() -> None:
    current = [attempt(f"t{i}") for i in range(6)]
    assert len(sources(choose("diversity_discriminator", material(current)))) == 6


def test_keep_original_draws_from_one_fixed_set() -> None:
    current = [attempt(f"t{i}") for i in range(40)]
    stuff = material(current, budget=40)
    examples = choose("keep_original", stuff, fraction=0.25)
    humans = [example.source for example in examples if example.origin is Origin.HUMAN]
    assert (len(examples), len(humans)) == (40, 10)
    assert set(humans) <= {f"human/{i}" for i in range(10)}
    assert stuff.ledger.human_drawn == 0


def test_fresh_human_only_is_as_large_as_replace_and_has_nothing_of_its_own() -> None:
    current = [attempt(f"t{i}", verified=i < 7) for i in range(20)]
    stuff = material(current)
    examples = choose("fresh_human_only", stuff)
    assert [example.origin for example in examples] == [Origin.HUMAN] * 7
    assert stuff.ledger.human_drawn == 7


def test_human_budget_buys_verdicts_and_drops_what_people_found_wrong() -> None:
    known = solved("old", LOOP, LOOP)
    wrong = [replace(a, verdict=attempt(passed=False).verdict) for a in solved("new", SLICE, SLICE)]
    stuff = material([*known, *wrong], earlier=solved("old", LOOP))
    assert sources(choose("human_budget", stuff, verifications=1)) == sources(map(from_attempt, known))  # type: ignore[arg-type]
    assert stuff.ledger.human_verifications == 1  # one verdict for both programs of a class
    blind = choose("human_budget", material([*known, *wrong]), verifications=0)
    assert len(sources(blind)) == 4


def test_human_budget_asks_about_disputed_tasks_before_agreed_ones() -> None:
    agreed = [a for i in range(20) for a in solved(f"agreed{i}", LOOP)]
    disputed = [*solved("split", SLICE, passed=False), *solved("split", LOOP, verified=False)]
    before = [*agreed, *solved("split", SLICE)]
    chosen = choose("human_budget", material([*agreed, *disputed], before), verifications=1)
    assert all("split" not in source for source in sources(chosen))


def test_unverified_learns_from_everything_and_random_filter_from_as_many_as_passed() -> None:
    current = [attempt(f"t{i}", verified=i < 10, passed=i < 10) for i in range(40)]
    assert len(sources(choose("unverified", material(current)))) == 40
    random_ones = choose("random_filter", material(current))
    assert len(sources(random_ones)) == 10
    assert not all(example.correct for example in random_ones)


def test_the_wrong_verifier_lets_a_share_of_wrong_programs_through_and_always_the_same() -> None:
    wrong = [attempt(f"t{i}", answer=f"{LOOP}  # {i}", verified=False, passed=False) for i in range(600)]
    leaked = sources(choose("wrong_verifier", material(wrong), fp=0.2))
    assert 80 < len(leaked) < 160
    assert leaked == sources(choose("wrong_verifier", material(wrong, seed=2), fp=0.2))
    assert leaked < sources(choose("wrong_verifier", material(wrong), fp=0.5))
    assert not choose("wrong_verifier", material(wrong), fp=0.0)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_noise_changes_what_is_read_and_not_what_is_written(p: float) -> None:
    current = [attempt(f"t{i}", token_ids=tuple(range(10, 60))) for i in range(20)]
    examples = choose("noise", material(current), p=p)
    pairs = [pair for e in examples for pair in zip(e.input_ids, e.token_ids, strict=True)]
    swapped = sum(read != written for read, written in pairs) / len(pairs)
    assert abs(swapped - p * 49 / 50) < 0.05  # a swap may find the same token
    assert {e.token_ids for e in examples} == {tuple(range(10, 60))}


def trials(*rows: tuple[str, str, float]) -> list[Trial]:
    return [Trial(checkpoint=name, parent=parent, score=score) for name, parent, score in rows]


def test_gate_rolls_a_worse_round_back_to_where_it_started() -> None:
    judge, arm = STRATEGIES["gate"].judge, Gate()
    assert judge is not None
    assert judge(trials(("base", "", 0.5), ("r0", "base", 0.5)), arm) == "r0"
    assert judge(trials(("base", "", 0.5), ("r0", "base", 0.4)), arm) == "base"
    assert judge(trials(("base", "", 0.5), ("r0", "base", 0.4)), replace(arm, tolerance=0.2)) == "r0"
    again = trials(("base", "", 0.5), ("r0", "base", 0.6), ("r1", "r0", 0.5), ("r2", "r0", 0.55))
    assert judge(again, arm) == "r0"


def test_early_stop_goes_on_for_a_while_then_rolls_the_best_forward() -> None:
    judge, arm = STRATEGIES["early_stop_rollforward"].judge, Patient(patience=2)
    assert judge is not None
    history = trials(("base", "", 0.5), ("r0", "base", 0.7), ("r1", "r0", 0.6), ("r2", "r1", 0.65))
    assert judge(history[:3], arm) == "r1"
    assert judge(history, arm) == "r0"
    after = [*history, *trials(("r3", "r0", 0.6))]  # the count starts again from the best
    assert judge(after, arm) == "r3"
    assert judge([*after, *trials(("r4", "r3", 0.8))], arm) == "r4"


def test_the_balance_score_rewards_right_and_different_programs() -> None:
    balance, arm = STRATEGIES["adaptive_temperature"].balance, Tempered()
    assert balance is not None
    varied = balance(solved("t", LOOP, SLICE, COMPREHENSION), arm)
    alike = balance(solved("t", LOOP, LOOP, LOOP), arm)
    wrong = balance(solved("t", LOOP, SLICE, verified=False), arm)
    assert (varied, wrong) == (1, 0)
    assert alike == pytest.approx(1 / 9)
    half = [*solved("t", LOOP, SLICE), *solved("t", LOOP, LOOP, verified=False)]
    assert balance(half, arm) == pytest.approx(0.5)


def test_the_ledger_adds_up_over_rounds() -> None:
    first = Ledger(human_drawn=3, human_verifications=2).facts([])
    second = Ledger(human_drawn=4).facts([first])
    assert (second["human_drawn"], second["human_drawn_total"]) == (4, 7)
    assert second["human_verifications_total"] == 2


def test_compute_is_relative_to_replace() -> None:
    same = compute_multiplier(sampled=100, extra=0, trained=50, replace_trained=50, epochs=2)
    more = compute_multiplier(sampled=100, extra=100, trained=100, replace_trained=50, epochs=2)
    assert (same, more) == (1.0, 2.0)
    assert compute_multiplier(sampled=0, extra=0, trained=0, replace_trained=0, epochs=1) is None
