"""Metrics as objects: names and patterns, the door for other packages, and what is made from the list."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from plateau_bench.harness.rounds.measure import measure
from plateau_bench.results.frames import metrics_frame
from plateau_bench.results.metrics import registry
from plateau_bench.results.metrics.metric import Family, Metric, Population, RoundData
from plateau_bench.results.metrics.registry import FAMILIES, bounds, find, metrics, shares_attempts
from plateau_bench.results.records import Attempt, Estimate, RoundRecord, RunResults
from plateau_bench.results.report.content import build_report
from plateau_bench.results.report.page import render_page
from plateau_bench.results.report.panels import groups
from tests.results.attempts import task_attempts

PLUGIN = """
import sys
import numpy as np
from plateau_bench.results.metrics.metric import Metric, Panel, Population

def characters(data):
    sums = dict.fromkeys(data.table.task_ids, 0.0)
    for attempt in data.attempts:
        sums[attempt.task_id] += len(attempt.trajectory.answer)
    return np.array(list(sums.values())) / data.table.n

LENGTH = Metric(
    "characters", "characters of an answer, mean over tasks", function=characters, unit="characters",
    good="unclear", population=Population.GRADED, bounds=(0.0, 1000.0),
    panels=(Panel("Shape", "Characters", "How long an answer is."),),
)
TAKEN = Metric(
    "pass@3", "x", function=characters, unit="", good="up", population=Population.GRADED,
)
NONE = "no metric"
"""
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package on the path that declares one attribute of PLUGIN as a metric."""

    def package(attribute: str) -> None:
        info = tmp_path / "lengths-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[plateau_bench.metrics]\nmine = lengths:{attribute}\n")
        (tmp_path / "lengths.py").write_text(PLUGIN)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "lengths", raising=False)
        registry.metrics.cache_clear()

    yield package
    registry.metrics.cache_clear()


def attempts() -> list[Attempt]:
    return [a for i in range(9) for a in task_attempts(f"t{i}", "1100")]


def test_a_metric_of_an_installed_package_is_measured_reported_and_drawn(install: Install) -> None:
    install("LENGTH")
    found = measure(0, attempts(), attempts(), None, {}, None, seed=1)
    length = float(len(attempts()[0].trajectory.answer))
    assert found.values["characters"] == (length, length, length, 9)
    assert found.per_task["characters"] == (length,) * 9
    record = RoundRecord(arm="a", seed=1, metrics=found, checkpoint_in="", checkpoint_out=None)
    results = RunResults(name="run", config={}, environment={}, rounds={"a": {1: (record,)}})
    report = build_report(results)
    assert report["arms"]["a"]["rounds"][0]["metrics"]["characters"]["value"] == length
    assert 'id="figure-characters"' in render_page(report)
    assert '<h3 id="g-Shape">Shape</h3>' in render_page(report)
    assert set(metrics_frame(results).query("metric == 'characters'")["value"]) == {length}
    assert bounds("characters") == (0.0, 1000.0)
    assert shares_attempts("characters")


@pytest.mark.parametrize(
    ("attribute", "message"), [("TAKEN", "'pass@3' of 'mine' is taken"), ("NONE", "not a Metric")]
)
def test_what_is_no_new_metric_is_refused(install: Install, attribute: str, message: str) -> None:
    install(attribute)
    with pytest.raises(ValueError, match=message):
        metrics()


def test_an_actor_without_weights_has_no_measures_of_drift() -> None:
    found = measure(0, attempts(), attempts(), None, {}, None, seed=1)
    assert "pass@1" in found.values
    assert not {m.name for m in FAMILIES["drift"]} & set(found.values)


def test_a_name_belongs_to_the_metric_of_that_name_first() -> None:
    def name(of: str) -> str | None:
        metric = find(of)
        return metric and metric.name

    assert name("pass@1") == name("pass@8") == "pass@<k>"
    assert name("pass@1/tail") == "pass@1/<head, torso, tail>"
    assert name("pass@1/odd") == "pass@1/<even, odd>"
    assert name("solved/only_now") == "solved/<both, only_base, only_now, neither>"
    assert name("solved/all") is name("pass@") is name("retention_middle") is None
    assert name("pass@1/variant/rename") == "pass@1/variant/<kind>"
    assert name("distinct2") == "<distinct1, distinct2>"
    assert name("hill1") == "hill1"
    assert bounds("hill1") == (1.0, 4.0)
    assert bounds("unheard of") == (-np.inf, np.inf)


def test_what_shares_the_graded_attempts() -> None:
    shared = (
        *("pass@1", "pass^2", "cover@0.5", "solved/both", "forgetting", "retention", "keep_tail"),
        *("gap/variant/edge", "ending/submitted", "truncated", "completion_tokens", "infra", "hack_rate"),
        *("verified_precision", "turns", "tool_calls", "malformed_turns", "distinct_actions", "hill1_all"),
        *(
            "effective@8",
            "utility@8",
            "simpson",
            "chao1",
            "class_coverage",
            "vendi",
            "embedding_distance_all",
        ),
        *("compression_ratio", "overconfidence", "brier/text", "ece", "auroc"),
    )
    free = (
        *("distinct4", "distinct1", "unique4", "ngram_entropy", "ead", "tail_vocabulary", "self_bleu"),
        *("token_entropy", "kl_base", "kl_prev", "self_ppl", "human_ppl", "ppl/head", "excess_ce"),
        *("selected_precision", "a name of nothing"),
    )
    assert [name for name in shared if not shares_attempts(name)] == []
    assert [name for name in free if shares_attempts(name)] == []


def test_names_are_single_and_every_panel_has_a_group_and_a_metric() -> None:
    names = [metric.name for metric in metrics()]
    assert len(set(names)) == len(names)
    panels = [panel for group in groups() for panel in group.panels]
    assert len(panels) == sum(len(metric.panels) for metric in metrics())
    for panel in panels:
        metric = find(panel.metric)
        assert metric, panel
        assert panel.title in {p.title for p in metric.panels}


def test_values_per_task_must_fit_the_tasks() -> None:
    data = RoundData(attempts=attempts(), base_attempts=attempts(), seed=0)

    def metric(result: object) -> Metric:
        return Metric(
            "m",
            "",
            function=lambda _: result,
            unit="",
            good="up",
            population=Population.GRADED,  # type: ignore
        )

    assert metric(None).compute(data) == Family({"m": None}, {})
    assert metric(Estimate(1.0, 0.0, 2.0, 3)).compute(data).values == {"m": (1.0, 0.0, 2.0, 3)}
    assert metric(Family({"a": None}, {})).compute(data) == Family({"a": None}, {})
    with pytest.raises(ValueError, match=r"metric m: \(2,\) values for 9 tasks"):
        metric(np.zeros(2)).compute(data)
