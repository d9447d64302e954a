"""How much worse a model does on variants of the held-out tasks than on the tasks themselves."""

from collections.abc import Sequence

import numpy as np

from plateau_bench.results.metrics.estimators import Values, mean_interval
from plateau_bench.results.metrics.metric import RATE, Metric, Population
from plateau_bench.results.metrics.pass_table import pass_table
from plateau_bench.results.records import Attempt


def variant_metrics(variants: Sequence[Attempt], originals: Sequence[Attempt], *, seed: int) -> Values:
    """'pass@1/variant/<kind>', and 'gap/variant/<kind>': pass@1 of variants minus that of their originals.

    The gap is paired by task (a variant's id is its original's, '~' and the kind); intervals resample
    clusters. Variants whose original was not measured are left out of the gap.
    """
    table, base = pass_table(variants), pass_table(originals)
    rates = dict(zip(base.task_ids, base.c / base.n, strict=True))
    before = np.array([rates.get(name.rpartition("~")[0], np.nan) for name in table.task_ids])
    now, strata = table.c / table.n, np.array(table.strata)
    values: Values = {}
    for stratum in sorted(set(table.strata)):
        here = np.where(strata == stratum, now, np.nan)
        values[f"pass@1/{stratum}"] = mean_interval(here, table.clusters, seed=seed, bounds=(0.0, 1.0))
        values[f"gap/{stratum}"] = mean_interval(here - before, table.clusters, seed=seed, bounds=(-1.0, 1.0))
    return values


METRICS = (
    Metric("pass@1/variant/<kind>", "`pass@1` over variants of the held-out tasks: rename, paraphrase, edge, "
        "large ([tasks.md](tasks.md)); only with `tasks.variants`", function=None, unit="share", good="up",
        population=Population.VARIANTS, bounds=RATE),
    Metric("gap/variant/<kind>", "pass share of a variant minus that of its original, mean over tasks; below "
        "0 is a loss", function=None, unit="difference of shares", good="up", population=Population.VARIANTS,
        bounds=(-1.0, 1.0)),
)  # fmt: skip
"""The round measures these on attempts of their own, after all others."""
