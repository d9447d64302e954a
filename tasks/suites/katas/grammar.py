"""Pipelines of operations: how they are drawn, split, mutated and given test cases.

Everything random comes from a `random.Random` seeded with a string, and all weights are integers, so
that the same seed gives the same bytes on every platform.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, product
from math import prod
from typing import Any, NamedTuple

from plateau_bench.tasks.base import Case, FunctionTests
from plateau_bench.tasks.suites.katas.op import INTS, WORDS, Op
from plateau_bench.tasks.suites.katas.ops import OPERATIONS

ZIPF_EXPONENT = 1.3
HELD_OUT_SHARE = 0.15
STRATA = ("head", "torso", "tail")
VISIBLE, HIDDEN = 2, 10

TABLES: dict[tuple[str, str], tuple[Op, ...]] = {
    place: tuple(unplaced(*place) for unplaced in table) for place, table in OPERATIONS.items()
}
"""(family, kind) -> operations, most common first; the index is the rank that Zipf's law is taken over."""

_FAMILIES = {INTS: 78, WORDS: 22}
SHAPES = (
    dict.fromkeys(("F", "M", "S", "R"), 15)
    | dict.fromkeys(("FM", "FS", "FR", "MS", "MR", "SF", "SM", "SR"), 12)
    | dict.fromkeys(("FMR", "FMS", "FSR", "SFR", "SMR", "MSR"), 14)
)
"""Kinds in order -> weight: 25 % of pipelines have one step, 40 % two, 35 % three."""


class Step(NamedTuple):
    """One operation with its constant (0 where it has none)."""

    op: Op
    k: int

    def phrase(self, rng: random.Random) -> str:
        """One of the ways to ask for it in English."""
        return rng.choice(self.op.phrases).replace("{k}", str(self.k))


Pipeline = tuple[Step, ...]


class _Urn(NamedTuple):
    """Things to draw from, with cumulative integer weights."""

    items: Sequence[Any]
    weights: Sequence[int]

    def draw(self, rng: random.Random) -> Any:
        return rng.choices(self.items, cum_weights=self.weights)[0]


def _urn(weights: Iterable[tuple[Any, int]]) -> _Urn:
    items, each = zip(*weights, strict=True)
    return _Urn(items, tuple(accumulate(each)))


def _zipf(ops: Sequence[Op]) -> list[int]:
    """Weights per million by rank."""
    raw = [(rank + 1) ** -ZIPF_EXPONENT for rank in range(len(ops))]
    return [round(10**6 * weight / sum(raw)) for weight in raw]


