"""Records as pandas tables, for people who want to analyse a run themselves."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from plateau_bench.results.records import Attempt, RunResults, flat

if TYPE_CHECKING:
    import pandas as pd

METRIC_COLUMNS = ("arm", "seed", "round", "metric", "value", "low", "high", "n")
ATTEMPT_COLUMNS = (
    *("arm", "seed", "round", "split", "task_id", "task_digest", "stratum", "cluster", "sample"),
    *("temperature", "agent", "model", "sampling_seed", "answer", "ending", "outcome", "passed", "verified"),
    *("reason", "prompt_tokens", "completion_tokens", "duration_s"),
)


def metrics_frame(results: RunResults) -> "pd.DataFrame":
    """One row per (arm, seed, round, metric); a metric without a value has NaN in value, low, high and n.

    >>> metrics_frame(results).query("metric == 'pass@1'").pivot(index="round", columns="arm", values="value")
    """
    import pandas as pd

    nothing = (None, None, None, None)
    rows = [
        (arm, seed, record.metrics.round, name, *(estimate or nothing))
        for arm, by_seed in results.rounds.items()
        for seed, records in by_seed.items()
        for record in records
        for name, estimate in record.metrics.values.items()
    ]
    frame = pd.DataFrame(rows, columns=list(METRIC_COLUMNS))
    return frame.astype({"value": float, "low": float, "high": float, "n": float})


def attempts_frame(attempts: Iterable[Attempt]) -> "pd.DataFrame":
    """One row per attempt: who, which task, what came out. Token ids and log-probabilities are left out.

    >>> attempts_frame(store.attempts()).groupby(["arm", "round"])["passed"].mean()
    """
    import pandas as pd

    rows = [(row := flat(one)) | {"passed": row["outcome"] == "passed"} for one in attempts]
    return pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS))
