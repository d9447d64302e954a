"""Which rounds' successes, and which of them."""

from plateau_bench.harness.strategies.base import Strategy
from plateau_bench.harness.strategies.choices import (
    Capped,
    Filtered,
    Hard,
    all_rounds,
    distinct_capped,
    everything,
    hard_tasks,
    most_surprising,
    rare_classes_first,
)
from plateau_bench.harness.strategies.discriminator import least_seen

STRATEGIES = {
    "replace": Strategy(
        summary="fine-tune the latest model on this round's own successes only",
        source="naive self-training; the 'replace' workflow of Gerstgrasser et al. 2404.01413",
    ),
    "accumulate": Strategy(
        summary="on the successes of all rounds so far: the training set, and the compute, grow",
        source="Gerstgrasser et al. 2404.01413",
        pool=all_rounds,
        draw=everything,
    ),
    "accumulate_subsample": Strategy(
        summary="on as many successes as replace, drawn from all rounds so far",
        source="fixed-compute accumulation, Kazdan et al. 2410.16713",
        pool=all_rounds,
    ),
    "dedupe_cap": Strategy(
        summary="replace, but one success per class of programs and at most `cap` per task",
        source="distinct solutions: RFT, Yuan et al. 2308.01825; a cap: ReST-EM, Singh et al. 2312.06585",
        params=Capped,
        select=(distinct_capped,),
    ),
    "inverse_freq": Strategy(
        summary="replace, but each class of programs of a task is drawn equally often",
        source="up-weighting unlikely successes, He et al. 2506.02355, as data weights",
        draw=rare_classes_first,
    ),
    "hard_only": Strategy(
        summary="only successes on tasks solved at most `successes` times this round",
        source="updating only on tasks of (near) zero success, 2606.15455",
        params=Hard,
        select=(hard_tasks,),
    ),
    "surprise_filter": Strategy(
        summary="only the `share` of the successes that surprised the model most",
        source="Learning by surprise, 2410.12341",
        params=Filtered,
        select=(most_surprising,),
    ),
    "diversity_discriminator": Strategy(
        summary="only the `share` that a classifier finds least like earlier rounds' successes",
        source="detector-weighted resampling, 2502.15654; here a logistic classifier of generations",
        params=Filtered,
        select=(least_seen,),
    ),
}