_WEIGHTS = {place: dict(zip(ops, _zipf(ops), strict=True)) for place, ops in TABLES.items()}
_FAMILY_URN = _urn(_FAMILIES.items())
_SHAPE_URN = _urn(SHAPES.items())
_OP_URNS = {place: _urn(weights.items()) for place, weights in _WEIGHTS.items()}
_THIRDS = {op: 3 * rank // len(ops) for ops in TABLES.values() for rank, op in enumerate(ops)}


def combo(pipeline: Pipeline) -> str:
    """Name of the op combination, constants left out: `"ints:even>square>sum"`."""
    family = pipeline[0].op.family
    return f"{family}:" + ">".join(step.op.name for step in pipeline)


def stratum(pipeline: Pipeline) -> str:
    """'head', 'torso' or 'tail': the rank third, within its kind, of the rarest op used."""
    return STRATA[max(_THIRDS[op] for op, _ in pipeline)]


def is_held_out(pipeline: Pipeline) -> bool:
    """True for 15 % of the combinations of two and more ops, by hash: the same ones for every seed."""
    if len(pipeline) < 2:
        return False
    digest = hashlib.sha256(f"katas/held-out/{combo(pipeline)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def draw(rng: random.Random, *, held_out: bool) -> Pipeline:
    """One pipeline from one side of the split: Zipf over op rank within each kind."""
    while True:
        family = _FAMILY_URN.draw(rng)
        ops = [_OP_URNS[family, kind].draw(rng) for kind in _SHAPE_URN.draw(rng)]
        pipeline = _with_constants(rng, ops)
        if is_held_out(pipeline) == held_out:
            return pipeline


@cache
def _held_out_urns() -> Mapping[str, _Urn]:
    """Stratum -> its held-out combinations, weighted as `draw` would give them."""
    found: dict[str, list[tuple[tuple[Op, ...], int]]] = {name: [] for name in STRATA}
    for (family, share), (shape, weight) in product(_FAMILIES.items(), SHAPES.items()):
        for ops in product(*(TABLES[family, kind] for kind in shape)):
            bare = tuple(Step(op, 0) for op in ops)
            if is_held_out(bare):
                chances = (_WEIGHTS[family, op.kind][op] for op in ops)
                each = share * weight * 10 ** (6 * (3 - len(ops))) * prod(chances)
                found[stratum(bare)].append((ops, each))
    return {name: _urn(weights) for name, weights in found.items()}


def draw_held_out(rng: random.Random, wanted: str) -> Pipeline:
    """One held-out pipeline of the stratum `wanted`, distributed as `draw` within that stratum."""
    return _with_constants(rng, _held_out_urns()[wanted].draw(rng))


def _with_constants(rng: random.Random, ops: Sequence[Op]) -> Pipeline:
    return tuple(Step(op, draw_constant(rng, op)) for op in ops)


def draw_constant(rng: random.Random, op: Op) -> int:
    return rng.choice(op.constants) if op.constants else 0


def mutate(pipeline: Pipeline, rng: random.Random) -> Pipeline:
    """One human slip: a constant off by one, a dropped step, or another op of the same kind.

    A slip of a constant on a step that has none changes nothing: not every slip shows.
    """
    place = rng.randrange(len(pipeline))
    op, k = pipeline[place]
    slip = rng.choice(("constant", "dropped", "swapped"))
    changed: Pipeline
    if slip == "constant":
        changed = (Step(op, k + rng.choice((-1, 1)) if op.constants else k),)
    elif slip == "dropped":
        changed = ()
    else:
        other = op
        while other is op:
            other = _OP_URNS[op.family, op.kind].draw(rng)
        changed = (Step(other, k if k and other.constants else draw_constant(rng, other)),)
    return pipeline[:place] + changed + pipeline[place + 1 :]


def evaluate(pipeline: Pipeline, value: list[Any]) -> Any:
    """What the pipeline gives, by the reference semantics. Raises what Python raises (max of nothing)."""
    result: Any = value
    for op, k in pipeline:
        result = op.run(result, k)
    return result


_VOCABULARY = """
apple river stone cloud noon tiger level lemon echo radar bread ocean hat tree window idea civic
mountain salt orange kayak leaf umbrella wind star garden eye night icicle paper dog sea rotor
elephant map ink bridge wall madam owl table sun flower island rain ant street fox door
"""
_WORDS = tuple(_VOCABULARY.split())


def draw_input(rng: random.Random, family: str, length: int) -> list[Any]:
    """A list of ints in -9..20 or of words, with repeats; some all positive, sorted or from few values."""
    if family == WORDS:
        pool: Sequence[Any] = rng.sample(_WORDS, max(2, length - 1))
        return rng.choices(pool, k=length)
    mood = rng.randrange(6)
    if mood < 3:
        pool = range(-9, 21)
    elif mood == 3:
        pool = range(1, 21)
    elif mood == 4:
        pool = rng.choices(range(-9, 21), k=max(2, length // 2))
    else:
        return sorted(rng.choices(range(-9, 21), k=length))
    return rng.choices(pool, k=length)


class _Rejected(Exception):
    """No telling input was found for this pipeline."""


UNDEFINED = (IndexError, ValueError, ZeroDivisionError)
"""What a pipeline raises where it has no answer."""


def _telling(pipeline: Pipeline, value: list[Any]) -> bool:
    """True if no step works on an empty list and the answer is not an empty list."""
    result: Any = value
    try:
        for op, k in pipeline:
            if not result:
                return False
            result = op.run(result, k)
    except UNDEFINED:
        return False
    return result != []


def defined_cases(pipeline: Pipeline, values: Iterable[list[Any]]) -> list[Case]:
    """The pipeline's answers on those values on which it has one."""
    found = []
    for value in values:
        try:
            found.append(Case(args=(value,), expected=evaluate(pipeline, value)))
        except UNDEFINED:
            continue
    return found


def _draw_cases(
    pipeline: Pipeline, rng: random.Random, count: int, length: Callable[[], int], taken: list[Any]
) -> list[Case]:
    family = pipeline[0].op.family
    found: list[Case] = []
    for _ in range(60 * count):
        value = draw_input(rng, family, length())
        if value not in taken and _telling(pipeline, value):
            taken.append(value)
            found += defined_cases(pipeline, [value])
            if len(found) == count:
                return found
    raise _Rejected


def draw_tests(pipeline: Pipeline, rng: random.Random) -> FunctionTests | None:
    """Two small visible cases and ten hidden ones; None if the pipeline has no telling inputs.

    Hidden are the empty and a one-item list, where the pipeline is defined on them, and larger lists.
    """
    taken: list[Any] = []
    try:
        visible = _draw_cases(pipeline, rng, VISIBLE, lambda: rng.randint(3, 5), taken)
        for _ in range(4):
            edges = defined_cases(pipeline, ([], draw_input(rng, pipeline[0].op.family, 1)))
            hidden = _draw_cases(pipeline, rng, HIDDEN - len(edges), lambda: rng.randint(7, 12), list(taken))
            if any(case.expected != hidden[0].expected for case in hidden):
                return FunctionTests(entry_point="f", visible=tuple(visible), hidden=(*edges, *hidden))
    except _Rejected:
        pass
    return None


def with_visible(tests: FunctionTests, pipeline: Pipeline, count: int, rng: random.Random) -> FunctionTests:
    """The same hidden cases with `count` visible ones: the first of those there are, or more drawn by `rng`.

    Fewer where the pipeline has not as many telling inputs.
    """
    visible = list(tests.visible[:count])
    taken = [case.args[0] for case in (*tests.visible, *tests.hidden)]
    try:
        for _ in range(count - len(visible)):
            visible += _draw_cases(pipeline, rng, 1, lambda: rng.randint(3, 5), taken)
    except _Rejected:
        pass
    return FunctionTests(entry_point=tests.entry_point, visible=tuple(visible), hidden=tests.hidden)


def agree(pipeline: Pipeline, other: Pipeline, rng: random.Random, tries: int = 12) -> bool:
    """Whether two pipelines give the same answers on drawn inputs on which the first is defined."""
    if pipeline == other:
        return True
    for _ in range(tries):
        value = draw_input(rng, pipeline[0].op.family, rng.randint(4, 12))
        known = defined_cases(pipeline, [value])
        if known and known != defined_cases(other, [value]):
            return False
    return True
