"""Attempts that are recorded, brought up to date before others are added: nothing old passes for new.

An attempt that belongs to another task, agent or grading than those at hand is graded again if its answer
allows it, made again if that was asked for or costs nothing, or the evaluation stops and says what to do.
Attempts as they were go to `replaced.jsonl`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.harness.attempts.rollout import Grade
from plateau_bench.harness.content import differing, grading, listed, seen
from plateau_bench.harness.evals.agent_spec import AgentSpec
from plateau_bench.harness.evals.ledger import FREE, content, rests_on
from plateau_bench.results.attempt_log import AttemptLog, attempt_to_line, read_attempts
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import EvalStore, write_bytes
from plateau_bench.tasks.base import Outcome, Task

BUDGET, CHANGED, EVERY = "budget", "changed", "all"
RETRIES = (*(ending.value for ending in Ending if ending is not Ending.SUBMITTED), BUDGET, CHANGED, EVERY)
"""What `--retry` takes: endings, attempts at tasks that have changed, or all attempts."""
_BATCH = 256


def retries(text: str | None) -> frozenset[str]:
    """The words of `--retry crashed,infra`. Raises ValueError for others."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if unknown := [word for word in words if word not in RETRIES]:
        raise ValueError(f"--retry: {unknown[0]!r} is none of {', '.join(RETRIES)}")
    return frozenset(words)


def of_budget(trajectory: Trajectory) -> bool:
    """Whether an attempt was not made for want of the whole evaluation's budget."""
    return trajectory.ending is Ending.COST_LIMIT and "budget" in trajectory.error


def stale(attempts: Sequence[Attempt], tasks: Mapping[str, Task]) -> list[Attempt]:
    """The attempts at tasks that are not what they were."""
    return [one for one in attempts if one.task_id in tasks and tasks[one.task_id].digest != one.task_digest]


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """The recorded attempts of one agent, beside what is there now."""

    store: EvalStore
    spec: AgentSpec
    tasks: Mapping[str, Task]
    retry: frozenset[str]
    say: Callable[[str], None]

    def bring_up_to_date(self, grade: Grade) -> dict[str, Any]:
        """Do all of it; returns what the agent rests on now.

        Raises ValueError if attempts can neither be kept nor graded again, before anything was changed.
        """
        log, name = self.store.attempts(self.spec.name), self.spec.name
        now = rests_on(self.spec, list(self.tasks.values()))
        if not log.exists():
            return now
        AttemptLog(log)  # cuts a torn line off
        made = list(read_attempts(log))
        kept = content(self.store.read_manifest())
        again = self._to_make_again(made, kept, now)
        old = [one for one in stale(made, self.tasks) if id(one) not in again]
        told = kept.get("agents", {}).get(name, {}).get("grading", [])
        if made and any(code != grading() for code in told):
            self.say(
                f"{name}: its {len(made)} attempts were graded by other code of plateau; "
                f"'plateau regrade {self.store.root}' grades them again"
            )
        if not again and not old:
            return now
        if old:
            self.say(f"{name}: {_tasks_of(old)} changed in the tests; {len(old)} attempts are graded again")
        if again:
            self.say(f"{name}: {len(again)} of {len(made)} attempts are made again")
        graded = _graded(old, self.tasks, grade)
        rewrite(self.store, name, made, [graded.get(id(one), one) for one in made if id(one) not in again])
        return now

    def _to_make_again(
        self, made: Sequence[Attempt], kept: Mapping[str, Any], now: dict[str, Any]
    ) -> set[int]:
        name, free = self.spec.name, self.spec.kind in FREE
        before = kept.get("agents", {}).get(name, {}).get("rests_on")
        changed = [] if before is None or not made else differing(before, now)
        if EVERY in self.retry or (changed and free):
            if changed and free:
                self.say(f"{name}: {listed(changed)} changed since its attempts were made")
            return set(map(id, made))
        if changed:
            where = f" of {self.spec.model}" if self.spec.model else ""
            raise ValueError(
                f"{name}: {listed(changed)}{where} changed since its {len(made)} attempts were made; "
                "--retry all makes them again, or give the agent another name"
            )
        again = {id(one) for one in made if self._retried(one)}
        old = [one for one in stale(made, self.tasks) if id(one) not in again]
        if CHANGED in self.retry or free:
            return again | set(map(id, old))
        self._same_question(old, kept.get("seen", {}))
        return again

    def _retried(self, one: Attempt) -> bool:
        path = one.trajectory
        infra = one.verdict.outcome is Outcome.INFRA and Ending.INFRA.value in self.retry
        return infra or of_budget(path) or path.ending.value in self.retry

    def _same_question(self, old: Sequence[Attempt], known: Mapping[str, str]) -> None:
        """Raises ValueError for attempts at what an agent would see otherwise now, or perhaps would."""
        other = [one for one in old if not answers_count(one, self.tasks, known)]
        if other:
            unknown = any(one.task_digest not in known for one in other)
            how = "perhaps not" if unknown else "not"
            grade = f"; if only the tests did, 'plateau regrade {self.store.root}'" if unknown else ""
            raise ValueError(
                f"{self.store.root}: {_tasks_of(other)} changed since {self.spec.name} was asked, and {how} "
                f"in the tests alone; --retry changed makes its {len(other)} attempts there again{grade}, or "
                "choose another folder with --out"
            )


