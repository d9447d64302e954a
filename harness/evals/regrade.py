"""`plateau regrade EVAL`: grade the answers again, at the tasks as they are now, and keep the verdicts."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.content import grading, listed
from plateau_bench.harness.evals import ledger
from plateau_bench.harness.evals.evaluation import read_evaluation, tasks_of
from plateau_bench.harness.evals.upkeep import grade_again
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore, hold
from plateau_bench.sandbox import open_backend


def regrade_evaluation(
    folder: Path, progress: Callable[[int], None], say: Callable[[str], None]
) -> list[tuple[Attempt, Attempt]]:
    """Grade every attempt again, with an empty memo: (before, after) of each. Raises ValueError.

    Attempts at tasks that are gone, or that an agent would see otherwise now, are left as they are and said.
    """
    store, what = EvalStore(folder), read_evaluation(folder, agents=True)
    tasks = {task.id: task for task in tasks_of(folder)[0]}
    kept = ledger.content(store.read_manifest())
    pairs: list[tuple[Attempt, Attempt]] = []
    with closing(Grader(open_backend(kept.get("sandbox", "auto"), say=say), None)) as grade:
        for spec in what.agents:
            if not store.attempts(spec.name).exists():
                continue
            with hold(store.lock(spec.name), str(store.root / spec.name)):
                found, left = grade_again(store, spec.name, tasks, grade, progress)
                pairs += found
                if left:
                    names = listed({one.task_id for one in left})
                    say(
                        f"{spec.name}: {len(left)} attempts stay as they are, for their tasks are others now "
                        f"({names}); 'plateau eval --out {folder} --retry changed' makes them again"
                    )
                else:
                    _note(store, spec.name)
    for path in folder.glob(f"{store.verdicts.name}*"):
        path.unlink(missing_ok=True)
    return pairs


def _note(store: EvalStore, name: str) -> None:
    def edit(row: dict[str, object]) -> None:
        one = ledger.content(row).get("agents", {}).get(name)
        if one is not None:
            one["grading"] = [grading()]

    ledger.change(store, edit)
