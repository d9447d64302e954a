"""Patience with an endpoint: how often one call is tried, and when nobody asks at all."""

import random
import threading
import time
from dataclasses import dataclass

from plateau_bench.agents.base import ModelUnavailable


class Breaker:
    """Keeps everybody from an endpoint that only fails, or that says when to come back."""

    def __init__(self, failures: int = 20, rest_s: float = 5.0, give_up_s: float = 900.0) -> None:
        """After `failures` in a row nobody asks for `rest_s`, then one call at a time finds out whether it is
        back; after `give_up_s` of that it counts as down."""
        self._limit, self._rest, self._give_up = failures, rest_s, give_up_s
        self._failures, self._since, self._probe_at, self._open_at = 0, 0.0, 0.0, 0.0
        self._change = threading.Condition()
        self.answered = False
        """Whether the endpoint has ever answered anything, a refusal included."""
        self._down: ModelUnavailable | None = None

    def wait(self) -> bool:
        """Wait until asking makes sense; whether this call is the one that finds out.

        Raises ModelUnavailable if it has not made sense for too long.
        """
        with self._change:
            while True:
                now = time.monotonic()
                if self._down is not None:
                    raise self._down
                if now < self._open_at:
                    self._change.wait(self._open_at - now)
                    continue
                if self._failures < self._limit:
                    return False
                if now - self._since > self._give_up:
                    raise ModelUnavailable(
                        f"the endpoint has failed {self._failures} calls in a row, "
                        f"for {now - self._since:.0f} s; see that it is up, then give the same command again"
                    )
                if now >= self._probe_at:
                    self._probe_at = now + self._rest
                    return True
                self._change.wait(self._probe_at - now)

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long, as the endpoint wants it.

        Raises ModelUnavailable if that is longer than anybody waits for an endpoint.
        """
        if seconds > self._give_up:
            raise ModelUnavailable(
                f"the endpoint asks to wait {seconds:.0f} s; give the same command again after that"
            )
        with self._change:
            self._open_at = max(self._open_at, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until the endpoint is given up."""
        with self._change:
            self._change.wait_for(lambda: self._down is not None, seconds)

    def give_up(self, why: ModelUnavailable) -> None:
        """Let everybody who waits or asks from now on have this error: no call can be answered."""
        with self._change:
            self._down = why
            self._change.notify_all()

    def note(self, ok: bool) -> None:
        """Note whether the endpoint answered; a refused request is an answer, too."""
        with self._change:
            if ok:
                self._failures, self.answered = 0, True
                self._change.notify_all()
                return
            self._failures += 1
            if self._failures == 1:
                self._since = time.monotonic()
            if self._failures == self._limit:
                self._probe_at = time.monotonic() + self._rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How patient to be with one call."""

    tries: int = 6
    """How often one call is tried at most, not counting waits that the endpoint asked for."""
    unconnected: int = 3
    """The same where nobody has ever been there."""
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    patience_s: float = 900.0
    """How long one call is tried at most, whatever the endpoint asks for."""

    def pause(self, tries: int) -> float:
        """Seconds to wait after so many tries: random, so that those who failed together part."""
        return random.uniform(0, min(self.longest_wait_s, self.first_wait_s * 2.0 ** (tries - 1)))
