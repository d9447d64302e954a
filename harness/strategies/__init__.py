"""Strategies by name: those that ship with plateau, and the way to those of others (docs/strategies.md).

May import `learning` and `seeds` of this package; attempts, configs and rounds are unknown here.
"""

from collections.abc import Mapping

from plateau_bench.harness.strategies.arms import controls, data, human, weights
from plateau_bench.harness.strategies.base import Material, Strategy, Trial
from plateau_bench.harness.strategies.params import Params, Tempered, Trained, Usual
from plateau_bench.plugins import load, outside

__all__ = [
    "STRATEGIES",
    "Material",
    "Params",
    "Strategy",
    "Tempered",
    "Trained",
    "Trial",
    "Usual",
    "every",
    "find",
]

STRATEGIES: Mapping[str, Strategy] = (
    data.STRATEGIES | human.STRATEGIES | weights.STRATEGIES | controls.STRATEGIES
)


def find(name: str) -> Strategy:
    """The strategy that a config calls `name`: one of plateau's, an entry point, a dotted path or a file.

    Raises ValueError if there is none.
    """
    found = load("strategies", name, STRATEGIES)
    if not isinstance(found, Strategy):
        raise ValueError(f"strategies: {name!r} is no Strategy but a {type(found).__name__}")
    return found


def every() -> Mapping[str, Strategy]:
    """All strategies that have a short name, those of installed packages included."""
    return {**STRATEGIES, **outside("strategies")}
