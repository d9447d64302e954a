"""What an agent is, and the record of one attempt at an instruction.

An agent receives an instruction string and, if it needs one, an open box. It never sees a task, its
tests or its solution: this package does not import `tasks`, and the import graph is checked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from plateau_bench.sandbox.base import Backend, Sandbox, SandboxSpec, Visit
from plateau_bench.sandbox.diffs import code_of


class Ending(StrEnum):
    """How an attempt ended. Truncated, broken and wrong are three different facts."""

    SUBMITTED = "submitted"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    COST_LIMIT = "cost_limit"
    TIME_LIMIT = "time_limit"
    MALFORMED = "malformed"
    CONTENT_FILTER = "content_filter"
    """The provider withheld the prompt or the answer, or the model refused by its provider's own word."""
    ERROR = "error"
    """The endpoint said each time it was asked that its answer broke off. The verdict is INFRA."""
    CRASHED = "crashed"
    INFRA = "infra"
    """The box broke, also when tried again: nothing is known about the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one attempt may spend. None means no limit of that kind."""

    completion_tokens: int = 64
    """Tokens the model may write in one call."""
    steps: int | None = None
    """Calls of the model."""
    tool_calls: int | None = None
    tokens: int | None = None
    """Tokens of the whole attempt, read and written, every call counted."""
    cost_usd: float | None = None
    """Needs a model whose price is known."""
    seconds: float | None = None
    command_s: float = 60.0
    """Time of one command in the box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """`ToolCall(id="c1", name="bash", arguments={"command": "ls"})`."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One entry of a conversation, in the order in which the model saw it."""

    role: str
    """'system', 'user', 'assistant' or 'tool'."""
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    malformed: tuple[str, ...] = ()
    """Tool calls of the assistant that could not be read, as written."""
    tool_call_id: str = ""
    """Which call a tool's message answers."""
    prompt_tokens: int | None = None
    """Tokens read for an assistant's message, cached ones included; None where unknown."""
    completion_tokens: int | None = None
    cost_usd: float | None = None
    reasoning: str = ""
    """What the model thought, where its server tells that in a field of its own."""
    refusal: str = ""
    """Why the model refused, where its server tells that in a field of its own."""

    def chat(self, arguments: Callable[[dict[str, Any]], Any] = dict) -> dict[str, Any]:
        """The message as chat templates take it; with `arguments=json.dumps`, as OpenAI's API has it."""
        made: dict[str, Any] = {"role": self.role, "content": self.text}
        if self.tool_calls:
            made["tool_calls"] = [
                {
                    "type": "function",
                    "id": call.id,
                    "function": {"name": call.name, "arguments": arguments(dict(call.arguments))},
                }
                for call in self.tool_calls
            ]
        if self.role == "tool":
            made["tool_call_id"] = self.tool_call_id
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """Exactly what the model saw and wrote; the trajectory is the training sample.

    `token_ids` is the linear history as the model saw it, system prompt and template included;
    `loss_spans` are the half-open ranges [start, end) that the model itself wrote. An endpoint that
    gives no token ids leaves `token_ids`, `loss_spans` and `logprobs` empty: such a trajectory can be
    graded but not trained on without re-tokenising.
    """

    agent: str
    model: str
    seed: int
    """Seed of this attempt's sampling; the same seed, model and prompt give the same tokens."""
    answer: str
    """What is graded: the program text (see `answers`) or, of boxed agents, their diff (`sandbox.diffs`)."""
    ending: Ending
    token_ids: tuple[int, ...] = ()
    loss_spans: tuple[tuple[int, int], ...] = ()
    logprobs: tuple[float, ...] = ()
    """Natural-log probability at temperature 1, full vocabulary, of each token within the loss spans."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_s: float = 0.0
    error: str = ""
    """Exception type and message when `ending` is CRASHED."""
    messages: tuple[Message, ...] = ()
    """The conversation; empty for a single completion whose whole text is the answer."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Schemas of the tools that the model was shown, in OpenAI's function format."""
    cost_usd: float | None = None
    """None where the price is unknown, never 0 for that."""
    boxed: bool = False
    """Whether `answer` is a diff of a workspace."""
    visits: tuple[Visit, ...] = ()
    """What its box asked of the network, refused or not."""
    provider_models: tuple[str, ...] = ()
    """What the endpoint itself called the model that answered; several if it changed on the way."""
    fingerprints: tuple[str, ...] = ()
    """The provider's fingerprints of the system that answered, as far as it gives them."""
    response_ids: tuple[str, ...] = ()
    """The provider's names of its answers, those thrown away included, in order."""
    withheld: tuple[str, ...] = ()
    """What a command line asked for and its model's server was not told, by name (`agents.gateway`)."""

    @property
    def code(self) -> str:
        """The Python that was written, as one text: the answer itself, or the changed modules of its diff."""
        return code_of(self.answer) if self.boxed else self.answer

    def conversation(self, instruction: str) -> tuple[Message, ...]:
        """What was said: the messages, or where there are none, the instruction and the graded answer."""
        if self.messages:
            return self.messages
        answered = Message(
            role="assistant",
            text=self.answer,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=self.cost_usd,
        )
        return (Message(role="user", text=instruction), answered)


class ModelUnavailable(RuntimeError):
    """The model cannot be asked at all: nothing is known about it, and the run has to stop.

    The text is one line that quotes the cause and says what to mend.
    """


class NotReached(RuntimeError):
    """This attempt got no answer although the endpoint may live: it stays open, others go on."""


class BudgetSpent(RuntimeError):
    """The next call of the model might pass the budget of the whole run. The attempt stays open."""


class Agent(Protocol):
    """A coding agent. Classes that name it as their base inherit `fit`."""

    name: str
    needs_box: bool

    def fit(self, spec: SandboxSpec, backend: Backend) -> SandboxSpec:
        """The box of one attempt as the agent wants it, made from the task's; asked before every attempt.

        Most take it as it is. Raises SandboxUnavailable if such a box cannot be made.
        """
        return spec

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Make one attempt per seed at the same instruction; the trajectories are in the order of `seeds`.

        `boxes` holds one box per seed if `needs_box`, else nothing. k attempts come as one call so that
        an agent whose attempts share a prompt can let the model prefill it once. What the model does, a
        malformed answer included, ends the attempt in a named `Ending`. Where the model could not do
        anything, nothing is known about it: raises ModelUnavailable, NotReached or BudgetSpent.
        """
