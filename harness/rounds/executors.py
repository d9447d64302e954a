"""Where jobs run. An executor takes a job and says when it ended; all else lies in the run folder."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plateau_bench.harness.rounds.progress import Job
from plateau_bench.plugins import load

Tell = Callable[[Job, str, int, int], None]
"""(job, phase, done, total): progress of a running job; may be called from any thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a run asks of an executor."""

    jobs: int
    """Most jobs that can run at the same time."""
    workers: int
    """How many the config wants to run at the same time; 0 leaves it to the executor."""
    threads: int
    """CPU threads of each job, which decide how floats are rounded."""
    device: str
    """'cpu' or 'cuda'."""


class Executor(AbstractContextManager["Executor"], Protocol):
    """Runs jobs somewhere: a class called `NAME(needs, tell)`, used as a context manager.

    A block that ends with an exception ends all jobs at once; a job must never outlive the run.
    """

    def submit(self, root: Path, seed: int, arm: str) -> "Future[None]":
        """Have `jobs.run_job(root, seed, arm, progress)` done.

        The future ends with None, with the job's own exception, or with `concurrent.futures.BrokenExecutor`
        if what it ran on was lost. A job may be begun again at any time: it goes on where it stopped.
        """


EXECUTORS = {"local": "plateau_bench.harness.rounds.local_pool.LocalPool"}


def executor(name: str) -> Callable[[Needs, Tell], Executor]:
    """The executor called `name`. Raises ValueError if there is none."""
    found: Callable[[Needs, Tell], Executor] = load("executors", name, EXECUTORS)
    return found
