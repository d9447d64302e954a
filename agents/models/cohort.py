"""Agents that run side by side and share model batches whose composition does not depend on timing.

Which requests share a batch decides the float rounding of their logits. So a batch is not formed by arrival:
the members of a cohort move in lock step. A batch leaves when every member that is still at work waits for
the model, and its requests are in the order of the members. What is computed then depends on the plan alone,
and a run that is killed and resumed at a wave repeats it bit for bit.

Agents run in threads of their own; the model runs in the thread that serves the cohort, the caller's: one
thread pool and one memory arena for all model work, and Ctrl-C lands where the work is.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from plateau_bench.agents.base import Agent, Trajectory

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


class _Ticket(NamedTuple):
    batcher: "Batcher"
    request: Any
    answer: Future


class _Member(NamedTuple):
    cohort: "Cohort"
    key: Hashable


_current: ContextVar[_Member | None] = ContextVar("member", default=None)


class Batcher(Generic[Request, Answer]):
    """Serves a model from many threads, one batch at a time.

    A member of a cohort shares the cohort's batches; a request from outside is a batch of its own, run in
    the asking thread.
    """

    def __init__(self, run: Callable[[list[Request]], Sequence[Answer]]) -> None:
        """`run` answers a batch, in order."""
        self._run = run
        self._lock = threading.Lock()

    def ask(self, request: Request) -> Answer:
        """Wait for the answer. Raises what the batch raised, or CancelledError if the cohort was closed."""
        if member := _current.get():
            return member.cohort.hand_in(member.key, self, request).result()
        return self.run([request])[0]

    def run(self, requests: list[Request]) -> Sequence[Answer]:
        """Answer one batch in this thread."""
        with self._lock:
            answers = self._run(requests)
        assert len(answers) == len(requests), "one answer per request"
        return answers


class Cohort:
    """A fixed, ordered set of members; each is present from the start until it leaves.

    A member that is never entered holds all others up, so open a cohort only for work that will start.
    """

    def __init__(self, keys: Sequence[Hashable]) -> None:
        self._order = {key: position for position, key in enumerate(keys)}
        assert len(self._order) == len(keys), "member keys must differ"
        self._present = set(keys)
        self._waiting: dict[Hashable, _Ticket] = {}
        self._ready: SimpleQueue[list[_Ticket] | None] = SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()

    @contextmanager
    def member(self, key: Hashable) -> Iterator[None]:
        """Code inside runs as member `key` and leaves the cohort at the end, also by an exception."""
        token = _current.set(_Member(self, key))
        try:
            yield
        finally:
            _current.reset(token)
            with self._lock:
                self._present.discard(key)
                self._fire_if_all_wait()

    def hand_in(self, key: Hashable, batcher: Batcher[Request, Answer], request: Request) -> Future[Answer]:
        """Put a member's request into the next batch."""
        answer: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                raise CancelledError
            if key not in self._present or key in self._waiting:
                raise RuntimeError(f"cohort member {key!r} has left or already waits: one request at a time")
            self._waiting[key] = _Ticket(batcher, request, answer)
            self._fire_if_all_wait()
        return answer

    def serve(self) -> None:
        """Run the batches in this thread until every member has left.

        An Exception of the model goes to every requester of the batch; an interrupt ends the serving.
        """
        while self._present:
            if (batch := self._ready.get()) is not None:
                _run_batch(batch)

    def close(self) -> None:
        """Give up: every request that waits or comes later ends in CancelledError."""
        with self._lock:
            self._closed = True
            for ticket in self._waiting.values():
                ticket.answer.set_exception(CancelledError())
            self._waiting.clear()

    def _fire_if_all_wait(self) -> None:
        if not self._present:
            self._ready.put(None)
        elif len(self._waiting) == len(self._present):
            self._ready.put(
                [self._waiting[key] for key in sorted(self._waiting, key=self._order.__getitem__)]
            )
            self._waiting.clear()


def _run_batch(tickets: Sequence[_Ticket]) -> None:
    for batcher in dict.fromkeys(ticket.batcher for ticket in tickets):
        own = [ticket for ticket in tickets if ticket.batcher is batcher]
        try:
            answers = batcher.run([ticket.request for ticket in own])
        except BaseException as error:
            interrupted = not isinstance(error, Exception)
            for ticket in tickets if interrupted else own:
                if not ticket.answer.done():
                    ticket.answer.set_exception(CancelledError() if interrupted else error)
            if interrupted:
                raise
        else:
            for ticket, answer in zip(own, answers, strict=True):
                ticket.answer.set_result(answer)


def solve_many(
    agent: Agent, jobs: Sequence[tuple[str, Sequence[int]]], *, wave: int = 128
) -> list[list[Trajectory]]:
    """Solve each (instruction, seeds) of an agent without box; one list of trajectories per job, in order.

    Jobs run in waves of `wave` threads, each wave one cohort, so the model sees the same batches every time.
    To resume bit-equal, resume at a multiple of `wave`. What an agent raises is raised after its wave.
    """
    if agent.needs_box:
        raise ValueError(f"agent {agent.name!r} needs boxes; solve_many is for agents without")
    solved: list[list[Trajectory]] = []
    for start in range(0, len(jobs), wave):
        solved += together([partial(agent.solve, *job) for job in jobs[start : start + wave]])
    return solved


def together(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do all of this at once, each in a thread of its own, as one cohort; the results in order.

    Raises what the first of them raised, after all have ended.
    """
    cohort = Cohort(range(len(works)))
    results: list[Future[Result]] = [Future() for _ in works]

    def work(position: int) -> None:
        try:
            with cohort.member(position):
                result = works[position]()
        except BaseException as error:  # carried to the caller's thread, whatever it is
            results[position].set_exception(error)
        else:
            results[position].set_result(result)

    try:
        # Plain daemon threads: a pool's threads would be joined at exit and hold up an interrupted run.
        for position in range(len(works)):
            threading.Thread(target=work, args=(position,), daemon=True, name=f"agent-{position}").start()
        cohort.serve()
        return [result.result() for result in results]
    except BaseException:
        cohort.close()
        raise
