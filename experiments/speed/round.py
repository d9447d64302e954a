"""`python -m experiments.speed round`: plays rounds as a run would, and tells where their time goes.

The phases are not instrumented: a thread looks every few milliseconds at what the playing thread is in, and
counts it for the innermost known function on its stack. So nothing that is measured is changed for it.

Model flops are 2 x parameters x tokens for a forward pass and 6 x for a training step (Kaplan et al.
2001.08361), attention left out and prompts, padding and ended rows not counted: utilisation is a lower bound.
"""

import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

from experiments.speed.checkpoint import Speeds, bench
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.config import RunConfig, to_plain
from plateau_bench.harness.rounds.environment import describe, pick_device
from plateau_bench.harness.rounds.jobs import run_job
from plateau_bench.results.attempt_log import read_attempts
from plateau_bench.results.records import Purpose, RoundRecord
from plateau_bench.results.store import SHARED, RunStore, write_json
from plateau_bench.sandbox.ensure import ensure_backend

TICK_S = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundSpeeds:
    """One round, on average. All seconds are of one process."""

    device: str
    parameters: int
    rounds: int
    seconds: float
    cpu_s: float
    """Of this process: what boxes use is not in it."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase of a round; they add up to `seconds`."""
    phases_cpu: dict[str, float] = field(default_factory=dict)
    """The same in CPU seconds of the playing thread, which other work on the machine disturbs less."""
    sampled_tokens: float
    trained_tokens: float
    generate_tokens_s: float
    """Plain `model.generate` on the base checkpoint, for comparison."""
    ceiling_flops: float
    """Measured on large square matrices."""

    @property
    def sample_tokens_s(self) -> float:
        return self.sampled_tokens / max(self.phases.get("sample", 0.0), 1e-9)

    @property
    def train_tokens_s(self) -> float:
        return self.trained_tokens / max(self.phases.get("train", 0.0), 1e-9)

    @property
    def sample_utilisation(self) -> float:
        return 2 * self.parameters * self.sample_tokens_s / self.ceiling_flops

    @property
    def train_utilisation(self) -> float:
        return 6 * self.parameters * self.train_tokens_s / self.ceiling_flops

    def to_json(self) -> dict[str, Any]:
        names = ("sample_tokens_s", "train_tokens_s", "sample_utilisation", "train_utilisation")
        return asdict(self) | {name: getattr(self, name) for name in names}


def bench_round(config: RunConfig, *, rounds: int, progress: Progress) -> RoundSpeeds:
    """Play `rounds` whole rounds of the first arm that trains, on the first seed, in a temporary folder.

    Raises ValueError if no arm trains.
    """
    arm = next((name for name, arm in config.arms.items() if arm.strategy.trains), None)
    if arm is None:
        raise ValueError(f"{config.name}: no arm of this config trains, so there is no whole round to play")
    from plateau_bench.harness.rounds.local_pool import set_up_libraries

    set_up_libraries(config.threads)
    device = pick_device(config.device)
    config = replace(config, arms={arm: config.arms[arm]}, seeds=config.seeds[:1], rounds=rounds + 1)
    seed = config.seeds[0]
    with tempfile.TemporaryDirectory(prefix="plateau-bench-") as folder:
        store = RunStore(Path(folder))
        backend = config.sandbox
        if backend == "auto":
            backend = ensure_backend(lambda line: progress(line, 0, 1)).name
        environment = describe(backend, device)
        write_json(
            store.manifest, {"name": config.name, "config": to_plain(config), "environment": environment}
        )
        run_job(store.root, seed, SHARED, progress)
        with Shares(PHASES) as shares:
            run_job(store.root, seed, arm, shares.of_rounds(range(1, rounds + 1), progress))
        base = store.root / f"seed-{seed}" / "base"
        machine = bench(
            config.model.path or str(base),
            prompts=config.tasks.held_out,
            samples=config.evaluate.samples,
            max_tokens=config.agent.completion_tokens,
            examples=min(config.train.examples, 400),
            batch_tokens=config.train.batch_tokens,
        )
        records = store.finished_rounds(seed, arm)[1 : rounds + 1]
        sampled = sum(_sampled(store, seed, arm, record) for record in records) / rounds
    return _summary(config, records, shares, sampled, machine)


