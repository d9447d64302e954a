"""The findings of a report as plain sentences, each of which claims no more than its interval allows.

Words are chosen with care: "rose" and "fell" are PDT-1 claims with simultaneous bounds; "no fall was
detected" always comes with the size of a fall that would have been noticed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from plateau_bench.results.claims.labels import join_words, plain_label
from plateau_bench.results.report.reading import Facts, Point, curve, label_of, peak

_OPEN = ("inconclusive", "plateau")
"""Labels that name no direction."""
_INFRA_WARNING = 0.01
MUCH_CUT_OFF = 0.05
"""Share of round 0's attempts at their token limit from which on it is said."""


class Statement(NamedTuple):
    """One thing known about an arm; the text goes on where the topic's colon stops."""

    topic: str
    text: str


def summarise(report: Facts) -> list[str]:
    """All sentences: the lead, then each arm's, then comparisons and cautions."""
    sentences = [lead(report)]
    for arm in report["arm_order"]:
        sentences += [
            f"{arm}, {topic[0].lower()}{topic[1:]}: {text}" for topic, text in arm_findings(report, arm)
        ]
    return sentences + closing_sentences(report) + list(report["notes"])


def lead(report: Facts) -> str:
    """One sentence over all arms."""
    groups: dict[str, list[str]] = {}
    for arm in report["arm_order"]:
        groups.setdefault(plain_label(label_of(report["arms"][arm], "pass@1")), []).append(arm)
    parts = []
    for words, arms in groups.items():
        names = join_words(arms)
        parts.append(
            {
                "nothing established": f"nothing could be established for {names}",
                "not judged": f"{names} could not be judged",
            }.get(words, f"it {words.replace(', then', ' and then')} in {names}")
        )
    found = "Success in one attempt (pass@1) on held-out tasks: " + "; ".join(parts) + "."
    return " ".join([found, *_hollow(report)])


def _hollow(report: Facts) -> list[str]:
    """What makes the figures mean less than they seem to: said at once, with the lead."""
    said = []
    cut = max((value for arm in report["arm_order"] for value in _first_cut(report, arm)), default=0.0)
    if cut > MUCH_CUT_OFF:
        said.append(
            f"{percent(cut)} of the attempts of round 0 ended at their token limit "
            "(agent.completion_tokens), so the figures measure that limit, too."
        )
    idle = [a for a in report["arm_order"] if report["arms"][a]["training"]["examples"] == 0]
    if idle:
        said.append(f"Nothing passed in practice, so nothing was trained in {join_words(idle)}.")
    return said


def _first_cut(report: Facts, arm: str) -> list[float]:
    return [found["value"] for index, found in curve(report["arms"][arm], "truncated") if index == 0]


def arm_findings(report: Facts, arm: str) -> list[Statement]:
    """What is known about one arm, by topic."""
    facts = report["arms"][arm]
    phase = facts["phases"].get("pass@1")
    if phase is None:
        return [
            Statement("Pass rate", "nothing is claimed: pass@1 was not measured in at least two rounds."),
            *_variety(facts),
        ]
    findings = [Statement("Pass rate", " ".join([_course(facts, phase), *_end(phase)]))]
    findings += [*_breadth(facts), *_variety(facts)]
    if report["silent_collapse"][arm]["shown"]:
        findings.append(
            Statement(
                "Silent collapse",
                "the pass rate alone gives no warning here, while ways of being right are being lost.",
            )
        )
    findings.append(Statement("Reach", _level(phase, len(facts["seeds"]))))
    if phase["sd_round"] is not None:
        findings.append(Statement("Training noise", _noise(phase["sd_round"])))
    # The note on few seeds says what the reach has just said in other words.
    findings += [
        Statement("Note", f"{note.rstrip('.')}.") for note in phase["notes"] if "seed(s)" not in note
    ]
    return findings


def closing_sentences(report: Facts) -> list[str]:
    """Comparisons between arms, and what must not be read into the report."""
    sentences = [_comparison(report, row) for row in report["comparisons"] if row["difference"]]
    if any("decline" in (label_of(facts, "hill1") or "") for facts in report["arms"].values()):
        sentences.append(
            "Less variety is a loss in itself, but it does not foretell a fall of pass@1: arms that keep "
            "improving can lose it too."
        )
    return sentences + _ungraded(report)


