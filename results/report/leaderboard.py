"""What agents scored in an evaluation: numbers, a leaderboard with groups, a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plateau_bench.agents.base import Ending
from plateau_bench.results.claims.agents import Versus, comparable, groups, versus
from plateau_bench.results.metrics.pass_table import PassTable, pass_table
from plateau_bench.results.metrics.success import STRATA, pass_metrics, rate_in
from plateau_bench.results.records import Attempt, Estimate
from plateau_bench.results.report.figures import draw_scores
from plateau_bench.results.report.page import templates, trusted
from plateau_bench.results.store import write_bytes
from plateau_bench.tasks.base import Outcome, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentScore:
    """One agent on one suite. Intervals are 95 %, over task clusters."""

    agent: str
    model: str
    tasks: int
    attempts: int
    values: Mapping[str, Estimate | None]
    """pass@1, pass@k and pass^k for k samples, pass@1 per stratum, hack rate."""
    endings: Mapping[str, int]
    infra: int
    cost_usd: float | None
    """The cost of all attempts; None if the price or the usage of any is unknown."""
    tokens: int
    seconds: float
    """Mean of an attempt."""
    turns: float | None
    """Mean model calls of an attempt that has a conversation."""

    planned: int | None = None
    """Attempts that the evaluation asks for; None where that was not kept."""

    @property
    def open(self) -> int:
        """Attempts that are still to be made."""
        return max(0, (self.planned or 0) - self.attempts)

    @property
    def pass1(self) -> Estimate | None:
        """pass@1; None if no attempt was decided."""
        return self.values["pass@1"]


def score(
    agent: str, attempts: Sequence[Attempt], *, seed: int = 0, planned: int | None = None
) -> tuple[AgentScore, PassTable]:
    """Raises ValueError for no attempts."""
    # An evaluation trains on nothing, so both sides of a suite count alike.
    table = pass_table([replace(one, split=Split.HELD_OUT) for one in attempts])
    k = int(table.n.min())
    values, _ = pass_metrics(table, ks=sorted({1, k}), seed=seed)
    shown = ("pass@1", f"pass@{k}", "pass^k", "hack_rate")
    kept = {name: values[name] for name in shown if name in values}
    for stratum in (*STRATA, *sorted(set(table.strata) - {*STRATA, ""})):
        if stratum in table.strata:
            kept[f"pass@1/{stratum}"] = rate_in(table, stratum, seed)
    infra = sum(a.verdict.outcome is Outcome.INFRA for a in attempts)
    if infra == len(attempts):  # nothing was decided, so nothing is known
        kept = dict.fromkeys(kept)
    paths = [a.trajectory for a in attempts]
    costs = [t.cost_usd for t in paths]
    turns = [sum(m.role == "assistant" for m in t.messages) for t in paths if t.messages]
    found = AgentScore(
        agent=agent,
        model=next((t.model for t in paths if t.model), ""),
        tasks=len(table.task_ids),
        attempts=len(attempts),
        values=kept,
        endings={e.value: n for e in Ending if (n := sum(t.ending is e for t in paths))},
        infra=infra,
        cost_usd=None if None in costs else sum(c for c in costs if c is not None),
        tokens=sum(t.prompt_tokens + t.completion_tokens for t in paths),
        seconds=sum(t.duration_s for t in paths) / len(paths),
        turns=sum(turns) / len(turns) if turns else None,
        planned=planned,
    )
    return found, table


_HEAD = (
    "agent",
    "pass@1 (95 %)",
    "group",
    "tasks",
    "attempts",
    "pass@k",
    "pass^k",
    "hack rate",
    "cost",
    "tokens",
    "s",
)
_NOTE = "Agents that share a letter are not distinguishable on these tasks."


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """Agents from best to worst, with the groups that cannot be told apart."""

    scores: tuple[AgentScore, ...]
    found: tuple[Versus, ...]
    letters: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """What stands between the table and a comparison of all agents, in sentences."""

    @staticmethod
    def of(
        evaluated: Mapping[str, Sequence[Attempt]],
        *,
        seed: int = 0,
        planned: Mapping[str, int | None] | None = None,
        notes: Sequence[str] = (),
    ) -> "Leaderboard":
        """Raises ValueError where attempts are of different tasks under one id, or there are none.

        `planned`: attempts that each agent is to make. Who has not made them yet is listed last and is not
        compared with others, nor is who has no attempt that was decided.
        """
        plan = planned or {}
        both = {
            agent: score(agent, attempts, seed=seed, planned=plan.get(agent))
            for agent, attempts in evaluated.items()
        }
        _same_tasks(evaluated)
        scores = sorted((s for s, _ in both.values()), key=_rank)
        said = [line for s in scores if (line := _not_compared(s))]
        whole = {s.agent: both[s.agent][1] for s in scores if not _not_compared(s)}
        tables, apart = comparable(whole)
        found = versus(tables, seed=seed) if len(tables) > 1 else []
        letters = {s.agent: "-" for s in scores} | groups([s.agent for s in scores], found)
        return Leaderboard(
            scores=tuple(scores), found=tuple(found), letters=letters, notes=(*notes, *said, *apart)
        )

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per agent; the columns of the CSV."""
        return [
            {
                "agent": s.agent,
                "model": s.model,
                "group": self.letters[s.agent],
                "tasks": s.tasks,
                "attempts": s.attempts,
                "planned": s.planned,
                **{
                    f"{name}{part}": None if value is None else round(getattr(value, field), 4)
                    for name, value in s.values.items()
                    for part, field in (("", "value"), ("_low", "low"), ("_high", "high"))
                },
                "infra": s.infra,
                "cost_usd": s.cost_usd,
                "tokens": s.tokens,
                "seconds": round(s.seconds, 2),
                "turns": s.turns,
                "endings": " ".join(f"{name}={n}" for name, n in s.endings.items()),
            }
            for s in self.scores
        ]

    def csv(self) -> str:
        """The rows as comma-separated values with a header."""
        rows = self.rows()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def markdown(self) -> str:
        """A table, then every comparison in words."""
        lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
        lines += ["| " + " | ".join(cells) + " |" for cells in map(self._cells, self.scores)]
        said = [f"- {line}" for line in self.sentences()]
        return "\n".join([*lines, "", *([_NOTE, ""] if self.found else []), *said]) + "\n"

    def sentences(self) -> list[str]:
        """Every comparison in words, then what could not be compared."""
        return [*(v.sentence() for v in self.found), *self.notes]

    def _cells(self, s: AgentScore) -> tuple[str, ...]:
        p, k = s.pass1, max(int(n[5:]) for n in s.values if n[5:].isdigit())

        def percent(name: str) -> str:
            value = s.values.get(name)
            return "-" if value is None else f"{100 * value.value:.1f} %"

        return (
            s.agent,
            "unknown" if p is None else f"{100 * p.value:.1f} % ({100 * p.low:.1f} to {100 * p.high:.1f})",
            self.letters[s.agent],
            str(s.tasks),
            f"{s.attempts} of {s.planned}, unfinished" if s.open else f"{s.attempts}",
            f"{percent(f'pass@{k}')} (k = {k})",
            percent("pass^k"),
            percent("hack_rate"),
            "unknown" if s.cost_usd is None else f"${s.cost_usd:.4g}",
            f"{s.tokens:,}",
            f"{s.seconds:.1f}",
        )

    def html(self, title: str) -> str:
        """A page by itself: picture, table, comparisons in words."""
        page = templates().get_template("leaderboard.html")
        return page.render(
            title=title,
            picture=trusted(draw_scores([(s.agent, s.pass1) for s in self.scores if s.pass1])),
            head=_HEAD,
            rows=map(self._cells, self.scores),
            note=_NOTE if self.found else "",
            sentences=self.sentences(),
        )

    def save(self, folder: Path, title: str) -> Path:
        """Write `leaderboard.md`, `.csv` and `.html` into `folder`; gives the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in (("md", self.markdown()), ("csv", self.csv()), ("html", self.html(title))):
            write_bytes(folder / f"leaderboard.{kind}", text.encode())
        return folder / "leaderboard.html"


def _rank(s: AgentScore) -> tuple[bool, bool, float]:
    """From best to worst; then the unfinished, which are judged by what happened to come first."""
    return (s.open > 0, s.pass1 is None, 0.0 if s.pass1 is None else -s.pass1.value)


def _not_compared(s: AgentScore) -> str:
    """Why an agent is not compared with others, or ''."""
    if s.open:
        return f"{s.agent} is unfinished ({s.attempts} of {s.planned} attempts) and not compared"
    if s.pass1 is None:
        return f"{s.agent}: nothing was decided, for the box or the grader broke in all {s.attempts} attempts"
    return ""


def _same_tasks(evaluated: Mapping[str, Sequence[Attempt]]) -> None:
    digests: dict[str, tuple[str, str]] = {}
    for agent, attempts in evaluated.items():
        for attempt in attempts:
            other, digest = digests.setdefault(attempt.task_id, (agent, attempt.task_digest))
            if digest != attempt.task_digest:
                raise ValueError(
                    f"task {attempt.task_id} was not the same for {other} and {agent} (digests "
                    f"{digest[:8]} and {attempt.task_digest[:8]}); evaluate one of them again"
                )
