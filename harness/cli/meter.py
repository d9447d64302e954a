"""Progress of an evaluation: a bar per agent with the running pass rate and cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome


class Meter:
    """Bars on a terminal; elsewhere a line for every tenth."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def note(self, agent: str, total: int, new: Sequence[Attempt]) -> None:
        """Count attempts of an agent that has `total` to make."""
        tally = self._tallies[agent]
        tally.add(new)
        told = str(tally)
        if agent not in self._bars:
            self._bars[agent] = self._progress.add_task(agent, total=total, told="")
        self._progress.update(self._bars[agent], completed=tally.made, total=total, told=told)
        tenth = 10 * tally.made // max(total, 1)
        if not self.console.is_terminal and self._tenths.get(agent) != tenth:
            self._tenths[agent] = tenth
            self.say(f"{agent}: {tally.made}/{total} {told}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Tally:
    """What attempts came to: `"pass 52.0 %  $0.31"`; attempts whose cost is unknown are named."""

    made = passed = priced = decided = 0
    usd = 0.0

    def add(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            cost = attempt.trajectory.cost_usd
            self.made += 1
            self.decided += attempt.verdict.outcome is not Outcome.INFRA
            self.passed += attempt.verdict.outcome is Outcome.PASSED
            self.priced += cost is not None
            self.usd += cost or 0.0

    def __str__(self) -> str:
        money = f"  ${self.usd:.4g}" if self.priced else ""
        if 0 < self.priced < self.made:
            money += f" + {self.made - self.priced} of unknown cost"
        rate = f"{100 * self.passed / self.made:.1f} %" if self.decided else "unknown"
        return f"pass {rate}{money}" if self.made else ""
