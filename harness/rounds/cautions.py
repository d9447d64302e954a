"""What a run's terminal says as soon as it is known, for it decides what the numbers will mean."""

from plateau_bench.results.report.sentences import MUCH_CUT_OFF, percent
from plateau_bench.results.store import SHARED, RunStore, read_json, record_from_json


def cautions(store: RunStore, seed: int, arm: str) -> list[str]:
    """Return lines on a finished job: answers that were cut off in round 0, rounds that trained nothing."""
    if arm == SHARED:
        record = record_from_json(read_json(store.round(seed, SHARED, 0).record))
        cut = record.metrics.values.get("truncated")
        if cut is None or cut.value <= MUCH_CUT_OFF:
            return []
        return [
            f"seed {seed}: {percent(cut.value)} of the attempts of round 0 ended at their token limit; "
            "raise agent.completion_tokens, or the figures measure the limit"
        ]
    idle = [
        str(index)
        for index, record in enumerate(store.finished_rounds(seed, arm))
        if record.training.get("examples") == 0
    ]
    if not idle:
        return []
    rounds = "round " + idle[0] if len(idle) == 1 else "rounds " + ", ".join(idle)
    return [f"seed {seed} {arm}: nothing passed in practice of {rounds}, so nothing was trained there"]
