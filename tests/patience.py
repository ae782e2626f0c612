"""A call that must not wait fails a test instead of holding it for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_waiting(seconds: float = 20) -> Iterator[None]:
    """Fail inside a block that is still waiting after so long; only on the main thread."""

    def waited(_signal: int, _frame: object) -> None:
        raise AssertionError(f"it still waits after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, waited)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
