"""With people: their programs, or their verdicts."""

from plateau_bench.harness.strategies.base import Strategy
from plateau_bench.harness.strategies.choices import (
    Checked,
    HumanShare,
    fresh_human,
    original_human,
    people_check,
)

STRATEGIES = {
    "fresh_human": Strategy(
        summary="replace, but a `fraction` of the examples are new human programs each round",
        source="fresh human data as a remedy for collapse; Shumailov et al. 2305.17493",
        params=HumanShare,
        human=fresh_human,
    ),
    "keep_original": Strategy(
        summary="replace, but a `fraction` comes from a human set drawn once, before round 0",
        source="keeping 10 % of the original data, Shumailov et al. 2305.17493",
        params=HumanShare,
        human=original_human,
    ),
    "human_budget": Strategy(
        summary="replace, but people check up to `verifications` novel or disputed successes a round",
        source="human verification as a budget; imperfect verifiers: Feng et al. 2406.07515",
        params=Checked,
        select=(people_check,),
    ),
}
