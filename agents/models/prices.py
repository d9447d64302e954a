"""What a model's tokens cost, and what an attempt has spent of its limits."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.base import Ending, Limits

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """US dollars per million tokens: `Price(read=3.0, written=15.0, cached=0.3)`."""

    read: float
    written: float
    cached: float | None = None
    """Read from the provider's cache; None if it costs what reading costs."""

    def of(self, usage: Mapping[str, Any]) -> float:
        """Return the US dollars of one call, from LangChain's usage (`input_tokens` includes cached ones)."""
        details = usage.get("input_token_details") or {}
        cached = details.get("cache_read") or 0
        rate = self.read if self.cached is None else self.cached
        fresh = usage["input_tokens"] - cached
        return (fresh * self.read + cached * rate + usage["output_tokens"] * self.written) / 1e6


def require_price(limits: Limits, model: Any) -> None:
    """Raise ValueError for a cost limit where the model has no `price`: it could not be held."""
    if limits.cost_usd is not None and getattr(model, "price", None) is None:
        raise ValueError("a cost limit needs the model's price; give one or drop limits.cost_usd")


class Spending:
    """What one attempt has spent, call by call, and who took it; its clock starts at once."""

    def __init__(self, limits: Limits, model: Any) -> None:
        """`model` may have a `price`; without one the cost is unknown."""
        self._limits = limits
        self.price: Price | None = getattr(model, "price", None)
        self.started = time.monotonic()
        self.calls = self.prompt_tokens = self.completion_tokens = 0
        self.cost: float | None = None if self.price is None else 0.0
        """US dollars; one call of unknown cost makes the sum unknown."""
        self._at_most = 0.0
        """The same with that call at its worst case, for the limit."""
        self._provider: dict[str, list[str]] = {"model": [], "fingerprint": [], "id": []}

    def note(self, answer: "AIMessage") -> None:
        """Count a call of the model, with the answers that were thrown away before this one."""
        self.calls += 1
        said = answer.response_metadata
        worst = said.get("worst_usage")
        for usage in (*said.get("thrown_away", ()), answer.usage_metadata):
            if usage:
                self.prompt_tokens += usage["input_tokens"]
                self.completion_tokens += usage["output_tokens"]
            counted = usage or worst
            cost = self.price.of(counted) if self.price and counted else 0.0
            self._at_most += cost
            self.cost = None if not usage or self.cost is None else self.cost + cost
        for provided in said.get("provider", ()):
            for field, seen in self._provider.items():
                value = provided.get(field)
                if value and value not in seen:
                    seen.append(str(value))

    def facts(self) -> dict[str, Any]:
        """Return the fields of a Trajectory that say what it took and who answered."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": self.cost,
            "provider_models": tuple(self._provider["model"]),
            "fingerprints": tuple(self._provider["fingerprint"]),
            "response_ids": tuple(self._provider["id"]),
        }

    def used_up(self) -> Ending | None:
        """Return how the attempt ends if another call would pass a limit, None if it may go on."""
        limits, spent = self._limits, self.prompt_tokens + self.completion_tokens
        passed = time.monotonic() - self.started
        for over, ending in (
            (limits.steps is not None and self.calls >= limits.steps, Ending.STEP_LIMIT),
            (limits.tokens is not None and spent >= limits.tokens, Ending.TOKEN_LIMIT),
            (limits.cost_usd is not None and self._at_most >= limits.cost_usd, Ending.COST_LIMIT),
            (limits.seconds is not None and passed > limits.seconds, Ending.TIME_LIMIT),
        ):
            if over:
                return ending
        return None
