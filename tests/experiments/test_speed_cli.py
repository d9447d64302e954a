"""`python -m experiments.speed diversity` as a person sees it."""

import json

import pytest
from typer.testing import CliRunner

from experiments.speed.__main__ import app


def test_panel_over_generated_solutions() -> None:
    found = CliRunner().invoke(app, ["diversity", "--sizes", "32,64", "--workers", "1", "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.output)
    assert [row["solutions"] for row in told["results"]] == [32, 64]
    assert 1 <= told["results"][1]["values"]["hill1"] <= 4


@pytest.mark.parametrize("sizes", ["many", "3"])
def test_sizes_that_make_no_sense_are_named(sizes: str) -> None:
    found = CliRunner().invoke(app, ["diversity", "--sizes", sizes])
    assert isinstance(found.exception, ValueError)
    assert "--sizes" in str(found.exception)
