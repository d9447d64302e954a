"""Progress of an evaluation: a bar per agent with the running pass rate and cost."""

from collections.abc import Sequence
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

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def note(self, agent: str, made: Sequence[Attempt], total: int) -> None:
        told = running(made)
        if agent not in self._bars:
            self._bars[agent] = self._progress.add_task(agent, total=total, told="")
        self._progress.update(self._bars[agent], completed=len(made), total=total, told=told)
        tenth = 10 * len(made) // max(total, 1)
        if not self.console.is_terminal and self._tenths.get(agent) != tenth:
            self._tenths[agent] = tenth
            self.say(f"{agent}: {len(made)}/{total} {told}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def running(made: Sequence[Attempt]) -> str:
    """`"pass 52.0 %  $0.31"`; attempts whose cost is unknown are named."""
    if not made:
        return ""
    passed = sum(attempt.verdict.outcome is Outcome.PASSED for attempt in made)
    costs = [attempt.trajectory.cost_usd for attempt in made]
    known = [cost for cost in costs if cost is not None]
    money = f"  ${sum(known):.4g}" if known else ""
    unknown = f" + {len(costs) - len(known)} of unknown cost" if known and len(known) < len(costs) else ""
    return f"pass {100 * passed / len(made):.1f} %{money}{unknown}"
