"""Controls: what a remedy or a decline has to be compared with."""

from plateau_bench.harness.strategies.base import Strategy
from plateau_bench.harness.strategies.choices import Verified, any_attempt, only_fresh_human
from plateau_bench.harness.strategies.params import Params
from plateau_bench.harness.strategies.verifiers import Leaky, anything, leaky

STRATEGIES = {
    "no_train": Strategy(
        summary="control: never train, only measure again with fresh samples",
        source="A/A control",
        params=Params,
        trains=False,
    ),
    "random_filter": Strategy(
        summary="control: as many attempts as the verifier accepted, but random ones",
        source="random-filter control, 2509.10509",
        pool=any_attempt,
    ),
    "fresh_human_only": Strategy(
        summary="control: only new human programs, as many as replace has successes",
        source="negative control: no self-generated data",
        params=Verified,
        human=only_fresh_human,
    ),
    "unverified": Strategy(
        summary="control: replace without a verifier; learns from every attempt",
        source="no filter: 2509.10509; Shumailov et al. 2305.17493",
        verifier=anything,
    ),
    "wrong_verifier": Strategy(
        summary="control: the verifier also accepts a share `fp` of the wrong programs",
        source="positive control for decline; imperfect verifiers: Feng et al. 2406.07515, 2510.16657",
        params=Leaky,
        verifier=leaky,
    ),
}
