"""Boxes opened ahead of time. Each is handed out once: a pool hides the start, it never reuses."""

import queue
import threading
from contextlib import suppress

from plateau_bench.sandbox.base import Backend, Sandbox, SandboxError, SandboxSpec


class Pool:
    """Up to `size` fresh boxes of one spec, ready to be taken; use as a context manager.

    >>> with Pool(backend, SandboxSpec(), size=4) as pool:  # doctest: +SKIP
    ...     box = pool.take()  # the caller's to close; another one is opened meanwhile
    ...     box.run("true")
    ...     box.close()

    Opening ahead costs as much as opening on demand; it pays where a model thinks before it acts.
    """

    def __init__(self, backend: Backend, spec: SandboxSpec | None = None, size: int = 2) -> None:
        if size < 1:
            raise ValueError(f"Pool: size is {size}, at least one box must be kept ready")
        self._backend, self._spec = backend, spec
        self._ready: queue.SimpleQueue[Sandbox | SandboxError | None] = queue.SimpleQueue()
        self._wanted = threading.Semaphore(size)
        self._closed = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._fill, daemon=True) for _ in range(min(size, 4))]
        for thread in self._threads:
            thread.start()

    def take(self) -> Sandbox:
        """A box nobody has used. Raises SandboxError if it could not be opened or the pool is closed."""
        if self._closed:
            raise SandboxError("the pool is closed")
        box = self._ready.get()
        if box is None:
            self._ready.put(None)  # for the next one that waits
            raise SandboxError("the pool is closed")
        self._wanted.release()
        if isinstance(box, SandboxError):
            raise box
        return box

    def close(self) -> None:
        """Destroy every box that was not taken. Idempotent; never raises."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._wanted.release()
        for thread in self._threads:
            thread.join()
        with suppress(queue.Empty):
            while True:
                box = self._ready.get_nowait()
                if box is not None and not isinstance(box, SandboxError):
                    box.close()
        self._ready.put(None)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self) -> None:
        while True:
            self._wanted.acquire()
            if self._closed:
                return
            try:
                box: Sandbox | SandboxError = self._backend.open(self._spec)
            except SandboxError as e:
                box = e
            except Exception as e:  # a thread's exception would otherwise leave `take` waiting for ever
                box = SandboxError(f"a box could not be opened: {e}")
            self._ready.put(box)
