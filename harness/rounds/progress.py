"""Progress of a run on the terminal: a bar per job with phase and round, one over all with time left."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Job = tuple[int, str]
"""(training seed, arm)."""

_ROUND = {
    "evaluate": (0.0, 0.45),
    "measuring": (0.45, 0.1),
    "practise": (0.55, 0.2),
    "training": (0.75, 0.2),
    "select": (0.95, 0.05),
}
_PREPARE = {
    "human corpus": (0.0, 0.5),
    "pretraining": (0.5, 6.5),
    "evaluate": (7.0, 0.5),
    "practise": (7.5, 0.5),
}
"""Phase -> (start, length) in units of one round; only used to place the bars."""
PREPARE_UNITS = 8


class Display:
    """Bars on a terminal; elsewhere (logs, CI) one line per finished round."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[phase]:<28}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not self.console.is_terminal,
            speed_estimate_period=600,
        )
        self._bars: dict[Job, TaskID] = {}
        self._all = self._progress.add_task("whole run", total=None, phase="")
        self._units: dict[Job, float] = {}
        self._done: dict[Job, float] = {}
        self._phases: dict[Job, str] = {}
        self._over: set[Job] = set()
        self._started = time.monotonic()

    @property
    def total(self) -> float:
        """Units of the whole run; a round of one arm is one unit."""
        return sum(self._units.values())

    @property
    def done(self) -> float:
        return sum(self._done.values())

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def plan(self, seeds: Sequence[int], preparation: str, arms: Sequence[str], rounds: int) -> None:
        """What there is to do: for each seed its preparation, then every arm for `rounds` rounds."""
        for seed in seeds:
            self._units[seed, preparation] = PREPARE_UNITS
            self._units |= {(seed, arm): rounds for arm in arms}
        self._preparation = preparation
        self._progress.update(self._all, total=self.total)

    def begin(self, job: Job) -> None:
        self._bars[job] = self._progress.add_task(
            f"seed {job[0]} {job[1]}", total=self._units[job], phase="waiting for a free worker"
        )

    def finished(self, job: Job) -> None:
        self._over.add(job)
        self._move(job, self._units[job], "done")
        self._plain(job, "done")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *ending: object) -> None:
        self._progress.stop()

    def show(self, job: Job, phase: str, done: int, total: int) -> None:
        """How far a running job is; may be called from any thread."""
        if job in self._over:  # an event that was still under way when the job ended
            return
        preparing = job[1] == self._preparation
        if phase == "round":
            if done:
                self._plain(job, f"round {done}/{total} finished")
            self._move(job, done, f"round {done}")
            return
        if preparing and self._phases.get(job) != phase:
            self._plain(job, phase)
        self._phases[job] = phase
        start, length = (_PREPARE if preparing else _ROUND).get(phase, (0.0, 0.0))
        # Whole rounds come as 'round' events; a phase moves the bar within the current one.
        index = 0 if preparing else int(self._done.get(job, 0))
        where = "" if preparing else f"round {index}: "
        count = f" {done}/{total}" if total > 1 else ""
        self._move(job, index + start + length * done / max(total, 1), f"{where}{phase}{count}")

    def _move(self, job: Job, units: float, text: str) -> None:
        self._done[job] = units
        self._progress.update(self._bars[job], completed=units, phase=text)
        self._progress.update(self._all, completed=self.done)

    def _plain(self, job: Job, text: str) -> None:
        if not self.console.is_terminal:
            self.say(f"[{time.monotonic() - self._started:6.0f} s] seed {job[0]} {job[1]}: {text}")