def _summary(
    config: RunConfig, records: list[RoundRecord], shares: "Shares", sampled: float, machine: Speeds
) -> RoundSpeeds:
    rounds, ticks = len(records), shares.ticks.total() or 1
    return RoundSpeeds(
        device=machine.device,
        parameters=machine.parameters,
        rounds=rounds,
        seconds=shares.seconds / rounds,
        cpu_s=shares.cpu_s / rounds,
        phases={name: shares.seconds / rounds * count / ticks for name, count in shares.ticks.most_common()},
        phases_cpu={name: seconds / rounds for name, seconds in shares.cpu.items()},
        sampled_tokens=sampled,
        trained_tokens=sum(config.train.epochs * record.training["tokens"] for record in records) / rounds,
        generate_tokens_s=machine.generate_tokens_s,
        ceiling_flops=machine.ceiling_flops,
    )


def _sampled(store: RunStore, seed: int, arm: str, record: RoundRecord) -> int:
    """Tokens that the model wrote in a round, its free samples not counted."""
    folder = store.round(seed, arm, record.metrics.round)
    return sum(
        attempt.trajectory.completion_tokens
        for path in (folder.attempts(Purpose.EVALUATE), folder.attempts(Purpose.PRACTISE))
        if path.exists()
        for attempt in read_attempts(path)
    )


PHASES = {
    ("plateau_bench.agents.models.sampler", "sample"): "sample",
    ("plateau_bench.agents.models.cohort", "solve_many"): "agents",
    ("plateau_bench.harness.attempts.rollout", "_wait"): "grade",
    ("plateau_bench.harness.attempts.rollout", "roll_out"): "records",
    ("plateau_bench.results.attempt_log", "read_attempts"): "records",
    ("plateau_bench.results.metrics.drift", "score"): "drift",
    ("plateau_bench.harness.rounds.measure", "measure"): "metrics",
    ("plateau_bench.harness.rounds.choosing", "choose"): "choose",
    ("plateau_bench.harness.rounds.choosing", "account"): "choose",
    ("plateau_bench.harness.learning.train", "fine_tune"): "train",
    ("plateau_bench.harness.attempts.models", "Models._load"): "load and save",
    ("plateau_bench.agents.models.checkpoint", "save"): "load and save",
}
"""(module, function) -> the phase that its time counts for, less what other phases take inside it."""


class Shares:
    """Counts what this thread does, in rounds, while the `with` lasts; what is in no phase is 'other'."""

    def __init__(self, phases: dict[tuple[str, str], str]) -> None:
        self.ticks: Counter[str] = Counter()
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.seconds = self.cpu_s = 0.0
        self._phases = phases
        self._known: dict[CodeType, str | None] = {}
        self._watched = threading.get_ident()
        self._on, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="shares")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._switch(on=False)
        self._over.set()  # before the last wake-up
        self._on.set()
        self._thread.join()

    def of_rounds(self, rounds: range, progress: Progress) -> Progress:
        """`progress`, which also counts from the first of `rounds` to the end of the last."""

        def follow(phase: str, done: int, total: int) -> None:
            if phase == "round":
                self._switch(on=done in rounds)
            progress(phase, done, total)

        return follow

    def _switch(self, *, on: bool) -> None:
        if on == self._on.is_set():
            return
        sign = 1 if not on else -1
        self.seconds += sign * time.perf_counter()
        self.cpu_s += sign * time.process_time()
        (self._on.set if on else self._on.clear)()

    def _watch(self) -> None:
        clock = time.pthread_getcpuclockid(self._watched)
        while not self._over.is_set():
            if not self._on.is_set():
                self._on.wait()
                used = time.clock_gettime(clock)
                continue
            time.sleep(TICK_S)
            before, used = used, time.clock_gettime(clock)
            if frame := sys._current_frames().get(self._watched):
                phase = self._phase(frame)
                self.ticks[phase] += 1
                self.cpu[phase] += used - before

    def _phase(self, frame: FrameType | None) -> str:
        while frame is not None:
            code = frame.f_code
            if code not in self._known:
                place = (frame.f_globals.get("__name__", ""), code.co_qualname)
                self._known[code] = self._phases.get(place)
            if phase := self._known[code]:
                return phase
            frame = frame.f_back
        return "other"
