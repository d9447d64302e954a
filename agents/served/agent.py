"""An agent behind a served checkpoint: what it said over the wire becomes tokens of the checkpoint again.

Such tokens are what the model read and wrote only as far as the tokenizer gives the same ones for the same
text; there are no log-probabilities. That is enough to train on, not to measure likelihoods with.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.base import Agent, Message, ModelUnavailable, Trajectory
from plateau_bench.agents.models.template import template_of
from plateau_bench.sandbox.base import Backend, Sandbox, SandboxSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Spans = tuple[tuple[int, int], ...]


class Served(Agent):
    """Another agent, with token ids in its trajectories."""

    def __init__(self, agent: Agent, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.name, self.needs_box = agent.name, agent.needs_box
        self._agent, self._tokenizer = agent, tokenizer

    def fit(self, spec: SandboxSpec, backend: Backend) -> SandboxSpec:
        """As the agent itself."""
        return self._agent.fit(spec, backend)

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Solve as the agent itself does, and tokenise what was said."""
        return [self._with_tokens(one, instruction) for one in self._agent.solve(instruction, seeds, boxes)]

    def _with_tokens(self, trajectory: Trajectory, instruction: str) -> Trajectory:
        if not trajectory.messages and not trajectory.completion_tokens:
            return trajectory  # it never answered
        said = trajectory.conversation(instruction)
        token_ids, spans = tokens_of(self._tokenizer, said, trajectory.tools)
        return replace(trajectory, token_ids=token_ids, loss_spans=spans, logprobs=())


def tokens_of(
    tokenizer: "PreTrainedTokenizerBase", said: Sequence[Message], tools: Sequence[Any] = ()
) -> tuple[tuple[int, ...], Spans]:
    """Return the token ids up to the last answer, and the spans of the answers with their end tokens.

    Empty if no single sequence is what the model saw: the template rewrites earlier turns or refuses the
    conversation (several in one, as some vendors have them), or an answer held calls that could not be read.
    """
    if any(message.malformed for message in said):
        return (), ()
    chat = [message.chat() for message in said]
    try:
        template = template_of(tokenizer)
        return template.conversation(chat, tools) if template.is_linear(chat, tools) else ((), ())
    except ModelUnavailable:
        return (), ()
