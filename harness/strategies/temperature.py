"""How good a batch of practice was, to choose a temperature by."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from plateau_bench.harness.strategies.choices import program_class
from plateau_bench.harness.strategies.params import Tempered
from plateau_bench.harness.strategies.verifiers import visible_tests
from plateau_bench.results.records import Attempt


def balance(attempts: Sequence[Attempt], params: Tempered) -> float:
    """Mean over tasks of min(distinct / target, 1) x distinct / accepted (B-STaR, 2412.17256).

    `distinct` counts classes among a task's accepted programs, `accepted` all of them; the target is the
    number of samples per task, so that a score of 1 is every sample right and none alike.
    """
    tasks: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tasks[attempt.task_id].append(attempt)
    scores = []
    for group in tasks.values():
        accepted = [attempt for attempt in group if visible_tests(attempt, params)]
        distinct = len(set(map(program_class, accepted)))
        scores.append(distinct / len(group) * distinct / len(accepted) if accepted else 0.0)
    return fmean(scores) if scores else 0.0
