"""Export `csv`: one line for each attempt."""

import pandas as pd

from plateau_bench.results.exports.source import facts


def export(source):
    table = pd.DataFrame(facts(one) | {"answer": one.trajectory.answer} for one in source.attempts)
    if not table.empty:
        yield "attempts.csv", table.to_csv(index=False).encode()
