"""Noise on what the model reads; what it must write stays as it was."""

from dataclasses import replace

from plateau_bench.harness.config import ArmConfig
from plateau_bench.harness.learning.dataset import Example
from plateau_bench.harness.strategies.base import Material


def corrupt_inputs(material: Material, examples: list[Example], arm: ArmConfig) -> list[Example]:
    """Each input token becomes, with chance `arm.p`, another that occurs in this training set."""
    types = sorted({token for example in examples for token in example.token_ids})
    rng = material.rng

    def corrupt(tokens: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(rng.choice(types) if rng.random() < arm.p else token for token in tokens)

    return [replace(example, input_ids=corrupt(example.token_ids)) for example in examples]
