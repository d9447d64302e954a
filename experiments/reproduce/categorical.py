"""E5 and E5b: a categorical distribution refitted to its own draws. Nothing but numpy; exact laws to check.

"Training" is maximum likelihood, so a generation is a vector of shares of counts; whatever is lost here is
lost to finite samples and to how one samples, not to a model's shortcomings.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.outcome import Check, Outcome, Request
from plateau_bench.results.metrics.estimators import Floats
from plateau_bench.results.report.small_multiples import Line, Panel

SEEDS = (1, 2, 3)
GENERATIONS = 10


def zipf(types: int, exponent: float = 1.1) -> Floats:
    """Probabilities proportional to rank^-exponent."""
    weights = np.arange(1, types + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def gini_simpson(p: Floats) -> Floats:
    """1 - sum p^2 over the last axis: the chance that two draws differ."""
    return np.asarray(1.0 - (p**2).sum(axis=-1))


def law(start: float, n: int, generations: int, *, accumulate: bool) -> Floats:
    """Expected Gini-Simpson index of generations 0..g, for n draws a generation.

    replace:    G_0 (1 - 1/n)^g
    accumulate: G_0 prod_{j=1..g} (1 - 1/(n (j+1)^2)), never below G_0 (1 - (pi^2/6 - 1)/n)

    Generation 0 is the true distribution, counted as n draws.
    """
    steps = np.arange(1, generations + 1)
    shrink = 1 - 1 / (n * (steps + 1.0) ** 2) if accumulate else np.full(generations, 1 - 1 / n)
    return start * np.concatenate([[1.0], np.cumprod(shrink)])


def refit(p: Floats, n: int, generations: int, reps: int, seed: int, *, accumulate: bool) -> Floats:
    """Gini-Simpson index, (reps, generations + 1), of repeated refits of `p` to n draws a generation."""
    rng = np.random.default_rng([seed, accumulate])
    now = np.tile(p, (reps, 1))
    found = [gini_simpson(now)]
    for generation in range(1, generations + 1):
        drawn = rng.multinomial(n, now) / n
        now = (generation * now + drawn) / (generation + 1) if accumulate else drawn
        found.append(gini_simpson(now))
    return np.stack(found, axis=1)


def closed_form(request: Request) -> Outcome:
    """E5."""
    p, n, reps = zipf(200), 100, 200 if request.quick else 4000
    checks, lines = [], []
    rows: list[tuple[str, ...]] = [("arm", "seed", "predicted", "observed", "SE", "z")]
    for arm in ("replace", "accumulate"):
        predicted = law(float(gini_simpson(p)), n, GENERATIONS, accumulate=arm == "accumulate")
        lines.append(Line(label=f"{arm}, law", y=tuple(predicted.tolist())))
        scores = []
        for seed in SEEDS:
            found = refit(p, n, GENERATIONS, reps, seed, accumulate=arm == "accumulate")
            mean, se = found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(reps)
            scores.append(float((mean[-1] - predicted[-1]) / se[-1]))
            figures = (f"{x[-1]:.5f}" for x in (predicted, mean, se))
            rows.append((arm, str(seed), *figures, f"{scores[-1]:+.2f}"))
            if seed == SEEDS[0]:
                lines.append(Line(label=f"{arm}, simulated", y=tuple(mean.tolist())))
        checks.append(
            Check(
                criterion=f"{arm}: after {GENERATIONS} generations the mean is within 3 standard errors "
                "of the law, in every seed",
                met=all(abs(z) < 3 for z in scores),
                figures="z = " + ", ".join(f"{z:+.2f}" for z in scores),
            )
        )
    return Outcome(
        checks=tuple(checks),
        table=tuple(rows),
        panels=(Panel(title="chance that two draws differ", lines=tuple(lines)),),
        seeds=SEEDS,
        notes=(f"200 types, Zipf 1.1, {n} draws a generation, {reps} repetitions a seed",),
    )


class Arm(NamedTuple):
    """How one generation's draws are made."""

    kept: float = 0.0
    """Share of the draws that is a part of the original sample, a new part each generation."""
    fresh: float = 0.0
    """Share that is drawn from the truth anew."""
    temperature: float = 1.0
    noise: float = 0.0
    """Share of the model's draws that is uniform over all types."""
    pool: str = "latest"
    """What is fitted: 'latest' draws, 'all' so far, or a 'subsample' of all of the size of one generation."""


