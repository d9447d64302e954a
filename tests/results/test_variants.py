"""The gap between variants and their originals."""

import pytest

from plateau_bench.results.metrics.success import variant_metrics
from tests.results.attempts import task_attempts


def test_gaps_are_paired_by_task() -> None:
    originals = [row for i in range(8) for row in task_attempts(f"t{i}", "1111" if i < 4 else "1100")]
    renamed = [
        row
        for i in range(8)
        for row in task_attempts(f"t{i}~rename", "1100" if i < 4 else "0000", stratum="variant/rename")
    ]
    edge = task_attempts("t7~edge", "1100", stratum="variant/edge")
    values = variant_metrics([*renamed, *edge], originals, seed=1)
    kinds = ("rename", "edge")
    assert set(values) == {f"{name}/variant/{kind}" for name in ("pass@1", "gap") for kind in kinds}
    rename, gap, edges = (
        values[name] for name in ("pass@1/variant/rename", "gap/variant/rename", "gap/variant/edge")
    )
    assert rename is not None
    assert gap is not None
    assert edges is not None
    assert (rename.value, rename.n) == (0.25, 8)
    assert gap.value == -0.5
    assert gap.low == pytest.approx(-0.5)
    assert gap.high == pytest.approx(-0.5)
    assert edges.value == 0.0


def test_a_variant_without_its_original_has_no_gap() -> None:
    lonely = task_attempts("gone~large", "10", stratum="variant/large")
    values = variant_metrics(lonely, task_attempts("t0", "1"), seed=1)
    assert values["pass@1/variant/large"] is not None
    assert values["gap/variant/large"] is None
