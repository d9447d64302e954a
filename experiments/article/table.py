"""Signs of degradation generation by generation, beside a table that a published article claims.

The article gives no source, code or data for its table, so its numbers appear here, under that label, and
nowhere else. Their scales (corpus, tokenizer, sample size) are unknown: compare courses, not heights.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_ARM = "unverified"
LABEL = "claimed by the article, unsourced"
COLUMNS = {
    "rare_ppl": "rare-token perplexity",
    "distinct4": "distinct 4-grams",
    "kl_base": "KL (base ‖ current), nats per token",
    "excess_ce": "excess cross-entropy on human text, bits per token",
}
CLAIMED: Mapping[str, tuple[float, ...]] = {
    "rare_ppl": (12.3, 14.1, 16.8, 19.5, 22.7, 25.9),
    "distinct4": (8.2e6, 7.6e6, 6.9e6, 6.1e6, 5.3e6, 4.6e6),
    "kl_base": (0.0, 0.12, 0.28, 0.49, 0.73, 1.01),
}
"""Generation 0..5 as the article prints them: perplexity, distinct 4-grams, KL from a human baseline."""


def generation_rows(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per generation: every measured column, and what the article claims for it (None beyond its table).

    `rounds`: an arm's rounds as in report.json.
    """
    return [
        {"round": row["round"]}
        | {name: row["metrics"].get(name) for name in COLUMNS}
        | {"claimed": {name: _at(CLAIMED[name], row["round"]) for name in CLAIMED}}
        for row in rounds
    ]


def arm_rows(report: Mapping[str, Any], arm: str) -> list[dict[str, Any]]:
    """`generation_rows` of one arm of a report. Raises ValueError for an arm that the run does not have."""
    if arm not in report["arms"]:
        raise ValueError(
            f"no arm {arm!r} in this run; choose one with --arm: {', '.join(report['arm_order'])}"
        )
    return generation_rows(report["arms"][arm]["rounds"])


def change(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[float | None, float | None]:
    """Last generation over generation 0, measured and claimed, over the generations that both have.

    KL and excess cross-entropy start at 0, so they have no ratio; None there and where a value is missing.
    """
    common = [row for row in rows if row["claimed"].get(column) is not None]
    if len(common) < 2 or column not in ("rare_ppl", "distinct4"):
        return None, None
    first, last = common[0], common[-1]
    claimed = last["claimed"][column] / first["claimed"][column]
    ours = (first[column], last[column])
    return (ours[1]["value"] / ours[0]["value"] if all(ours) and ours[0]["value"] else None), claimed


def generations_table(report: Mapping[str, Any], arm: str) -> "Table":
    """The table of one arm for the terminal. Raises ValueError for an arm that the run does not have."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = arm_rows(report, arm)
    table = Table(title=Text(f"{report['name']}, {arm}: generation by generation"), box=SIMPLE_HEAD)
    table.add_column("generation", justify="right")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for title in ("perplexity", "distinct 4-grams", "KL"):
        table.add_column(Text(f"{title} ({LABEL})"), justify="right", style="dim")
    for row in rows:
        ours = ["-" if row[name] is None else f"{row[name]['value']:.4g}" for name in COLUMNS]
        told = [claim_text(name, row["claimed"][name]) for name in CLAIMED]
        table.add_row(str(row["round"]), *ours, *told)
    return table


def claim_text(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:.1f} M" if column == "distinct4" else f"{value:g}"


def _at(values: Sequence[float], index: int) -> float | None:
    return values[index] if index < len(values) else None