def answers_count(one: Attempt, tasks: Mapping[str, Task], known: Mapping[str, str]) -> bool:
    """Whether an attempt's answer is one to the task as it is now: the agent saw the same."""
    return known.get(one.task_digest) == seen(tasks[one.task_id])


def rewrite(store: EvalStore, name: str, made: Sequence[Attempt], now: Sequence[Attempt]) -> None:
    """Put other attempts into an agent's log; those that are not among them any more are kept beside it."""
    log, same = store.attempts(name), set(map(id, now))
    AttemptLog(log.with_name("replaced.jsonl")).append([one for one in made if id(one) not in same])
    write_bytes(log, b"".join(map(attempt_to_line, now)))


def _graded(old: Sequence[Attempt], tasks: Mapping[str, Task], grade: Grade) -> dict[int, Attempt]:
    """id of an attempt -> the same at its task as it is now, with the verdict on it."""
    found: dict[int, Attempt] = {}
    for start in range(0, len(old), _BATCH):
        batch = old[start : start + _BATCH]
        verdicts = grade([(tasks[one.task_id], one.trajectory) for one in batch])
        for one, verdict in zip(batch, verdicts, strict=True):
            task = tasks[one.task_id]
            found[id(one)] = replace(
                one,
                task_digest=task.digest,
                verdict=verdict,
                stratum=task.stratum,
                cluster=task.cluster or task.id,
                split=task.split,
            )
    return found


def grade_again(
    store: EvalStore, name: str, tasks: Mapping[str, Task], grade: Grade, progress: Callable[[int], None]
) -> tuple[list[tuple[Attempt, Attempt]], list[Attempt]]:
    """Grade all attempts of an agent again and keep the verdicts: (pairs of before and after, left out).

    Left out are attempts whose task is gone, or another one to the agent's eye. INFRA replaces no verdict on
    the same task.
    """
    made, done = list(read_attempts(store.attempts(name))), 0
    known = content(store.read_manifest()).get("seen", {})
    pairs: list[tuple[Attempt, Attempt]] = []
    fit = [
        one
        for one in made
        if one.task_id in tasks
        and (one.task_digest == tasks[one.task_id].digest or answers_count(one, tasks, known)
             or one.task_digest not in known)
    ]  # fmt: skip
    for start in range(0, len(fit), _BATCH):
        batch = fit[start : start + _BATCH]
        graded = _graded(batch, tasks, grade)
        for one in batch:
            now = graded[id(one)]
            nothing = now.verdict.outcome is Outcome.INFRA and now.task_digest == one.task_digest
            pairs.append((one, one if nothing else now))
        done += len(batch)
        progress(done)
    after = {
        id(one): now for one, now in pairs if (one.verdict, one.task_digest) != (now.verdict, now.task_digest)
    }
    if after:
        rewrite(store, name, made, [after.get(id(one), one) for one in made])
    fitting = set(map(id, fit))
    return pairs, [one for one in made if id(one) not in fitting]


def _tasks_of(attempts: Sequence[Attempt]) -> str:
    names = {one.task_id for one in attempts}
    return f"{'task' if len(names) == 1 else 'tasks'} {listed(names)}"