ARMS: dict[str, Arm] = {
    "replace": Arm(),
    "accumulate": Arm(pool="all"),
    "accumulate_subsample": Arm(pool="subsample"),
    "keep_original 10 %": Arm(kept=0.1),
    "fresh 5 %": Arm(fresh=0.05),
    "fresh 10 %": Arm(fresh=0.1),
    "replace, T = 0.8": Arm(temperature=0.8),
    "replace, 10 % noise": Arm(noise=0.1),
}

FLOOR = 1e-3
"""Share of a uniform distribution mixed into a model before a logarithm is taken of it."""


class Tail(NamedTuple):
    """Means over repetitions, by generation."""

    support: Floats
    kl: Floats
    """KL(truth || model), nats."""
    head_ppl: Floats
    head: Floats
    """Share of the head's types with a count above 0; likewise:"""
    torso: Floats
    tail: Floats


def strata(p: Floats) -> dict[str, NDArray[np.bool_]]:
    """Masks: head covers the first half of the probability, torso the next 40 %, tail the last tenth."""
    before = np.cumsum(p) - p
    return {"head": before < 0.5, "torso": (before >= 0.5) & (before < 0.9), "tail": before >= 0.9}


def tail_loss(p: Floats, arm: Arm, n: int, generations: int, reps: int, seed: int) -> Tail:
    """Refit `p` to draws of its own fits; generation 0 is fitted to n true draws."""
    rng = np.random.default_rng(seed)
    names = strata(p)
    head = names["head"] * p / p[names["head"]].sum()
    rows: list[tuple[float, ...]] = []
    for _ in range(reps):
        original = rng.multinomial(n, p)
        total, fitted = original.copy(), original
        for generation in range(generations + 1):
            if generation:
                drawn = _draw(rng, fitted / fitted.sum(), p, arm, n)
                if arm.kept:
                    drawn = drawn + rng.multivariate_hypergeometric(original, round(arm.kept * n))
                total = total + drawn
                if arm.pool == "subsample":
                    fitted = rng.multivariate_hypergeometric(total, n)
                else:
                    fitted = total if arm.pool == "all" else drawn
            q = (1 - FLOOR) * fitted / fitted.sum() + FLOOR / p.size
            rows.append(
                (
                    float((fitted > 0).sum()),
                    float((p * np.log(p / q)).sum()),
                    math.exp(-float((head * np.log(q)).sum())),
                    *(float((fitted[mask] > 0).mean()) for mask in names.values()),
                )
            )
    return Tail(*np.array(rows).reshape(reps, generations + 1, -1).mean(axis=0).T)


def _draw(rng: np.random.Generator, q: Floats, p: Floats, arm: Arm, n: int) -> np.ndarray:
    """One generation's new counts, without the kept originals."""
    fresh = round(arm.fresh * n)
    own = n - fresh - round(arm.kept * n)
    if arm.temperature != 1.0:
        q = q ** (1 / arm.temperature)
        q = q / q.sum()
    q = (1 - arm.noise) * q + arm.noise / q.size
    return np.asarray(rng.multinomial(own, q) + (rng.multinomial(fresh, p) if fresh else 0))


def tail_table(request: Request) -> Outcome:
    """E5b."""
    p, n, reps = zipf(2000), 5000, 2 if request.quick else 20
    found = {
        seed: {name: tail_loss(p, arm, n, GENERATIONS, reps, seed) for name, arm in ARMS.items()}
        for seed in SEEDS
    }
    rows: list[tuple[str, ...]] = [
        ("arm", "types left", "KL(truth||model)", "tail types alive", "head perplexity")
    ]
    columns = {"support": "{:.0f}", "kl": "{:.2f}", "tail": "{:.2f}", "head_ppl": "{:.1f}"}
    for name in ARMS:
        cells = []
        for key, show in columns.items():
            curves = [getattr(found[seed][name], key) for seed in SEEDS]
            cells.append(" -> ".join(show.format(np.mean([c[place] for c in curves])) for place in (0, -1)))
        rows.append((name, *cells))

    def panel(title: str, key: str, *, log: bool = False) -> Panel:
        curves = {name: getattr(found[SEEDS[0]][name], key).tolist() for name in ARMS}
        return Panel(title=title, lines=tuple(Line(label=n, y=tuple(y)) for n, y in curves.items()), log=log)

    return Outcome(
        checks=tuple(_tail_checks(found)),
        table=tuple(rows),
        panels=(
            panel("types left", "support", log=True),
            panel("KL(truth || model), nats", "kl"),
            panel("head perplexity", "head_ppl", log=True),
        ),
        seeds=SEEDS,
        notes=(
            f"2000 types, Zipf 1.1, {n} draws and {reps} repetitions a seed, {GENERATIONS} generations",
            f"models are mixed with {FLOOR:.1%} uniform before logarithms are taken",
        ),
    )


