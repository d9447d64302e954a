"""Which curves a report shows: titles, scales, and one sentence each on how to read them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One metric drawn over rounds."""

    metric: str
    title: str
    reading: str
    """One sentence: how to read it and which direction is good news."""
    percent: bool = False
    min_span: float = 0.0
    """Smallest height of the y axis, so that noise is not blown up into a trend."""
    reference: float | None = None
    """A horizontal line with a meaning of its own, such as "no change"."""
    hide_zero: bool = False
    """Leave the drawing out, and say so, where the value is 0 throughout: nothing happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Panels that are read together."""

    key: str
    title: str
    panels: tuple[Panel, ...]
    share_y: bool = False

    @property
    def in_threes(self) -> bool:
        """Three panels share a row of a wide page, so each is shown smaller."""
        return len(self.panels) % 3 == 0


def _rate(metric: str, title: str, reading: str, **more: Any) -> Panel:
    return Panel(metric=metric, title=title, reading=reading, percent=True, min_span=0.1, **more)


GROUPS: tuple[Group, ...] = (
    Group(
        key="success",
        title="How often it succeeds",
        panels=(
            _rate(
                "pass@1",
                "pass@1",
                "Share of held-out tasks solved by a single attempt. Higher is better; a hump that comes "
                "down again is the shape of a model that trained itself worse.",
            ),
            _rate(
                "pass@8",
                "pass@8",
                "Share of held-out tasks solved by at least one of eight attempts. Higher is better; if "
                "it falls while pass@1 rises, the model has become surer but knows fewer ways.",
            ),
        ),
    ),
    Group(
        key="strata",
        title="Common and rare knowledge",
        share_y=True,
        panels=tuple(
            _rate(
                f"pass@1/{stratum}",
                f"pass@1, {stratum} tasks",
                f"Single-attempt success on tasks whose rarest ingredient is {rarity} in human code. "
                "Higher is better; all three panels share one scale.",
            )
            for stratum, rarity in (("head", "common"), ("torso", "less common"), ("tail", "rare"))
        ),
    ),
    Group(
        key="variety",
        title="Variety of what it writes",
        panels=(
            Panel(
                metric="hill1",
                title="Different correct programs (Hill-1)",
                min_span=0.3,
                reading="Effective number of different programs among four correct ones for the same "
                "task, over tasks with four: 1 means always the same program, 4 means four different "
                "ones. Higher means more variety.",
            ),
            Panel(
                metric="effective@8",
                title="Different correct programs in eight attempts",
                min_span=0.3,
                reading="How many programs out of eight attempts are both correct and different from each "
                "other. Higher is better: it counts success and variety at once.",
            ),
            Panel(
                metric="distinct4",
                title="Distinct 4-grams",
                reading="Share of four-token sequences that differ from each other, over equally many "
                "generated tokens in every round. Higher means more variety; a steady fall means the "
                "model repeats itself.",
            ),
            Panel(
                metric="ngram_entropy",
                title="n-gram entropy",
                min_span=0.5,
                reading="How evenly the model spreads its writing over token sequences, in bits. Higher "
                "means more variety.",
            ),
            Panel(
                metric="token_entropy",
                title="Token entropy, fixed texts",
                min_span=0.1,
                reading="How undecided the model is about the next token on texts that never change, in "
                "nats. Falling means it grows surer; that is good news only while success grows too.",
            ),
            Panel(
                metric="token_entropy_onpolicy",
                title="Token entropy, own texts",
                min_span=0.1,
                reading="The same on what the model itself writes, in nats. Near zero, there is nothing "
                "left to explore and little left to gain from more rounds.",
            ),
        ),
    ),
    Group(
        key="drift",
        title="Distance from where it started",
        panels=(
            Panel(
                metric="kl_base",
                title="KL (base ‖ current)",
                min_span=0.05,
                reference=0.0,
                reading="How much of the base model's behaviour the current one no longer covers, in nats "
                "per token. Lower is safer; this direction reacts to forgotten behaviour.",
            ),
            Panel(
                metric="kl_from_base",
                title="KL (current ‖ base)",
                min_span=0.05,
                reference=0.0,
                reading="How far the current model's own writing is from the base model, in nats per "
                "token. It must move to learn; steadily faster movement is a warning.",
            ),
            Panel(
                metric="kl_prev",
                title="KL between successive rounds",
                min_span=0.05,
                reference=0.0,
                reading="How far one round moved the model, in nats per token. A value that shrinks means "
                "the loop is settling; one that grows means it is not.",
            ),
        ),
    ),
    Group(
        key="memory",
        title="What it still knows of human text",
        panels=(
            Panel(
                metric="excess_ce",
                title="Excess cross-entropy on human text",
                min_span=0.05,
                reference=0.0,
                reading="Extra bits per token needed to predict held-out human text, compared with the "
                "base model. Lower is better; zero means nothing was lost.",
            ),
            Panel(
                metric="rare_ppl",
                title="Rare-token perplexity",
                reading="How surprised the model is by rare tokens in held-out human text. Lower is "
                "better; a rise means rare knowledge is being lost.",
            ),
            Panel(
                metric="human_ppl",
                title="Perplexity of human text",
                reading="How surprised the model is by held-out human text as a whole. Lower is better.",
            ),
        ),
    ),
    Group(
        key="retention",
        title="Retention of base abilities",
        share_y=True,
        panels=tuple(
            _rate(
                f"retention_{stratum}",
                f"Retention, {stratum} tasks",
                f"Success on {rarity} tasks as a share of the base model's. Above 100 % is a gain; the "
                "tail falling below the head means rare knowledge goes first.",
                reference=1.0,
            )
            for stratum, rarity in (("head", "common"), ("torso", "less common"), ("tail", "rare"))
        ),
    ),
    Group(
        key="data",
        title="Quality of the training data",
        panels=(
            _rate(
                "verified_precision",
                "Verifier precision",
                "Share of attempts accepted by the visible tests that are truly correct by the hidden "
                "ones. Higher is better; what is missing to 100 % is trained on as if it were right.",
            ),
            _rate(
                "selected_precision",
                "Precision of the selected examples",
                "Share of the model's own programs in the training set that are truly correct. Higher is "
                "better.",
            ),
        ),
    ),
    Group(
        key="checks",
        title="What could fake a trend",
        panels=(
            _rate(
                "truncated",
                "Cut off at the token limit",
                "Share of attempts that ended at the token limit. Should stay low and steady: a rise can "
                "look like lost ability.",
                hide_zero=True,
            ),
            _rate(
                "infra",
                "Not gradable",
                "Share of attempts for which the box or the grader broke, counted as not passed. Should "
                "be near zero: a rise can look like lost ability.",
                hide_zero=True,
            ),
            _rate(
                "hack_rate",
                "Tampering",
                "Share of attempts in which tampering with the grader was found, counted as not passed. "
                "Lower is better.",
                hide_zero=True,
            ),
            Panel(
                metric="completion_tokens",
                title="Length of an attempt",
                min_span=2.0,
                reading="Mean tokens written in one attempt. Neither direction is good or bad in itself; "
                "a strong drift is worth a look at the texts.",
            ),
        ),
    ),
)
