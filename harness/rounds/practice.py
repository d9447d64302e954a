"""Practice on the train tasks, at the config's temperature or at one that won a trial."""

import random
import shutil
from collections import Counter
from functools import partial
from typing import Any

from plateau_bench.harness.rounds.workbench import Workbench
from plateau_bench.harness.seeds import derive
from plateau_bench.harness.strategies.base import Balance
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.records import Attempt, Purpose
from plateau_bench.results.store import write_bytes
from plateau_bench.tasks.base import Outcome


def practise(bench: Workbench, index: int, checkpoint: str) -> list[Attempt]:
    """Attempts on the train tasks, verified by their visible tests.

    Round 0 is shared by all arms, so there every arm practises at the config's temperature.
    """
    if index == 0:
        return bench.roll_out(index, checkpoint, Purpose.PRACTISE)
    if bench.strategy.balance is None:
        return bench.roll_out(index, checkpoint, Purpose.PRACTISE, temperature=bench.arm.params.temperature)
    return practise_balanced(bench, index, checkpoint, bench.strategy.balance)


def practise_balanced(bench: Workbench, index: int, checkpoint: str, balance: Balance) -> list[Attempt]:
    """Half of the tasks try the temperatures of the arm, in equal groups; the rest take the winner.

    Every task is attempted as often as in the other arms. The groups are drawn anew each round.
    """
    folder = bench.folder(index)
    log = folder.attempts(Purpose.PRACTISE)
    if log.exists():
        return list(read_attempts(log))
    grid = bench.arm.params.temperatures
    tasks = list(bench.practice_tasks(index))
    random.Random(derive(bench.seed, bench.arm_name, index, "temperatures")).shuffle(tasks)
    size = max(1, len(tasks) // (2 * len(grid)))
    parts = [folder.trials / f"{number}.jsonl" for number in range(len(grid) + 1)]

    def part(number: int, first: int, last: int | None, temperature: float) -> list[Attempt]:
        attempt = partial(bench.roll_out, index, checkpoint, Purpose.PRACTISE)
        return attempt(tasks=tasks[first:last], temperature=temperature, path=parts[number])

    trials = [part(i, i * size, (i + 1) * size, temperature) for i, temperature in enumerate(grid)]
    scores = [balance(attempts, bench.arm.params) for attempts in trials]
    part(len(grid), len(grid) * size, None, grid[scores.index(max(scores))])
    write_bytes(log, b"".join(path.read_bytes() for path in parts))  # appears whole: what resuming looks for
    shutil.rmtree(folder.trials)
    return list(read_attempts(log))


def practice_facts(practised: list[Attempt]) -> dict[str, Any]:
    """How practice went, by the visible tests (what was known) and the hidden ones (what was true)."""
    verified = [attempt for attempt in practised if attempt.verdict.verified]
    right = sum(attempt.verdict.outcome is Outcome.PASSED for attempt in verified)
    temperatures = Counter(attempt.temperature for attempt in practised)
    return {
        "practice_attempts": len(practised),
        "practice_verified": len(verified),
        "practice_precision": right / len(verified) if verified else None,
        "practice_temperature": temperatures.most_common(1)[0][0] if temperatures else None,
    }
