"""A whole run: jobs on an executor, progress on the terminal, a report at the end.

A job is one arm of one training seed, or what the arms of a seed share. Everything that it finished is on
the disk, so `resume` is `run` on a folder that already holds something.
"""

import shutil
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import replace
from pathlib import Path

from plateau_bench.harness.config import RunConfig, parse_config, to_plain
from plateau_bench.harness.content import grading
from plateau_bench.harness.rounds.cautions import cautions
from plateau_bench.harness.rounds.checks import check_training
from plateau_bench.harness.rounds.environment import describe, pick_device
from plateau_bench.harness.rounds.executors import Needs, executor
from plateau_bench.harness.rounds.improve import improver_of
from plateau_bench.harness.rounds.progress import Display
from plateau_bench.harness.rounds.suites import content_of, look_at, same_content
from plateau_bench.results.report.content import write_report
from plateau_bench.results.store import SHARED, RunStore, hold, write_json
from plateau_bench.sandbox import Backend, open_backend
from plateau_bench.sandbox.ensure import ensure_backend
from plateau_bench.tasks.loading import located


def play(config: RunConfig, root: Path, display: Display, engine: str = "local") -> Path:
    """`start`, or `resume` if the folder holds this run. Raises ValueError if it holds another config's."""
    store = RunStore(root)
    if not store.manifest.exists():
        return start(config, root, display, engine)
    if _recorded(store) != with_places(config):
        again = (
            "" if _has_played(store) else "; nothing was attempted in it, so 'plateau run' begins it again"
        )
        raise ValueError(f"{root} holds a run of another config; choose another folder with --out{again}")
    return resume(root, display, engine)


def _recorded(store: RunStore) -> RunConfig:
    return with_places(parse_config(store.read_manifest()["config"], str(store.manifest)))


def with_places(config: RunConfig) -> RunConfig:
    """The config with absolute paths of suite and checkpoint, so that it means the same from any folder."""
    model = config.model.path
    if model and Path(model).exists():
        model = str(Path(model).resolve())
    return replace(
        config,
        tasks=replace(config.tasks, suite=located(config.tasks.suite)),
        model=replace(config.model, path=model),
    )


def _has_played(store: RunStore) -> bool:
    """Whether anything was attempted: before that, a config may be mended in the same folder."""
    return any(path.stat().st_size for path in store.root.glob("seed-*/*/round-*/**/*.jsonl"))


def start(config: RunConfig, root: Path, display: Display, engine: str = "local") -> Path:
    """Begin a run in the folder `root` and carry it through. Returns the report's path.

    `engine` names the executor of the jobs; a run may be resumed with another one. Raises ValueError if the
    folder already holds a run that has played, or if something that the config names is not there. A run that
    failed before its first attempt is begun again, with what was made for it if the config is the same.
    """
    store, config = RunStore(root), with_places(config)
    failed = store.manifest.exists()
    if failed and _has_played(store):
        raise ValueError(
            f"{root} already holds a run; continue it with 'plateau resume {root}', "
            f"choose another folder with --out, or remove it (rm -r {root})"
        )
    backend = _backend(config.sandbox, display)
    device = pick_device(config.device)
    improver_of(config)
    if config.improver.get("name", "finetune") == "finetune":
        check_training(config.model, config.train, config.agent)
    executor(engine)
    facts = look_at(config, backend, display.say)
    with hold(store.lock, str(root)):
        if failed and _recorded(store) != config:
            display.say(f"{root}: nothing was attempted yet, so it begins again with this config")
            for folder in root.glob("seed-*"):
                shutil.rmtree(folder)
        sandbox = backend.name if config.sandbox == "auto" else config.sandbox
        environment = describe(sandbox, device)
        manifest = {"name": config.name, "config": to_plain(config), "environment": environment, **facts}
        write_json(store.manifest, manifest | {"content": content_of(config, manifest)})
    return _carry_on(root, display, engine)


def resume(root: Path, display: Display, engine: str = "local") -> Path:
    """Carry a run through to its report, from wherever it stopped.

    Raises ValueError if there is none, or if its tasks or weights are not those that it began with.
    """
    store = RunStore(root)
    manifest = store.read_manifest()
    if (before := manifest.get("content")) is not None:
        same_content(root, before, content_of(_recorded(store), manifest), display.say)
        if before.get("grading") != grading():
            for path in root.glob(f"{store.verdicts.name}*"):
                path.unlink(missing_ok=True)
    return _carry_on(root, display, engine)


def _carry_on(root: Path, display: Display, engine: str) -> Path:
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
                for line in cautions(store, seed, arm):
                    display.say(line)
                if arm == SHARED:
                    for name in config.arms:
                        submit(seed, name)
