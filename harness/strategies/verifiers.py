"""Which attempts count as successes. The hidden tests never decide."""

from plateau_bench.harness.config import ArmConfig
from plateau_bench.harness.seeds import derive
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome


def honest(attempt: Attempt) -> bool:
    """No tampering with the grading was found."""
    return attempt.verdict.outcome is not Outcome.INVALID


def visible_tests(attempt: Attempt, arm: ArmConfig) -> bool:
    """Passed the visible tests: the signal a user has.

    An attempt that tampered with its grading is never learnt from, unless the arm asks for it.
    """
    return attempt.verdict.verified and honest(attempt) or arm.tampered and not honest(attempt)


def anything(attempt: Attempt, arm: ArmConfig) -> bool:
    """Every attempt, right or wrong."""
    return honest(attempt) or arm.tampered


def leaky(attempt: Attempt, arm: ArmConfig) -> bool:
    """The visible tests, but `arm.fp` of the wrong programs slip through.

    The same wrong program on the same task always slips through or never does, as with a real gap in a
    test suite, so that learning it pays.
    """
    key = (attempt.seed, "wrong verifier", attempt.task_id, attempt.trajectory.answer)
    return visible_tests(attempt, arm) or honest(attempt) and derive(*key) / 2**63 < arm.fp
