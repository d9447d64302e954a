"""What a reproduction is, and what it found: checks with figures, a table, panels to draw."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plateau_bench.results.report.small_multiples import Panel, columns

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One pass criterion: met only if every part of it is."""

    criterion: str
    met: bool
    figures: str
    """The numbers it was decided on, per seed where it is decided per seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one reproduction found."""

    checks: tuple[Check, ...]
    table: tuple[tuple[str, ...], ...]
    """Rows of text, the header first."""
    panels: tuple[Panel, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to judge it, such as sizes that differ from the source's."""

    @property
    def met(self) -> bool:
        return all(check.met for check in self.checks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """How a reproduction is to be played."""

    folder: Path
    """For its files; a run folder lies in it where there is one."""
    say: Say
    quick: bool = False
    """Smallest sizes that go through every step; the outcome then says nothing."""
    runs: tuple[Path, ...] = ()
    """Run folders that hold the arms between them, to be judged instead of playing one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """A claim, where it is from, and the function that tries it."""

    name: str
    claim: str
    source: str
    cost: str
    """Roughly how long it takes on two cores."""
    play: Callable[[Request], Outcome]


def facts(reproduction: Reproduction, outcome: Outcome, more: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome as plain data, for JSON."""
    told = {key: getattr(reproduction, key) for key in ("name", "claim", "source")}
    return {**told, "met": outcome.met, **more, **_plain(asdict(outcome))}


def _plain(value: Any) -> Any:
    """Floats to five significant digits: enough to draw the figure again."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def text(reproduction: Reproduction, outcome: Outcome) -> str:
    """The outcome for a terminal: claim, table, each criterion with 'met' or 'MISSED'."""
    lines = [f"{reproduction.name}: {reproduction.claim}", f"source: {reproduction.source}", ""]
    lines += [*columns(outcome.table), ""]
    for check in outcome.checks:
        lines += [f"{'met   ' if check.met else 'MISSED'}  {check.criterion}", f"        {check.figures}"]
    lines += [f"note: {note}" for note in outcome.notes]
    met = sum(check.met for check in outcome.checks)
    verdict = "met" if outcome.met else "MISSED"
    return "\n".join(
        [*lines, "", f"{reproduction.name}: {verdict} ({met} of {len(outcome.checks)} criteria)"]
    )
