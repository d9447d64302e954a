"""What agents scored in an evaluation: numbers, a leaderboard with groups, a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plateau_bench.agents.base import Ending
from plateau_bench.results.claims.agents import Versus, groups, versus
from plateau_bench.results.metrics.pass_table import PassTable, pass_table
from plateau_bench.results.metrics.success import STRATA, pass_metrics, rate_in
from plateau_bench.results.records import Attempt, Estimate
from plateau_bench.results.report.figures import draw_scores
from plateau_bench.results.report.page import templates, trusted
from plateau_bench.results.store import write_bytes
from plateau_bench.tasks.base import Outcome


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

    @property
    def pass1(self) -> Estimate:
        """pass@1, which every agent with an attempt has."""
        found = self.values["pass@1"]
        assert found is not None
        return found


def score(agent: str, attempts: Sequence[Attempt], *, seed: int = 0) -> tuple[AgentScore, PassTable]:
    """Raises ValueError for no attempts."""
    table = pass_table(attempts)
    k = int(table.n.min())
    values, _ = pass_metrics(table, ks=sorted({1, k}), seed=seed)
    kept = {name: values[name] for name in ("pass@1", f"pass@{k}", "pass^k", "hack_rate")}
    for stratum in (*STRATA, *sorted(set(table.strata) - {*STRATA, ""})):
        if stratum in table.strata:
            kept[f"pass@1/{stratum}"] = rate_in(table, stratum, seed)
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
        infra=sum(a.verdict.outcome is Outcome.INFRA for a in attempts),
        cost_usd=None if None in costs else sum(c for c in costs if c is not None),
        tokens=sum(t.prompt_tokens + t.completion_tokens for t in paths),
        seconds=sum(t.duration_s for t in paths) / len(paths),
        turns=sum(turns) / len(turns) if turns else None,
    )
    return found, table


_HEAD = ("agent", "pass@1 (95 %)", "group", "pass@k", "pass^k", "hack rate", "cost", "tokens", "s")
_NOTE = "Agents that share a letter are not distinguishable on these tasks."


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """Agents from best to worst, with the groups that cannot be told apart."""

    scores: tuple[AgentScore, ...]
    found: tuple[Versus, ...]
    letters: Mapping[str, str]

    @staticmethod
    def of(evaluated: Mapping[str, Sequence[Attempt]], *, seed: int = 0) -> "Leaderboard":
        """Raises ValueError where attempts are of different tasks under one id, or there are none."""
        both = {agent: score(agent, attempts, seed=seed) for agent, attempts in evaluated.items()}
        _same_tasks(evaluated)
        scores = sorted((s for s, _ in both.values()), key=lambda s: -s.pass1.value)
        tables = {s.agent: both[s.agent][1] for s in scores}
        found = versus(tables, seed=seed) if len(tables) > 1 else []
        letters = groups([s.agent for s in scores], found)
        return Leaderboard(scores=tuple(scores), found=tuple(found), letters=letters)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per agent; the columns of the CSV."""
        return [
            {
                "agent": s.agent,
                "model": s.model,
                "group": self.letters[s.agent],
                "tasks": s.tasks,
                "attempts": s.attempts,
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
        return "\n".join([*lines, "", _NOTE, "", *(f"- {v.sentence()}" for v in self.found)]) + "\n"

    def _cells(self, s: AgentScore) -> tuple[str, ...]:
        p, k = s.pass1, max(int(n[5:]) for n in s.values if n[5:].isdigit())

        def percent(name: str) -> str:
            value = s.values.get(name)
            return "-" if value is None else f"{100 * value.value:.1f} %"

        return (
            s.agent,
            f"{100 * p.value:.1f} % ({100 * p.low:.1f} to {100 * p.high:.1f})",
            self.letters[s.agent],
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
            picture=trusted(draw_scores([(s.agent, s.pass1) for s in self.scores])),
            head=_HEAD,
            rows=map(self._cells, self.scores),
            note=_NOTE,
            sentences=[versus.sentence() for versus in self.found],
        )

    def save(self, folder: Path, title: str) -> Path:
        """Write `leaderboard.md`, `.csv` and `.html` into `folder`; gives the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in (("md", self.markdown()), ("csv", self.csv()), ("html", self.html(title))):
            write_bytes(folder / f"leaderboard.{kind}", text.encode())
        return folder / "leaderboard.html"


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
