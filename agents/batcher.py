"""One worker thread in front of a model that is not safe, or not fast, to call from many threads."""

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from agents.cohort import current_member

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Run = Callable[[list[Request], Callable[[], bool]], Sequence[Answer]]
"""Answers a batch in order. The second argument says whether to give up; then raise CancelledError."""

_Queue = SimpleQueue[tuple[Run, Sequence[tuple[Any, Future]]] | None]


class Batcher(Generic[Request, Answer]):
    """Serves requests from any thread, in batches, one batch at a time.

    Within a cohort the cohort decides what forms a batch; a request from outside is a batch of its own.
    An exception of `run` reaches every requester of that batch. The worker ends with `close`, with the
    batcher's collection, or at interpreter exit; it holds no reference to `run` while idle.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queue: _Queue = SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        worker = threading.Thread(target=_serve, args=(self._queue, self._closing), daemon=True, name="model")
        worker.start()
        self._finalizer = weakref.finalize(self, _stop, self._queue, self._closing, worker)

    def ask(self, request: Request) -> Answer:
        """Wait for the answer to one request. Raises what the batch raised; CancelledError after `close`."""
        if member := current_member():
            return member.hand_in(self, request).result()
        future: Future[Answer] = Future()
        self.submit([(request, future)])
        return future.result()

    def submit(self, batch: Sequence[tuple[Request, Future]]) -> None:
        """Queue one batch; the futures get the answers."""
        with self._lock:
            if not self._closing.is_set():
                self._queue.put((self._run, batch))
                return
        _fail(batch, CancelledError())

    def close(self) -> None:
        """End the worker: the batch in flight is asked to give up, queued ones end in CancelledError."""
        with self._lock:
            self._finalizer()


def _serve(queue: _Queue, closing: threading.Event) -> None:
    while (item := queue.get()) is not None:
        run, batch = item
        try:
            if closing.is_set():
                raise CancelledError
            answers = run([request for request, _ in batch], closing.is_set)
            assert len(answers) == len(batch), "one answer per request"
        except BaseException as error:  # the requesters' threads must never wait for ever
            _fail(batch, error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
            del answers
        del item, run, batch


def _fail(batch: Sequence[tuple[Any, Future]], error: BaseException) -> None:
    for _, future in batch:
        future.set_exception(error)


def _stop(queue: _Queue, closing: threading.Event, worker: threading.Thread) -> None:
    closing.set()
    queue.put(None)
    if worker is not threading.current_thread():
        worker.join(timeout=5)  # a model step is short; past that, leave the daemon thread behind