def points(value: float, signed: bool = False) -> str:
    """A difference of rates in percentage points: 0.052 -> '5.2'."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def at_least(bound: float, show: Callable[[float], str], unit: str = "") -> str:
    """'at least 2.1 points'; a bound that rounds to nothing is 'a small amount'."""
    text = show(bound)
    return f"at least {text}{unit}" if text.strip("0.") else "an amount barely above zero"


def p_text(p: float) -> str:
    """'p = 0.031', or 'p < 0.001'."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.3f}"


def number(value: float) -> str:
    """A value with two decimals."""
    return f"{value:.2f}".replace("-", "−")


def percent(value: float) -> str:
    """A share in per cent with one decimal."""
    return f"{100 * value:.1f}\u00a0%"


def round_names(rounds: Sequence[int]) -> str:
    """'round 3', 'rounds 2 to 4', 'rounds 1, 3 and 4', '7 rounds'."""
    if len(rounds) == 1:
        return f"round {rounds[0]}"
    if len(rounds) > 2 and list(rounds) == list(range(rounds[0], rounds[-1] + 1)):
        return f"rounds {rounds[0]} to {rounds[-1]}"
    if len(rounds) > 4:
        return f"{len(rounds)} rounds"
    return "rounds " + join_words([str(r) for r in rounds])


_COURSES = {
    "rise->decline": "pass@1 rose by {rise} and then fell by {fall} ({values}).",
    "decline": "pass@1 fell by {fall}; a rise before that was not established ({values}).",
    "rise->plateau": "pass@1 rose by {rise} and then levelled off: {level} ({values}).{unseen}",
    "rise": "pass@1 rose by {rise} ({values}); that it has levelled off is not established.{unseen}",
    "plateau": "pass@1 ended level: {level} ({values}). A rise before that was not established.{unseen}",
    "flat": "pass@1 stayed level: no round is {margin} or more above or below the base ({values}).{unseen}",
    "inconclusive": "neither a rise, a level course nor a fall was established ({values}).{unseen}",
}


def _course(facts: Facts, phase: Facts) -> str:
    label, margin = phase["label"], f"{points(phase['delta'])} points"
    return _COURSES[label].format(
        rise=at_least(phase["rise"]["low"], points, " points") if "rise" in label else "",
        fall=at_least(phase["fall"]["low"], points, " points") + _drop(phase) if "decline" in label else "",
        level=f"from round {phase['plateau_from']} on, no later round is better by {margin} or more",
        margin=margin,
        values=_values(facts, phase),
        unseen=_unseen(phase, f"{points(phase['mde'])} points", "fall") if phase["mde"] is not None else "",
    )


def _values(facts: Facts, phase: Facts) -> str:
    known = curve(facts, "pass@1")
    if not known:
        return "no values"
    best, highest = peak(known)
    text = f"base {percent(_first(known))}, highest {percent(highest['value'])} in round {best}"
    if len(phase["peak_rounds"]) > 1:
        text += f" but any of {round_names(phase['peak_rounds'])} may be the true best"
    return text + f", last {percent(_last(known))}"


def _first(known: Sequence[Point]) -> float:
    return known[0][1]["value"]


def _last(known: Sequence[Point]) -> float:
    return known[-1][1]["value"]


def _drop(phase: Facts) -> str:
    if phase.get("split_drop") is None:
        return ""
    return f" (best estimate {points(phase['split_drop'])}, the peak picked and measured on separate samples)"


def _unseen(phase: Facts, size: str, what: str) -> str:
    return (
        f" No {what} was detected; one of {size} would have been noticed in 80\u00a0% of such runs, a "
        "smaller one may have gone unseen."
    )


