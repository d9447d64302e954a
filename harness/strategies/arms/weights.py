"""Other ways to fine-tune, to sample, and to pick the checkpoint that goes on."""

from plateau_bench.harness.strategies.base import Strategy
from plateau_bench.harness.strategies.corruption import Noise, corrupt_inputs
from plateau_bench.harness.strategies.lessons import Mixed, Truncated, mixed, truncated
from plateau_bench.harness.strategies.next_checkpoint import Gate, Patient, best_so_far, not_worse
from plateau_bench.harness.strategies.params import Tempered
from plateau_bench.harness.strategies.temperature import balance

STRATEGIES = {
    "reset_base": Strategy(
        summary="fine-tune the base model, not the latest one, on this round's own successes",
        source="ReST-EM, Singh et al. 2312.06585",
        start="base",
    ),
    "wise_ft": Strategy(
        summary="replace, then mix the weights: `lam` of the new ones, the rest of the base",
        source="WiSE-FT for reasoning, Dang et al. 2504.10478",
        params=Mixed,
        learn=mixed,
    ),
    "truncated_ce": Strategy(
        summary="replace, but no loss on tokens that the model already gives more than `gamma`",
        source="truncated cross-entropy: ForTIFAI, 2509.08972",
        params=Truncated,
        learn=truncated,
    ),
    "noise": Strategy(
        summary="replace, but each input token is swapped for another with chance `p`",
        source="noise against collapse, at a price in accuracy: a claim to be tested",
        params=Noise,
        change=corrupt_inputs,
    ),
    "adaptive_temperature": Strategy(
        summary="replace, but each round's practice temperature wins a trial among `temperatures`",
        source="balance score: B-STaR, Zeng et al. 2412.17256",
        params=Tempered,
        balance=balance,
    ),
    "gate": Strategy(
        summary="replace, but a round that is worse on a selection split is rolled back",
        source="model selection; the same data never selects and reports",
        params=Gate,
        judge=not_worse,
    ),
    "early_stop_rollforward": Strategy(
        summary="replace, but after `patience` rounds without gain the best checkpoint goes on",
        source="early-stop roll-forward, 2606.21090",
        params=Patient,
        judge=best_so_far,
    ),
}
