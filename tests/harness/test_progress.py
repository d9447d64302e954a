import io

import pytest
from rich.console import Console

from plateau_bench.harness.rounds.progress import PREPARE_UNITS, Display

EVENTS = [
    ((1, "shared"), "pretraining", 5, 10),
    ((1, "shared"), "evaluate", 3, 3),
    ((1, "replace"), "round", 0, 3),
    ((1, "replace"), "training", 1, 2),
    ((1, "replace"), "round", 1, 3),
]


def shown(*, terminal: bool) -> str:
    text = io.StringIO()
    display = Display(Console(file=text, force_terminal=terminal, width=120))
    display.plan([1], "shared", ["replace"], 3)
    with display:
        display.begin((1, "shared"))
        display.begin((1, "replace"))
        for event in EVENTS:
            display.show(*event)
        display.finished((1, "shared"))
    assert display.total == PREPARE_UNITS + 3
    assert display.done == pytest.approx(PREPARE_UNITS + 1)
    return text.getvalue()


def test_a_terminal_shows_phase_round_and_time_left() -> None:
    screen = shown(terminal=True)
    assert "whole run" in screen
    assert "seed 1 replace" in screen
    assert "left" in screen


def test_a_log_gets_a_line_per_phase_of_preparing_and_per_round() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.split("] ")[1] for line in lines if "replace" in line] == [
        "seed 1 replace: round 1/3 finished"
    ]
    assert any(line.endswith("shared: pretraining") for line in lines)
