"""How long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total), such as ("training", 3, 40)."""


def quiet(phase: str, done: int, total: int) -> None:
    """The `Progress` of work that nobody watches."""
