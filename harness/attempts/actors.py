"""Actors: what acts in a round and is replaced by a better one. A checkpoint of weights is one kind."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from plateau_bench.agents.base import Agent
from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.attempts.settings import AgentConfig


class Actor(Protocol):
    """An agent in one state of its development, opened from a name that a round's record can hold."""

    name: str
    """A folder below the run, or any other name that the improver understands, such as a hub id."""
    has_weights: bool
    """Whether it is a `WeightsActor`, whose texts are tokens that drift is measured on."""

    def agent(self, config: AgentConfig, temperature: float) -> Agent:
        """The agent that makes attempts as this actor."""


class WeightsActor(Actor, Protocol):
    """An actor that consists of weights of its own."""

    def weights(self) -> Any:
        """The transformers model, in evaluation mode; not to be changed."""

    def tokenizer(self) -> Any: ...


def weighted(actor: Actor) -> TypeGuard[WeightsActor]:
    """Whether the actor is a `WeightsActor`."""
    return actor.has_weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A Hugging Face checkpoint as an actor."""

    name: str
    models: Models
    has_weights: bool = True

    def agent(self, config: AgentConfig, temperature: float) -> Agent:
        return self.models.agent(config, self.name, temperature)

    def weights(self) -> Any:
        return self.models.weights(self.name)

    def tokenizer(self) -> Any:
        return self.models.tokenizer(self.name)
