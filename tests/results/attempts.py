"""Attempts with a chosen outcome, for tests of measures."""

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome, Split, Verdict


def attempt(
    task: str,
    sample: int,
    outcome: Outcome = Outcome.PASSED,
    *,
    verified: bool | None = None,
    answer: str = "def f(a): return a",
    stratum: str = "head",
    cluster: str = "",
    round: int = 0,
    ending: Ending = Ending.SUBMITTED,
    tokens: int = 10,
) -> Attempt:
    trajectory = Trajectory(
        agent="oneshot", model="m", seed=sample, answer=answer, ending=ending, completion_tokens=tokens
    )
    return Attempt(
        arm="replace",
        seed=0,
        round=round,
        split=Split.HELD_OUT,
        task_id=task,
        task_digest="d",
        stratum=stratum,
        cluster=cluster,
        sample=sample,
        temperature=0.7,
        trajectory=trajectory,
        verdict=Verdict(
            outcome=outcome, verified=outcome is Outcome.PASSED if verified is None else verified
        ),
    )


def task_attempts(task: str, passes: str, *, stratum: str = "head", round: int = 0) -> list[Attempt]:
    """One attempt per character: '1' passed, '0' failed, 'x' infra, '!' tampering."""
    outcomes = {"1": Outcome.PASSED, "0": Outcome.FAILED, "x": Outcome.INFRA, "!": Outcome.INVALID}
    return [attempt(task, i, outcomes[p], stratum=stratum, round=round) for i, p in enumerate(passes)]
