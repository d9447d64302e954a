"""Agents compared: error rate on equal ones, power at the printed difference, groups, published series."""

from pathlib import Path

import numpy as np
import pytest

from plateau_bench.results.claims.agents import Versus, comparable, groups, versus
from plateau_bench.results.claims.published_series import Point, judge_series, read_series
from plateau_bench.results.metrics.pass_table import PassTable


def table(rates: np.ndarray, n: int, rng: np.random.Generator, clusters: int = 0) -> PassTable:
    """n samples per task of an agent with these true pass rates."""
    passed = rng.binomial(n, rates).astype(float)
    ids = tuple(f"t{i}" for i in range(len(rates)))
    names = tuple(f"c{i % clusters}" for i in range(len(rates))) if clusters else ids
    full, half = np.full(len(rates), float(n)), np.zeros((len(rates), 2))
    return PassTable(
        round=0, task_ids=ids, clusters=names, strata=("",) * len(rates), n=full, c=passed,
        half_n=half, half_c=half, sums={},
    )  # fmt: skip


def tasks(rng: np.random.Generator, count: int = 150) -> np.ndarray:
    return 1 / (1 + np.exp(-rng.normal(0, 1.5, count)))


def test_identical_agents_are_not_distinguishable_in_95_of_100() -> None:
    called = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rates = tasks(rng)
        found = versus({"a": table(rates, 4, rng), "b": table(rates, 4, rng)}, seed=seed)[0]
        called += found.better is None
    assert called >= 95


def test_ten_points_at_the_printed_detectable_difference_are_found_in_80_of_100() -> None:
    """The number of tasks is one whose printed detectable difference is ten points at most."""
    hits, printed = 0, []
    for seed in range(100):
        rng = np.random.default_rng(1000 + seed)
        rates = rng.uniform(0.2, 0.8, 170)
        better = np.clip(rates + 0.10, 0, 1)
        found = versus({"a": table(better, 3, rng), "b": table(rates, 3, rng)}, seed=seed)[0]
        printed.append(found.detectable)
        hits += found.better == "a"
    assert 0.09 <= float(np.mean(printed)) <= 0.105
    assert hits >= 80


def test_clusters_are_the_unit() -> None:
    rng = np.random.default_rng(3)
    rates = tasks(rng, 200)
    a, b = table(rates, 4, rng, clusters=10), table(rates, 4, rng, clusters=10)
    found = versus({"a": a, "b": b})[0]
    assert (found.tasks, found.clusters) == (200, 10)


def test_words_say_what_was_found_and_what_could_have_been() -> None:
    rng = np.random.default_rng(0)
    rates = tasks(rng)
    strong = table(np.clip(rates + 0.4, 0, 1), 8, rng)
    found = versus({"weak": table(rates, 8, rng), "strong": strong, "same": table(rates, 8, rng)})
    by = {(v.a, v.b): v for v in found}
    assert by["weak", "strong"].better == "strong"
    assert by["weak", "strong"].sentence().startswith("strong is better than weak by ")
    assert "not distinguishable" in by["weak", "same"].sentence()
    assert groups(["strong", "same", "weak"], found) == {"strong": "a", "same": "b", "weak": "b"}


def test_groups_overlap_where_only_the_ends_differ() -> None:
    def pair(a: str, b: str, p: float) -> Versus:
        from plateau_bench.results.records import Estimate

        return Versus(
            a=a, b=b, tasks=9, clusters=9, difference=Estimate(0.1, 0, 0.2, 9), p=p, p_holm=p, detectable=0.1
        )

    found = [pair("x", "y", 0.5), pair("y", "z", 0.5), pair("x", "z", 0.01)]
    assert groups(["x", "y", "z"], found) == {"x": "a", "y": "ab", "z": "b"}


def test_what_cannot_be_compared_is_said() -> None:
    rng = np.random.default_rng(0)
    one = table(tasks(rng, 5), 2, rng)
    with pytest.raises(ValueError, match="two agents"):
        versus({"a": one})
    other = table(tasks(rng, 5), 2, rng)
    other = PassTable(**{f: getattr(other, f) for f in other.__slots__} | {"task_ids": tuple("vwxyz")})
    with pytest.raises(ValueError, match="0 tasks in common"):
        versus({"a": one, "b": other})


def test_a_small_published_rise_is_called_what_it_is() -> None:
    claim = judge_series(
        [Point(label="before", rate=79 / 570, n=570), Point(label="after", rate=0.162, n=570)]
    )
    assert claim.rise < 0
    assert "no rise is significant" in claim.sentence
    big = judge_series([Point(label="a", rate=0.3, n=500), Point(label="b", rate=0.5, n=500)])
    assert big.rise > 0
    flat = [Point(label=str(i), rate=r, n=20_000) for i, r in enumerate((0.2, 0.4, 0.4, 0.4, 0.4))]
    assert judge_series(flat).level
    assert "fall" in judge_series([*flat, Point(label="z", rate=0.2, n=20_000)]).sentence


def test_noise_alone_is_rarely_called_a_rise() -> None:
    rng = np.random.default_rng(5)
    called = 0
    for seed in range(200):
        points = [Point(label=str(i), rate=rng.binomial(300, 0.3) / 300, n=300) for i in range(6)]
        claim = judge_series(points, seed=seed)
        called += claim.rise > 0 or claim.fall > 0
    assert called <= 200 * (0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,n\na,5\n", "line 1"),
        ("label,rate,n\na,0.5,10\n", "two points"),
        ("label,rate,n\na,0.5,10\nb,13.8,10\n", "line 3: the rate 13.8"),
        ("label,rate,n\na,x,10\nb,0.1,10\n", "line 2: rate: 'x'"),
        ("label,rate,n\na,0.5,0\nb,0.1,10\n", "line 2: n"),
    ],
)
def test_a_file_that_is_no_series_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_series(path)
    path.write_text("label,rate,n\na,13.86%,570\nb,0.162,570\n")
    assert read_series(path)[0].rate == pytest.approx(0.1386)


def of(passed: np.ndarray, n: int, clusters: int = 0) -> PassTable:
    made = table(np.zeros(len(passed)), n, np.random.default_rng(0), clusters)
    return PassTable(**{f: getattr(made, f) for f in made.__slots__} | {"c": passed.astype(float)})


@pytest.mark.parametrize("tasks", [2, 3, 5, 6, 40])
@pytest.mark.parametrize("ahead", [0, 1, 2, 4])
def test_differences_that_are_all_the_same_have_an_interval_and_no_power(tasks: int, ahead: int) -> None:
    found = versus({"a": of(np.full(tasks, ahead), 4), "b": of(np.zeros(tasks), 4)})[0]
    value, low, high, _ = found.difference
    assert (value, found.detectable) == (ahead / 4, None)
    assert -1 <= low < value
    assert value <= high <= 1
    assert high - low > 0.5 / tasks, "what was not seen may still be"
    said = found.sentence()
    assert "would show" not in said
    assert ("too few" in said) == (found.better is None and tasks < 6), said
    assert ("no difference was seen" in said) == (ahead == 0)
    assert (found.better == "a") == (ahead > 0 and tasks >= 6)


def test_what_has_one_cluster_is_left_out_of_the_comparison() -> None:
    rng = np.random.default_rng(2)
    rates = tasks(rng, 6)
    one = {name: table(rates, 2, rng, clusters=1) for name in "ab"}
    kept, notes = comparable(one)
    assert list(kept) == ["a"]
    assert notes == [
        "a and b are not compared: they have 6 tasks in common, all of one cluster, and tasks of two "
        "clusters are needed"
    ]
    assert groups(["a", "b"], []) == {}
