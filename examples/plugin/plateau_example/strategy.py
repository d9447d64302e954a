"""Strategy `shortest`: learn from the shortest successes only."""

from dataclasses import dataclass

from plateau_bench.harness.strategies import Strategy, Usual
from plateau_bench.harness.strategies.params import Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortest(Usual):
    share: Share = 0.5
    """Share of the successes that is kept."""


def shortest(material, pool, params):
    by_length = sorted(pool, key=lambda attempt: len(attempt.trajectory.answer))
    return by_length[: max(1, round(params.share * len(pool)))]


SHORTEST = Strategy(
    summary="replace, on the shortest `share` of the successes",
    source="an example",
    params=Shortest,
    select=(shortest,),
)
