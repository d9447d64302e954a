"""Where the time of a round goes, on work whose share is known."""

import importlib
import inspect
import time

from experiments.speed.round import PHASES, Shares


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def idle(seconds: float) -> None:
    time.sleep(seconds)


def test_time_is_counted_for_the_innermost_known_function_and_only_in_the_rounds_asked_for() -> None:
    phases = {(__name__, "busy"): "busy", (__name__, "idle"): "idle"}
    events: list[tuple[str, int, int]] = []
    with Shares(phases) as shares:
        follow = shares.of_rounds(range(1, 2), lambda *event: events.append(event))
        follow("round", 0, 2)
        busy(0.1)
        follow("round", 1, 2)
        busy(0.2)
        idle(0.2)
        follow("training", 1, 1)
        sorted(range(1000))
        follow("round", 2, 2)
        busy(0.1)
    assert events == [("round", 0, 2), ("round", 1, 2), ("training", 1, 1), ("round", 2, 2)]
    assert {"busy", "idle"} <= set(shares.ticks) <= {"busy", "idle", "other"}
    assert 0.1 < shares.cpu["busy"] < 0.25
    assert shares.cpu["idle"] < 0.1
    # Processor time is that of all threads, the watching one included, so the wall may lag behind it.
    assert shares.seconds >= 0.2 + 0.95 * 0.2
    assert 0.2 <= shares.cpu_s < 0.4


def test_every_function_that_is_watched_exists() -> None:
    for module, name in PHASES:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert inspect.unwrap(found).__code__.co_qualname == name, (module, name)
