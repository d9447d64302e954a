"""What may be shown of an evaluation: its attempts, of how many, and whether they are still true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plateau_bench.harness.content import differing, listed
from plateau_bench.harness.evals.evaluation import read_evaluation, tasks_of
from plateau_bench.harness.evals.ledger import content, rests_on
from plateau_bench.harness.evals.upkeep import of_budget, stale
from plateau_bench.results.attempt_log import in_order
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore
from plateau_bench.tasks.base import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One agent's part of a table."""

    attempts: Sequence[Attempt]
    planned: int | None
    """Attempts to make in all; None where that was not kept."""


def shown(folder: Path, as_recorded: bool, say: Callable[[str], None]) -> dict[str, Shown]:
    """Agent -> what it made. Raises ValueError for a folder without evaluation.

    Raises ValueError, too, if tasks, weights or files are not what they were, unless `as_recorded`: the
    numbers would pass for those of what lies there now.
    """
    store, what = EvalStore(folder), read_evaluation(folder, agents=True)
    kept = content(store.read_manifest())
    tasks: Sequence[Task] | None = None
    if not as_recorded:
        try:
            tasks, _ = tasks_of(folder)
        except ValueError as error:
            say(f"{folder}: shown as recorded, for the suite cannot be read: {error}")
    count = len(tasks) if tasks is not None else len(kept["chosen"]) if kept.get("chosen") else what.tasks
    found, problems = {}, []
    codes: set[str] = set()
    for spec in what.agents:
        made = [one for one in in_order(store.attempts(spec.name)) if not of_budget(one.trajectory)]
        made = [one for one in made if one.sample < what.samples]
        known = kept.get("agents", {}).get(spec.name, {})
        codes |= {*known.get("grading", [])}
        if tasks is not None:
            by_id = {task.id: task for task in tasks}
            gone = {one.task_id for one in made} - by_id.keys()
            if gone:
                say(
                    f"{spec.name}: attempts at tasks that are not taken any more do not count: {listed(gone)}"
                )
            made = [one for one in made if one.task_id in by_id]
            if old := stale(made, by_id):
                problems.append(f"tasks {listed({one.task_id for one in old})} ({spec.name})")
            problems += _other_content(known.get("rests_on"), spec, tasks) if made else []
        found[spec.name] = Shown(attempts=made, planned=None if count is None else count * what.samples)
    if problems:
        raise ValueError(
            f"{folder}: changed since it was measured: {'; '.join(problems)}. 'plateau eval --out {folder}' "
            "brings it up to date or says what is needed; --as-recorded shows what was measured"
        )
    if len(codes) > 1:
        say(f"{folder}: graded by different code of plateau; 'plateau regrade {folder}' makes it one")
    return found


def _other_content(before: dict[str, object] | None, spec: object, tasks: Sequence[Task]) -> list[str]:
    """What an agent rests on that is not what it was; what is not there any more is not called changed."""
    from plateau_bench.harness.evals.agent_spec import AgentSpec

    assert isinstance(spec, AgentSpec)
    if before is None:
        return []
    try:
        now = rests_on(spec, tasks)
    except OSError:
        return []
    changed = differing(before, now) if now else []
    return [f"{listed(changed)} of {spec.model or spec.attempts or spec.kind}"] if changed else []
