"""The metrics of drift: what a report and docs/metrics.md say of the values of `drift_values`.

They exist where what improves has weights, and are listed apart from their formulas so that a report can be
made without torch.
"""

import math
from functools import partial

from plateau_bench.results.metrics.estimators import Values
from plateau_bench.results.metrics.metric import Metric, Panel, Population, RoundData


def _drift(data: RoundData) -> Values:
    if not data.models or data.samples is None or data.reference is None:
        return {}
    from plateau_bench.results.metrics.drift_values import drift_metrics  # loads torch

    return drift_metrics(data.samples, data.models, data.reference, data.seed)


_metric = partial(Metric, function=_drift, bounds=(0.0, math.inf))
_nats = partial(_metric, unit="nats/token", good="steady")
_perplexity = partial(_metric, unit="tokens", good="down", population=Population.HUMAN)
_distance = partial(Panel, "drift", min_span=0.05, reference=0.0)

METRICS = (
    _nats("token_entropy", "mean entropy of the next-token distribution", population=Population.BANK,
        panels=(Panel("variety", "Token entropy, fixed texts", "How undecided the model is about the next "
            "token on texts that never change, in nats. Falling means it grows surer; that is good news only "
            "while success grows too.", min_span=0.1),)),
    _nats("token_entropy_onpolicy", "the same on the model's own text", population=Population.FREE,
        panels=(Panel("variety", "Token entropy, own texts", "The same on what the model itself writes, in "
            "nats. Near zero, there is nothing left to explore and little left to gain from more rounds.",
            min_span=0.1),)),
    _nats("kl_base", "KL(base‖now): what was forgotten", source="Amini et al. 2025 (2504.10637)",
        good="down", population=Population.BANK,
        panels=(_distance("KL (base ‖ current)", "How much of the base model's behaviour the current one no "
            "longer covers, in nats per token. Lower is safer; this direction reacts to forgotten "
            "behaviour."),)),
    _nats("kl_from_base", "KL(now‖base): how far it moved", good="unclear", population=Population.FREE,
        panels=(_distance("KL (current ‖ base)", "How far the current model's own writing is from the base "
            "model, in nats per token. It must move to learn; steadily faster movement is a warning."),)),
    _nats("kl_prev", "KL(now‖previous round)", good="unclear", population=Population.FREE,
        panels=(_distance("KL between successive rounds", "How far one round moved the model, in nats per "
            "token. A value that shrinks means the loop is settling; one that grows means it is not."),)),
    _perplexity("self_ppl", "perplexity of the model on its own text; **falls** during collapse",
        good="steady", population=Population.FREE),
    _metric("excess_ce", "cross-entropy on human programs minus the base model's; the entropy of the authors "
        "cancels. 0 at round 0", unit="bits/token", good="down", population=Population.HUMAN,
        bounds=(-math.inf, math.inf),
        panels=(Panel("memory", "Excess cross-entropy on human text", "Extra bits per token needed to "
            "predict held-out human text, compared with the base model. Lower is better; zero means nothing "
            "was lost.", min_span=0.05, reference=0.0),)),
    _perplexity("rare_ppl", "`human_ppl` over token types that cover the rarest tenth of the human corpus's "
        "occurrences",
        panels=(Panel("memory", "Rare-token perplexity", "How surprised the model is by rare tokens in "
            "held-out human text. Lower is better; a rise means rare knowledge is being lost."),)),
    _perplexity("human_ppl", "perplexity on human programs",
        panels=(Panel("memory", "Perplexity of human text", "How surprised the model is by held-out human "
            "text as a whole. Lower is better."),)),
    _perplexity("ppl/<head, torso>", "`human_ppl` over the types that cover the most frequent half, and over "
        "what lies between these and the tail of `rare_ppl`"),
    _perplexity("context_rare_ppl", "`human_ppl` over tokens to which the base model gave a probability of "
        "0.0001 to 0.01: unlikely where they stand, whatever their type"),
)  # fmt: skip