def _tail_checks(found: dict[int, dict[str, Tail]]) -> list[Check]:
    def every(
        criterion: str, holds: Callable[[dict[str, Tail]], bool], tell: Callable[[dict[str, Tail]], str]
    ) -> Check:
        return Check(
            criterion=f"{criterion}, in every seed",
            met=all(holds(arms) for arms in found.values()),
            figures="; ".join(tell(arms) for arms in found.values()),
        )

    def left(arms: dict[str, Tail], name: str) -> float:
        return float(arms[name].support[-1])

    def survival(arms: dict[str, Tail]) -> list[float]:
        of = arms["replace"]
        return [float(alive[-1] / alive[0]) for alive in (of.tail, of.torso, of.head)]

    def steps(arms: dict[str, Tail]) -> tuple[float, float]:
        kl, half = arms["replace"].kl, GENERATIONS // 2
        return float(kl[half] - kl[0]), float(kl[-1] - kl[half])

    order = ("replace", "fresh 5 %", "fresh 10 %", "accumulate_subsample", "accumulate")
    return [
        every(
            "replace loses the tail first, the head last (share of a stratum's types that survive)",
            lambda a: survival(a)[0] < survival(a)[1] < survival(a)[2],
            lambda a: "tail {:.2f}, torso {:.2f}, head {:.2f}".format(*survival(a)),
        ),
        every(
            "types left: " + " < ".join(order),
            lambda a: all(left(a, x) < left(a, y) for x, y in zip(order, order[1:], strict=False)),
            lambda a: " < ".join(f"{left(a, name):.0f}" for name in order),
        ),
        every(
            "accumulate keeps at least 99 % of its types: collapse is not inevitable",
            lambda a: left(a, "accumulate") >= 0.99 * a["accumulate"].support[0],
            lambda a: f"{left(a, 'accumulate') / a['accumulate'].support[0]:.3f}",
        ),
        every(
            "5 % fresh data delays but does not prevent: more types than replace, under 60 % of its first",
            lambda a: left(a, "replace") < left(a, "fresh 5 %") < 0.6 * a["fresh 5 %"].support[0],
            lambda a: (
                f"{left(a, 'replace'):.0f} < {left(a, 'fresh 5 %'):.0f} of {a['fresh 5 %'].support[0]:.0f}"
            ),
        ),
        every(
            "sampling at T = 0.8 leaves under a tenth of what T = 1 leaves: the sampler is the larger driver",
            lambda a: left(a, "replace, T = 0.8") < 0.1 * left(a, "replace"),
            lambda a: f"{left(a, 'replace, T = 0.8'):.1f} against {left(a, 'replace'):.0f}",
        ),
        every(
            "10 % noise buys variety with accuracy: more types than at first, head perplexity doubled",
            lambda a: (
                left(a, "replace, 10 % noise") > a["replace, 10 % noise"].support[0]
                and a["replace, 10 % noise"].head_ppl[-1] > 2 * a["replace, 10 % noise"].head_ppl[0]
            ),
            lambda a: (
                f"{left(a, 'replace, 10 % noise'):.0f} types, "
                f"ppl x {a['replace, 10 % noise'].head_ppl[-1] / a['replace, 10 % noise'].head_ppl[0]:.1f}"
            ),
        ),
        every(
            "replace: KL grows less in the second half of the generations than in the first (no runaway)",
            lambda a: steps(a)[1] < steps(a)[0],
            lambda a: "{:.2f} then {:.2f}".format(*steps(a)),
        ),
    ]
