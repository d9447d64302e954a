"""A whole run: jobs on worker processes, progress on the terminal, a report at the end.

Each worker plays one arm of one training seed at a time. Workers die with the run's main process, and
everything they finished is on the disk, so `resume` is `run` on a folder that already holds something.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plateau_bench.harness.config import RunConfig, parse_config, to_plain
from plateau_bench.harness.rounds.environment import describe, pick_device
from plateau_bench.harness.rounds.progress import Display
from plateau_bench.harness.rounds.suites import look_at
from plateau_bench.results.report.content import write_report
from plateau_bench.results.store import SHARED, RunStore, hold, read_json, write_json
from plateau_bench.sandbox import Backend, open_backend
from plateau_bench.sandbox.ensure import ensure_backend


def play(config: RunConfig, root: Path, display: Display) -> Path:
    """`start`, or `resume` if the folder holds this run. Raises ValueError if it holds another config's."""
    store = RunStore(root)
    if not store.manifest.exists():
        return start(config, root, display)
    if parse_config(read_json(store.manifest)["config"], str(store.manifest)) != config:
        raise ValueError(f"{root} holds a run of another config; choose another folder with --out")
    return resume(root, display)


def start(config: RunConfig, root: Path, display: Display) -> Path:
    """Begin a run in the folder `root` and carry it through. Returns the report's path.

    Raises ValueError if the folder already holds a run.
    """
    store = RunStore(root)
    if store.manifest.exists():
        raise ValueError(
            f"{root} already holds a run; continue it with 'plateau resume {root}' "
            "or choose another folder with --out"
        )
    backend = _backend(config.sandbox, display)
    device = pick_device(config.device)
    facts = look_at(config, backend, display.say)
    with hold(store.lock, str(root)):
        sandbox = backend.name if config.sandbox == "auto" else config.sandbox
        environment = describe(sandbox, device)
        manifest = {"name": config.name, "config": to_plain(config), "environment": environment, **facts}
        write_json(store.manifest, manifest)
    return resume(root, display)


def resume(root: Path, display: Display) -> Path:
    """Carry a run through to its report, from wherever it stopped. Raises ValueError if there is none."""
    store = RunStore(root)
    manifest = store.read_manifest()
    config = parse_config(manifest["config"], str(store.manifest))
    with hold(store.lock, str(root)):
        _backend(manifest["environment"]["sandbox"], display).clean()
        _run_jobs(config, store, manifest["environment"]["device"], display)
        display.say("writing the report")
        return write_report(store.results(), root)


def _backend(name: str, display: Display) -> Backend:
    return ensure_backend(display.say) if name == "auto" else open_backend(name, say=display.say)


def _run_jobs(config: RunConfig, store: RunStore, device: str, display: Display) -> None:
    """Prepare each seed, then its arms; raises the first job's error after stopping the others."""
    count = config.workers or (1 if device == "cuda" else os.cpu_count() or 1)
    count = min(count, len(config.seeds) * len(config.arms))
    display.plan(config.seeds, SHARED, list(config.arms), config.rounds + 1)
    with _workers(count, config.threads, display) as pool:
        running: dict[Future[None], tuple[int, str]] = {}

        def submit(seed: int, arm: str) -> None:
            display.begin((seed, arm))
            running[pool.submit(_work, store.root, seed, arm)] = (seed, arm)

        for seed in config.seeds:
            submit(seed, SHARED)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seed, arm = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    raise RuntimeError(
                        f"the worker of seed {seed}, arm {arm} died (killed, or out of memory)"
                    ) from None
                display.finished((seed, arm))
                if arm == SHARED:
                    for name in config.arms:
                        submit(seed, name)


@contextmanager
def _workers(count: int, threads: int, display: Display) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes die with this one; an exception kills them at once instead of waiting."""
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    pool = ProcessPoolExecutor(
        count, mp_context=context, initializer=_enter, initargs=(events, threads, os.getpid())
    )
    with display.follow(events):
        try:
            yield pool
        except BaseException:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(10)
            raise
        pool.shutdown()


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
    from plateau_bench.harness.rounds.jobs import run_job

    run_job(root, seed, arm, lambda *event: _events.put(((seed, arm), *event)))
