"""A whole run: jobs on an executor, progress on the terminal, a report at the end.

A job is one arm of one training seed, or what the arms of a seed share. Everything that it finished is on
the disk, so `resume` is `run` on a folder that already holds something.
"""

from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path

from plateau_bench.harness.config import RunConfig, parse_config, to_plain
from plateau_bench.harness.rounds.checks import check_training
from plateau_bench.harness.rounds.environment import describe, pick_device
from plateau_bench.harness.rounds.executors import Needs, executor
from plateau_bench.harness.rounds.improve import improver_of
from plateau_bench.harness.rounds.progress import Display
from plateau_bench.harness.rounds.suites import look_at
from plateau_bench.results.report.content import write_report
from plateau_bench.results.store import SHARED, RunStore, hold, read_json, write_json
from plateau_bench.sandbox import Backend, open_backend
from plateau_bench.sandbox.ensure import ensure_backend


def play(config: RunConfig, root: Path, display: Display, engine: str = "local") -> Path:
    """`start`, or `resume` if the folder holds this run. Raises ValueError if it holds another config's."""
    store = RunStore(root)
    if not store.manifest.exists():
        return start(config, root, display, engine)
    if parse_config(read_json(store.manifest)["config"], str(store.manifest)) != config:
        raise ValueError(f"{root} holds a run of another config; choose another folder with --out")
    return resume(root, display, engine)


def start(config: RunConfig, root: Path, display: Display, engine: str = "local") -> Path:
    """Begin a run in the folder `root` and carry it through. Returns the report's path.

    `engine` names the executor of the jobs; a run may be resumed with another one. Raises ValueError if the
    folder already holds a run, or if something that the config names is not there.
    """
    store = RunStore(root)
    if store.manifest.exists():
        raise ValueError(
            f"{root} already holds a run; continue it with 'plateau resume {root}' "
            "or choose another folder with --out"
        )
    backend = _backend(config.sandbox, display)
    device = pick_device(config.device)
    improver_of(config)
    if config.improver.get("name", "finetune") == "finetune":
        check_training(config.model, config.train, config.agent)
    executor(engine)
    facts = look_at(config, backend, display.say)
    with hold(store.lock, str(root)):
        sandbox = backend.name if config.sandbox == "auto" else config.sandbox
        environment = describe(sandbox, device)
        manifest = {"name": config.name, "config": to_plain(config), "environment": environment, **facts}
        write_json(store.manifest, manifest)
    return resume(root, display, engine)


def resume(root: Path, display: Display, engine: str = "local") -> Path:
    """Carry a run through to its report, from wherever it stopped. Raises ValueError if there is none."""
    store = RunStore(root)
    manifest = store.read_manifest()
    config = parse_config(manifest["config"], str(store.manifest))
    with hold(store.lock, str(root)):
        _backend(manifest["environment"]["sandbox"], display).clean()
        _run_jobs(config, store, manifest["environment"]["device"], display, engine)
        display.say("writing the report")
        return write_report(store.results(), root)


def _backend(name: str, display: Display) -> Backend:
    return ensure_backend(display.say) if name == "auto" else open_backend(name, say=display.say)


def _run_jobs(config: RunConfig, store: RunStore, device: str, display: Display, engine: str) -> None:
    """Prepare each seed, then its arms; raises the first job's error after stopping the others."""
    needs = Needs(
        jobs=len(config.seeds) * len(config.arms),
        workers=config.workers,
        threads=config.threads,
        device=device,
    )
    display.plan(config.seeds, SHARED, list(config.arms), config.rounds + 1)
    with display, executor(engine)(needs, display.show) as workers:
        running: dict[Future[None], tuple[int, str]] = {}

        def submit(seed: int, arm: str) -> None:
            display.begin((seed, arm))
            running[workers.submit(store.root, seed, arm)] = (seed, arm)

        for seed in config.seeds:
            submit(seed, SHARED)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seed, arm = running.pop(future)
                try:
                    future.result()
                except BrokenExecutor:
                    raise RuntimeError(
                        f"the worker of seed {seed}, arm {arm} died (killed, or out of memory)"
                    ) from None
                display.finished((seed, arm))
                if arm == SHARED:
                    for name in config.arms:
                        submit(seed, name)
