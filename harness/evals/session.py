"""One command's work on an evaluation: all agents, in order, and what is open at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from plateau_bench.agents.base import ModelUnavailable
from plateau_bench.harness.content import listed
from plateau_bench.harness.evals import ledger
from plateau_bench.harness.evals.attempting import Counted, evaluate_agent
from plateau_bench.harness.evals.check import prove
from plateau_bench.harness.evals.evaluation import Evaluation
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox.base import Backend

if TYPE_CHECKING:
    from plateau_bench.agents.models.endpoint import Budget


def carry_out(
    folder: Path,
    what: Evaluation,
    backend: Backend,
    *,
    at_once: int,
    budget: "Budget",
    retry: frozenset[str],
    progress: Counted,
    say: Callable[[str], None],
) -> str:
    """Make all attempts that are open; returns why some still are, or ''."""
    store = EvalStore(folder)
    before = ledger.content(store.read_manifest()).get("chosen") or () if store.manifest.exists() else ()
    tasks, out = what.choice(before)
    if out:
        say(f"{len(out)} tasks are in quarantine and left out; --quarantine none takes them")
    _say_of_tasks(before, [task.id for task in tasks], say)
    folder.mkdir(parents=True, exist_ok=True)
    for line in what.save(folder, retry):
        say(line)

    def note(row: dict[str, object]) -> None:
        kept = ledger.content(row)
        kept["sandbox"] = backend.name

    ledger.change(store, note)
    prove(folder, what, backend, budget, say)
    limited = budget.usd is not None or budget.tokens is not None
    open_ones = []
    for spec in what.agents:
        try:
            made = evaluate_agent(
                folder, what, spec, tasks, backend,
                at_once=at_once, budget=budget, progress=progress, retry=retry, say=say,
            )  # fmt: skip
        except ModelUnavailable as error:
            return f"{spec.name}: {error}; what is finished is kept, and the same command goes on"
        total = len(tasks) * what.samples
        if len(made) < total:
            open_ones.append(f"{spec.name}: {total - len(made)} of {total} attempts are open")
    if not open_ones:
        return ""
    how = "the same command makes them"
    if limited:
        how += "; if the budget is spent, with a larger --max-usd or --max-tokens"
    return f"{'; '.join(open_ones)}; {how}"


def _say_of_tasks(before: object, now: list[str], say: Callable[[str], None]) -> None:
    old = {*before} if isinstance(before, list) else set()
    if old and (gone := old - {*now}):
        say(f"{len(gone)} tasks are not taken any more and count no longer: {listed(gone)}")
    if old and (new := {*now} - old):
        say(f"{len(new)} tasks are new: {listed(new)}")
