"""Executor `in-order`: one job after the other in this process, where a debugger can follow them."""

from concurrent.futures import Future
from contextlib import nullcontext

from plateau_bench.harness.rounds.jobs import run_job
from plateau_bench.harness.rounds.local_pool import set_up_libraries


class InOrder(nullcontext):
    def __init__(self, needs, tell):
        super().__init__(self)
        set_up_libraries(needs.threads)
        self.tell = tell

    def submit(self, root, seed, arm):
        job = Future()
        try:
            job.set_result(run_job(root, seed, arm, lambda *event: self.tell((seed, arm), *event)))
        except Exception as error:
            job.set_exception(error)
        return job
