"""Settings of the agent that makes a run's attempts: the section `agent` of a config."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    """Which agent, how it reaches its model, and what one attempt may spend."""

    name: str = "oneshot"
    """oneshot, tool, cli (a vendor's command line), or a dotted class."""
    vendor: str | None = None
    """For cli: a shipped description, such as mini-swe-agent, or a YAML file."""
    serve: str | None = None
    """Ask each checkpoint through a server on it: vllm, sglang, transformers, or a command with {model} and
    {port}. Null samples from the weights in this process."""
    completion_tokens: Annotated[int, Field(ge=1)] = 80
    """Longest completion, in tokens."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Model calls of one attempt; null: no limit."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of one attempt, read and written, every call counted; null: no limit."""
    command_s: Annotated[float, Field(gt=0)] = 60.0
    """Time limit of one command in an agent's box."""
    boxes: Annotated[int, Field(ge=1)] = 16
    """Attempts with a box of their own that run at the same time."""
