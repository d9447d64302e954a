"""What a model's tokens cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """US dollars per million tokens: `Price(read=3.0, written=15.0, cached=0.3)`."""

    read: float
    written: float
    cached: float | None = None
    """Read from the provider's cache; None if it costs what reading costs."""

    def of(self, usage: Mapping[str, Any]) -> float:
        """US dollars of one call, from LangChain's usage (`input_tokens` includes cached ones)."""
        details = usage.get("input_token_details") or {}
        cached = details.get("cache_read") or 0
        rate = self.read if self.cached is None else self.cached
        fresh = usage["input_tokens"] - cached
        return (fresh * self.read + cached * rate + usage["output_tokens"] * self.written) / 1e6