def _end(phase: Facts) -> list[str]:
    end = phase["final_minus_base"]
    if end is None:
        return []
    if end["low"] == end["high"]:
        return ["The final rounds score exactly as the base does, on too few successes for an interval."]
    interval = f"95\u00a0% interval {points(end['low'], True)} to {points(end['high'], True)}"
    if end["low"] > 0 or end["high"] < 0:
        side = "above" if end["low"] > 0 else "below"
        return [f"The final rounds are {points(abs(end['value']))} points {side} the base ({interval})."]
    return [
        f"The final rounds cannot be told apart from the base ({points(end['value'], True)} points, "
        f"{interval})."
    ]


def _level(phase: Facts, seeds: int) -> str:
    if phase["level"] == "strategy":
        return f"This is strategy-level: about the method, from {seeds} training seeds."
    count = "1 training seed" if seeds == 1 else f"{seeds} training seeds"
    return (
        f"This is checkpoint-level: about these weights only ({count}); the same method trained again may "
        "turn out differently."
    )


def _noise(sd_round: float) -> str:
    """A shift of every logit by x moves a pass rate of one half by x / 4."""
    return (
        f"{number(sd_round)} logits from round to round beyond what tasks and samples explain; at a pass "
        f"rate of 50\u00a0% that is {points(sd_round / 4)} points."
    )


def _breadth(facts: Facts) -> list[Statement]:
    phase, known = facts["phases"].get("pass@8"), curve(facts, "pass@8")
    if phase is None or not known:
        return []
    course = f"{percent(_first(known))} at the base, {percent(_last(known))} in the last round"
    trend = "shows no established trend" if phase["label"] in _OPEN else plain_label(phase["label"])
    return [Statement("Any of eight attempts", f"pass@8 {trend} ({course}).")]


def _variety(facts: Facts) -> list[Statement]:
    phase, known = facts["phases"].get("hill1"), curve(facts, "hill1")
    if phase is None or not known:
        return [Statement("Variety", "could not be judged.")]
    label = phase["label"]
    course = (
        f"effectively different programs among four correct ones: {number(_first(known))} at the base, "
        f"{number(_last(known))} in the last round"
    )
    if "decline" in label:
        first = "grew at first and then shrank" if label.startswith("rise") else "shrank"
        return [Statement("Variety", f"{first} by {at_least(phase['fall']['low'], number)} ({course}).")]
    if label.startswith("rise"):
        return [Statement("Variety", f"grew by {at_least(phase['rise']['low'], number)} ({course}).")]
    unseen = _unseen(phase, number(phase["mde"]), "loss") if phase["mde"] is not None else ""
    if label in ("flat", "plateau"):
        return [Statement("Variety", f"{plain_label(label)} ({course}).{unseen}")]
    return [Statement("Variety", f"its course could not be settled ({course}).{unseen}")]


def _ungraded(report: Facts) -> list[str]:
    """A warning where the machinery broke so often that it could pass for lost ability."""
    sentences = []
    for arm in report["arm_order"]:
        rates = curve(report["arms"][arm], "infra")
        worst, share = peak(rates) if rates else (0, {"value": 0.0})
        if share["value"] >= _INFRA_WARNING:
            sentences.append(
                f"In round {worst} of {arm}, {percent(share['value'])} of the attempts could not be graded "
                "and count as not passed; its curve understates the model there."
            )
    return sentences


def _comparison(report: Facts, row: Facts) -> str:
    gap, names = row["difference"], f"{row['arm']} and {row['minus']}"
    last = f"At round {row['round']}" if row["at"] == "final" else "Best round against best round"
    detail = (
        f"95\u00a0% interval {points(gap['low'], True)} to {points(gap['high'], True)}, "
        f"{p_text(row['p_holm'])} after Holm's correction"
    )
    about = "about the methods" if row["seeds"] >= 3 else "about these checkpoints only"
    if row["p_holm"] <= 0.05 and (gap["low"] > 0 or gap["high"] < 0):
        side = "above" if gap["value"] > 0 else "below"
        size = f"{points(abs(gap['value']))} points {side} {row['minus']}"
        return f"{last}, {row['arm']} is {size} ({detail}; {about})."
    size = f"{points(gap['value'], True)} points"
    return f"{last}, no difference between {names} was established ({size}, {detail})."
