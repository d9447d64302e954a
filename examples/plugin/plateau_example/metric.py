"""Metric `answer_length`: how long answers are."""

import numpy as np

from plateau_bench.results.metrics.metric import Metric, Panel, Population


def answer_length(data):
    total = dict.fromkeys(data.table.task_ids, 0)
    for attempt in data.attempts:
        total[attempt.task_id] += len(attempt.trajectory.answer)
    return np.array(list(total.values())) / data.table.n


LENGTH = Metric(
    "answer_length",
    "characters of an answer, mean over tasks",
    function=answer_length,
    unit="characters",
    good="unclear",
    population=Population.GRADED,
    panels=(Panel("checks", "Length of an answer", "A strong drift is worth a look at the answers."),),
)
