"""Noise on what the model reads; what it must write stays as it was."""

from dataclasses import dataclass, replace

from plateau_bench.harness.learning.dataset import Example
from plateau_bench.harness.strategies.base import Material
from plateau_bench.harness.strategies.params import Share, Usual


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise(Usual):
    """Parameters of noise."""

    p: Share = 0.1
    """Chance of each input token to be swapped."""


def corrupt_inputs(material: Material, examples: list[Example], params: Noise) -> list[Example]:
    """Each input token becomes, with chance `p`, another that occurs in this training set."""
    types = sorted({token for example in examples for token in example.token_ids})
    rng = material.rng

    def corrupt(tokens: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(rng.choice(types) if rng.random() < params.p else token for token in tokens)

    return [replace(example, input_ids=corrupt(example.token_ids)) for example in examples]
