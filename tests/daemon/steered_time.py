"""A clock and its timers that stand still until a test moves them: days pass without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)  # a Sunday


@dataclass(eq=False)
class _Timer:
    seconds: float
    callback: Callable[[], object]
    timers: list[_Timer]

    def cancel(self) -> None:
        if self in self.timers:
            self.timers.remove(self)


@dataclass
class SteeredTime:
    """`now` and `call_later` are handed to what is tested; `move_to` says what time it is."""

    time: datetime = NOON
    timers: list[_Timer] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(seconds, callback, self.timers)
        self.timers.append(timer)
        return timer

    async def move_to(self, moment: datetime) -> None:
        """Set the clock, forward or back, and let the timers that are running see it, as within the next 30 s."""
        self.time = moment
        for timer in list(self.timers):
            timer.cancel()
            timer.callback()
        await settled()


async def settled() -> None:
    """Give the loop the rounds in which a schedule looks at the clock."""
    for _ in range(3):
        await asyncio.sleep(0)
