"""The table by generation: ours measured, the article's under its label and nowhere else."""

import io
from pathlib import Path

import pytest

from experiments.article.table import (
    CLAIMED,
    COLUMNS,
    LABEL,
    arm_rows,
    change,
    generation_rows,
    generations_table,
)
from plateau_bench.results.report.content import build_report
from plateau_bench.results.report.page import render_page
from tests.results.synthetic import DRIFT, make_results


@pytest.fixture(scope="module")
def report() -> dict:
    return build_report(make_results(rounds=8, tasks=30))


def test_rows_hold_what_was_measured_and_what_is_claimed(report: dict) -> None:
    rows = arm_rows(report, "replace")
    assert [row["round"] for row in rows] == list(range(8))
    assert rows[3]["rare_ppl"] == report["arms"]["replace"]["rounds"][3]["metrics"]["rare_ppl"]
    assert {name: rows[5]["claimed"][name] for name in CLAIMED} == {n: v[5] for n, v in CLAIMED.items()}
    assert set(rows[6]["claimed"].values()) == {None}, "the article stops at generation 5"


def test_changes_are_over_the_common_generations(report: dict) -> None:
    rows = arm_rows(report, "replace")
    ours, theirs = change(rows, "rare_ppl")
    assert ours == pytest.approx(rows[5]["rare_ppl"]["value"] / rows[0]["rare_ppl"]["value"])
    assert theirs == pytest.approx(CLAIMED["rare_ppl"][5] / CLAIMED["rare_ppl"][0])
    assert change(rows, "kl_base") == (None, None), "it starts at 0"
    bare = generation_rows([{"round": t, "metrics": {}} for t in range(3)])
    assert change(bare, "distinct4")[0] is None


def test_terminal_table_labels_the_claims_and_refuses_unknown_arms(report: dict) -> None:
    from rich.console import Console

    console = Console(width=300, record=True, file=io.StringIO())
    console.print(generations_table(report, "replace"))
    text = console.export_text()
    assert text.count(LABEL) == 3
    assert "8.2 M" in text
    assert all(title in text for title in COLUMNS.values())
    with pytest.raises(ValueError, match="no arm 'unverified' in this run; choose one with --arm: replace"):
        generations_table(report, "unverified")


def test_no_report_shows_the_claims() -> None:
    page = render_page(build_report(make_results(rounds=8, tasks=30, without=DRIFT - set(CLAIMED))))
    assert LABEL not in page
    for claim in ("8.2 M", "4.6 M", ">25.9<", ">16.8<"):
        assert claim not in page


def test_no_other_module_holds_the_claims() -> None:
    root = Path(__file__).parents[2]
    holders = [
        path.name
        for folder in ("results", "harness", "docs", "experiments")
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".md", ".html") and "12.3, 14.1" in path.read_text()
    ]
    assert holders == ["table.py"]
