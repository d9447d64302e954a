"""All reproductions by name, with their claims. What needs torch is imported when it is played."""

from collections.abc import Mapping

from experiments.reproduce import categorical, judges
from experiments.reproduce.loops import looped
from experiments.reproduce.outcome import Outcome, Reproduction, Request


def named(name: str) -> Reproduction:
    """Raises ValueError with the names there are."""
    for known, reproduction in CATALOGUE.items():
        if known.lower() == name.lower():
            return reproduction
    raise ValueError(f"no reproduction {name!r}; choose one of {', '.join(CATALOGUE)}")


def _from_scratch(request: Request) -> Outcome:
    from experiments.reproduce.scratch import from_scratch

    return from_scratch(request)


CATALOGUE: Mapping[str, Reproduction] = {
    one.name: one
    for one in (
        Reproduction(
            name="E1",
            claim="a model trained from scratch on its predecessor's text alone gets worse each generation; "
            "keeping the data of all generations bounds the loss",
            source="Shumailov et al. 2305.17493; Gerstgrasser et al. 2404.01413; Kazdan et al. 2410.16713",
            cost="20 minutes",
            play=_from_scratch,
        ),
        Reproduction(
            name="E5",
            claim="refitting a categorical distribution to its own draws loses diversity by an exact law; "
            "accumulating bounds the loss",
            source="closed form; the workflows are those of Gerstgrasser et al. 2404.01413",
            cost="seconds",
            play=categorical.closed_form,
        ),
        Reproduction(
            name="E5b",
            claim="rare types go first; fresh data delays that, accumulating prevents it, low T hastens it",
            source="Shumailov et al. 2305.17493; Kazdan et al. 2410.16713 (fixed-budget accumulation)",
            cost="seconds",
            play=categorical.tail_table,
        ),
        Reproduction(
            name="E2",
            claim="verified self-training raises pass@1 while correct programs grow alike and pass@k does "
            "not rise; removing duplicates keeps the variety",
            source="Yue et al. 2504.13837; Wu et al. 2407.05013; Yuan et al. 2308.01825 (distinct paths)",
            cost="10 minutes",
            play=looped(judges.rise_and_narrowing, "loops", ("replace", "dedupe_cap", "inverse_freq")),
        ),
        Reproduction(
            name="E3",
            claim="a verifier that lets wrong programs through makes success rise, then fall: more, sooner",
            source="Feng et al. 2406.07515; 2510.16657 (imperfect verifiers)",
            cost="10 minutes",
            play=looped(judges.leaky_verifier, "loops", tuple(judges.LEAKS)),
        ),
        Reproduction(
            name="E4",
            claim="controls do not decline: no training, and training on fresh human programs only",
            source="A/A runs; error rate of PDT-1",
            cost="10 minutes",
            play=looped(judges.controls, "controls", ()),
        ),
        Reproduction(
            name="E6",
            claim="rare knowledge is lost first; a tenth of fresh human data halves the difference",
            source="Shumailov et al. 2305.17493; Dohmatob et al. 2402.07043",
            cost="8 minutes",
            play=looped(judges.tail_first, "loops", ("replace", "fresh_10")),
        ),
        Reproduction(
            name="E8",
            claim="the lower the sampling temperature of practice, the faster variety is lost",
            source="sampler ablation; Gerstgrasser et al. 2404.01413 vary it, too",
            cost="12 minutes",
            play=looped(judges.sampler, "loops", tuple(judges.SAMPLERS)),
        ),
    )
}
