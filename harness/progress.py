"""Progress of a run on the terminal: one bar per arm with phase, round and time left."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Job = tuple[int, str]
"""(training seed, arm)."""


class Display:
    """Bars on a terminal; elsewhere (logs, CI) one line per finished round."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars: dict[Job, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[phase]:<28}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._rounds: dict[Job, int] = {}
        self._phases: dict[Job, str] = {}
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def add(self, job: Job, rounds: int) -> None:
        seed, arm = job
        self._bars[job] = self._progress.add_task(f"seed {seed} {arm}", total=rounds, phase="waiting")

    def finished(self, job: Job) -> None:
        bar = self._progress.tasks[self._progress.task_ids.index(self._bars[job])]
        self._progress.update(self._bars[job], completed=bar.total or 0, phase="done")
        self._plain(job, "done")

    @contextmanager
    def follow(self, events: Any) -> Iterator[None]:
        """Show events (job, phase, done, total) from worker processes while the block runs."""
        pump = threading.Thread(target=self._pump, args=(events,), daemon=True)
        with self._progress:
            pump.start()
            try:
                yield
            finally:
                events.put(None)
                pump.join(2)

    def _pump(self, events: Any) -> None:
        while (event := events.get()) is not None:
            self._show(*event)

    def _show(self, job: Job, phase: str, done: int, total: int) -> None:
        """Bars count rounds; within a round, phases move the bar by the share that they usually take."""
        if phase == "round":
            if done:
                self._plain(job, f"round {done}/{total} finished")
            self._rounds[job] = done
            self._progress.update(self._bars[job], completed=done, total=total)
            return
        if job[1] == "shared" and self._phases.get(job) != phase:
            self._plain(job, phase)
        self._phases[job] = phase
        index = self._rounds.get(job, 0)
        where = f"round {index}: " if job[1] != "shared" else ""
        self._progress.update(
            self._bars[job],
            completed=index + _share(phase, done / max(total, 1), job[1] == "shared"),
            phase=f"{where}{phase} {done}/{total}" if total > 1 else f"{where}{phase}",
        )

    def _plain(self, job: Job, text: str) -> None:
        if not self.console.is_terminal:
            self.say(f"[{time.monotonic() - self._started:6.0f} s] seed {job[0]} {job[1]}: {text}")


_ROUND = {
    "evaluate": (0.0, 0.45),
    "measuring": (0.45, 0.1),
    "practise": (0.55, 0.2),
    "training": (0.75, 0.25),
}
_PREPARE = {
    "human corpus": (0.0, 0.5),
    "pretraining": (0.5, 8.5),
    "evaluate": (9.0, 1.0),
    "practise": (10.0, 1.0),
}
"""Phase -> (start, length), in rounds; only used to place the bar."""


def _share(phase: str, part: float, preparing: bool) -> float:
    start, length = (_PREPARE if preparing else _ROUND).get(phase, (0.0, 0.0))
    return start + length * part
