import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from plateau_bench.results.records import RunResults
from plateau_bench.results.report.content import build_report
from plateau_bench.results.report.figures import PALETTE, colour_of, draw, sparkline
from plateau_bench.results.report.page import render_page
from plateau_bench.results.report.panels import groups
from tests.results.synthetic import DRIFT, make_results, rise_then_fall, rise_then_level

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "br", "link", "img", "hr"}


class Outline(HTMLParser):
    """Tags with attributes, text outside <style>, and whether every tag was closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture(scope="module")
def hostile() -> RunResults:
    results = make_results({HOSTILE: rise_then_fall, "fresh_human": rise_then_level}, rounds=4, tasks=40)
    return replace(
        results,
        name=f"run {HOSTILE}",
        config={**results.config, HOSTILE: {"key": HOSTILE}},
        environment={**results.environment, "device": HOSTILE},
    )


@pytest.fixture(scope="module")
def page(hostile: RunResults) -> str:
    return render_page(build_report(hostile))


@pytest.fixture(scope="module")
def parsed(page: str) -> Outline:
    return outline(page)


def test_names_from_outside_are_text_and_never_markup(page: str, parsed: Outline) -> None:
    assert "<script" not in page
    assert not any(tag == "script" for tag, _ in parsed.tags)
    assert parsed.text.count(HOSTILE) > 10


def test_nothing_is_loaded_from_anywhere(page: str, parsed: Outline) -> None:
    assert not re.search(r"https?://|\bsrc=|@import|<link|url\((?!#)", page)
    links = [attrs["href"] for _, attrs in parsed.tags if attrs.get("href")]
    assert links
    assert all(link and link.startswith("#") for link in links)


def test_every_measured_panel_is_drawn_with_words_for_those_who_cannot_see_it(parsed: Outline) -> None:
    drawn = [attrs for tag, attrs in parsed.tags if tag == "svg" and attrs.get("role") == "img"]
    labels = [attrs["aria-label"] or "" for attrs in drawn]
    titles = {label.split(" over rounds.")[0] for label in labels}
    measured = {panel.title for group in groups() for panel in group.panels} - {
        "Tampering",  # zero throughout, so these two are told instead of drawn
        "Not gradable",
    }
    assert titles == measured
    assert len(labels) == len(titles)
    assert "Zero in every round of every arm: not gradable, tampering." in parsed.text
    assert all("fresh_human: " in label for label in labels)


def test_ids_are_unique_and_references_resolve(page: str, parsed: Outline) -> None:
    ids = Counter(attrs["id"] for _, attrs in parsed.tags if "id" in attrs)
    assert [name for name, count in ids.items() if count > 1] == []
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | {
        (attrs["href"] or "")[1:] for _, attrs in parsed.tags if "href" in attrs
    }
    assert used <= set(ids)


def test_page_is_navigable(parsed: Outline) -> None:
    assert ("html", {"lang": "en"}) in parsed.tags
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(attrs.get("scope") for tag, attrs in parsed.tags if tag == "th")


def test_what_was_not_measured_is_said_and_not_drawn() -> None:
    gone = DRIFT | {"hill1", "pass@8"}
    parsed = outline(render_page(build_report(make_results(rounds=3, tasks=30, without=gone))))
    line = re.search(r"Not measured in this run: ([^.]*)\.", parsed.text)
    assert line is not None
    assert {"Distinct 4-grams", "KL (base ‖ current)", "pass@8"} <= set(line.group(1).split(", "))
    assert "figure-distinct4" not in {attrs.get("id") for _, attrs in parsed.tags}


def test_an_arm_keeps_its_colour_on_every_figure() -> None:
    report = build_report(make_results(rounds=3, tasks=30))
    lone = report | {"arm_order": ["replace"]}
    for group in groups()[:3]:
        panel = group.panels[0]
        both, one = draw(report, group, panel), draw(lone, group, panel)
        assert both is not None
        assert one is not None
        assert {colour_of(report, arm).lower() for arm in report["arm_order"]} <= _colours(both)
        assert _colours(one) & {c.lower() for c in PALETTE} == {PALETTE[0].lower()}


def test_many_long_odd_names_are_drawn_without_trouble() -> None:
    names = [f"$x_{i}$ & <b> 日本 _long name that goes on" for i in range(9)]
    results = make_results(dict.fromkeys(names, rise_then_fall), rounds=2, tasks=20)
    svg = draw(build_report(results), groups()[0], groups()[0].panels[0])
    assert svg is not None
    assert outline(svg).text.count("日本") == 9


def test_a_gap_splits_the_line_and_one_point_is_still_shown() -> None:
    report = build_report(make_results(rounds=4, tasks=20))
    for row in report["arms"]["replace"]["rounds"]:
        row["metrics"]["rare_ppl"] = None if row["round"] in (1, 2) else row["metrics"]["rare_ppl"]
    group = next(g for g in groups() if g.key == "memory")
    panel = next(p for p in group.panels if p.metric == "rare_ppl")
    svg = draw(report | {"arm_order": ["replace"]}, group, panel)
    assert svg is not None
    assert "at round 0" in svg
    assert "at round 3" in svg
    assert "nan" not in svg.lower()


def test_sparkline_needs_two_values_and_stays_inside_its_box() -> None:
    assert sparkline([None, 0.4], "#000000", (0.0, 1.0)) == ""
    svg = sparkline([0.2, None, 0.9, 0.9], "#000000", (0.2, 0.9))
    points = [tuple(map(float, p.split(","))) for p in re.findall(r"[\d.]+,[\d.]+", svg)]
    assert len(points) == 3
    assert all(0 <= x <= 96 and 0 <= y <= 24 for x, y in points)
    assert points[0][1] > points[1][1], "a higher value is drawn higher"


def _colours(svg: str) -> set[str]:
    return {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}\b", svg)}
