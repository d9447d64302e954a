"""Attempts and examples made by hand, for tests of what a round learns from."""

from plateau_bench.agents.base import Ending, Trajectory
from plateau_bench.harness.learning.dataset import Example, Origin
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome, Split, Verdict


def attempt(
    task: str = "t0",
    sample: int = 0,
    *,
    verified: bool = True,
    passed: bool = True,
    round: int = 0,
    token_ids: tuple[int, ...] = (1, 5, 6, 4),
    stratum: str = "head",
    answer: str = "def f(a):\n return a",
    logprob: float = -0.5,
) -> Attempt:
    outcome = Outcome.PASSED if passed else Outcome.FAILED
    return Attempt(
        arm="replace", seed=1, round=round, split=Split.TRAIN, task_id=task, task_digest="d" + task,
        stratum=stratum, cluster=task, sample=sample, temperature=0.8,
        trajectory=Trajectory(
            agent="oneshot", model="m", seed=7, answer=answer, ending=Ending.SUBMITTED,
            token_ids=token_ids, loss_spans=((2, len(token_ids)),),
            logprobs=(logprob,) * (len(token_ids) - 2),
        ),
        verdict=Verdict(outcome=outcome, verified=verified),
    )  # fmt: skip


def human(count: int, *, verified: bool = True) -> list[Example]:
    return [
        Example(
            token_ids=(1, 9, 4), loss_spans=((1, 3),), origin=Origin.HUMAN, source=f"human/{i}", correct=True
        )
        for i in range(count)
    ]
