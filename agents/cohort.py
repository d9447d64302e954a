"""Agents that run side by side and share model batches whose composition does not depend on timing.

Which requests share a batch decides the float rounding of their logits. So a batch is not formed by arrival:
the members of a cohort move in lock step. A batch leaves when every member that is still at work waits for
the model, and its requests are in the order of the members. What is computed then depends on the plan alone,
and a run that is killed and resumed at a wave repeats it bit for bit.
"""

import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from agents.base import Agent, Trajectory


class Desk(Protocol):
    """Where a cohort hands in a batch: one (request, answer to come) per member, in member order."""

    def submit(self, batch: Sequence[tuple[Any, Future]]) -> None: ...


class Member(NamedTuple):
    cohort: "Cohort"
    key: Hashable

    def hand_in(self, desk: Desk, request: Any) -> Future:
        """Queue a request for the cohort's next batch; the future gives the answer."""
        return self.cohort._hand_in(self.key, desk, request)


_current: ContextVar[Member | None] = ContextVar("member", default=None)


def current_member() -> Member | None:
    """The cohort membership this code runs under. None outside any cohort."""
    return _current.get()


class Cohort:
    """A fixed, ordered set of members; each is present from the start until it leaves.

    A member that is never entered holds all others up, so open a cohort only for work that will start.
    """

    def __init__(self, keys: Sequence[Hashable]) -> None:
        self._order = {key: position for position, key in enumerate(keys)}
        assert len(self._order) == len(keys), "member keys must differ"
        self._present = set(keys)
        self._waiting: dict[Hashable, tuple[Desk, Any, Future]] = {}
        self._closed = False
        self._lock = threading.Lock()

    @contextmanager
    def member(self, key: Hashable) -> Iterator[None]:
        """Code inside runs as member `key` and leaves the cohort at the end, also by an exception."""
        token = _current.set(Member(self, key))
        try:
            yield
        finally:
            _current.reset(token)
            with self._lock:
                self._present.discard(key)
                self._fire_if_all_wait()

    def close(self) -> None:
        """Give up: every request that waits or comes later ends in CancelledError."""
        with self._lock:
            self._closed = True
            for _, _, future in self._waiting.values():
                future.set_exception(CancelledError())
            self._waiting.clear()

    def _hand_in(self, key: Hashable, desk: Desk, request: Any) -> Future:
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise CancelledError
            if key not in self._present or key in self._waiting:
                raise RuntimeError(f"cohort member {key!r} has left or already waits: one request at a time")
            self._waiting[key] = (desk, request, future)
            self._fire_if_all_wait()
        return future

    def _fire_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < len(self._present):
            return
        batches: dict[Desk, list[tuple[Any, Future]]] = {}
        for key in sorted(self._waiting, key=self._order.__getitem__):
            desk, request, future = self._waiting[key]
            batches.setdefault(desk, []).append((request, future))
        self._waiting.clear()
        for desk, batch in batches.items():
            desk.submit(batch)


def solve_many(
    agent: Agent, jobs: Sequence[tuple[str, Sequence[int]]], *, wave: int = 128
) -> list[list[Trajectory]]:
    """Solve each (instruction, seeds) of an agent without box; one list of trajectories per job, in order.

    Jobs run in waves of `wave` threads, each wave one cohort, so the model sees the same batches every time.
    To resume bit-equal, resume at a multiple of `wave`. What an agent raises is raised here.
    """
    if agent.needs_box:
        raise ValueError(f"agent {agent.name!r} needs boxes; solve_many is for agents without")
    solved: list[list[Trajectory]] = []
    for start in range(0, len(jobs), wave):
        solved += _solve_wave(agent, jobs[start : start + wave])
    return solved


def _solve_wave(agent: Agent, jobs: Sequence[tuple[str, Sequence[int]]]) -> list[list[Trajectory]]:
    cohort = Cohort(range(len(jobs)))
    results: list[Future[list[Trajectory]]] = [Future() for _ in jobs]

    def work(position: int) -> None:
        instruction, seeds = jobs[position]
        try:
            with cohort.member(position):
                solved = agent.solve(instruction, seeds)
        except BaseException as error:  # carried to the caller's thread, whatever it is
            results[position].set_exception(error)
        else:
            results[position].set_result(solved)

    try:
        # Plain daemon threads: a pool's threads would be joined at exit and hold up an interrupted run.
        for position in range(len(jobs)):
            threading.Thread(target=work, args=(position,), daemon=True, name=f"agent-{position}").start()
        return [result.result() for result in results]
    except BaseException:
        cohort.close()
        raise
