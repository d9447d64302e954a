"""Ctrl-C while answers are under way: what has been paid for is waited for, and said; a second one leaves."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def tell(line: str) -> None:
    """Say a line on stderr."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def interrupts(first: Callable[[], None]) -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets, after calling `first`; the second raises KeyboardInterrupt.

    Signals reach the main thread only: elsewhere nothing is changed, and the event is never set.
    """
    pressed = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        first()

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
