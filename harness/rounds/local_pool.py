"""The executor `local`: worker processes of this machine.

Each worker plays one job at a time. Workers die with the run's main process.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Self

from plateau_bench.harness.rounds.executors import Needs, Tell


class LocalPool:
    """A pool of processes; as many as the config says, else one per CPU core, or one on a GPU."""

    def __init__(self, needs: Needs, tell: Tell) -> None:
        count = needs.workers or (1 if needs.device == "cuda" else os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")
        self._events = context.Queue()
        self._pool = ProcessPoolExecutor(
            min(count, needs.jobs),
            mp_context=context,
            initializer=_enter,
            initargs=(self._events, needs.threads, os.getpid()),
        )
        self._pump = threading.Thread(target=self._pass_on, args=(tell,), daemon=True)

    def submit(self, root: Path, seed: int, arm: str) -> "Future[None]":
        return self._pool.submit(_work, root, seed, arm)

    def __enter__(self) -> Self:
        self._pump.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._pool.shutdown()
        else:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(10)
        self._events.put(None)
        self._pump.join(2)

    def _pass_on(self, tell: Tell) -> None:
        while (event := self._events.get()) is not None:
            tell(*event)


_events: Any = None


def _enter(events: Any, threads: int, parent: int) -> None:
    """Set up a worker process."""
    global _events
    _events = events
    # Ctrl-C reaches the whole process group; the main process decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the run
    if os.getppid() != parent:
        os._exit(1)
    set_up_libraries(threads)


def set_up_libraries(threads: int) -> None:
    """Make this process compute as every worker does: its threads, and the same bits every time."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc gives large tensors back to the kernel: page faults at each
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the highest that is allowed
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    import torch
    from transformers import Trainer  # noqa: F401 (what training needs)
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    gc.collect()
    gc.freeze()  # each training collects garbage, and need not look through all these modules again


def _work(root: Path, seed: int, arm: str) -> None:
    from plateau_bench.harness.rounds.jobs import run_job  # loads torch, which the main process never needs

    run_job(root, seed, arm, lambda *event: _events.put(((seed, arm), *event)))
