"""A bound on the bytes that are held in memory at one time.

Promises what `turns` does. A claim above the whole is treated as the whole, so it waits until it is alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncer.archive.turns import Turns


class Budget(Turns[int, int]):
    """`total` bytes, lent to whoever holds a part of them."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self.free = total

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Wait for `amount` bytes and hold them for the block."""
        amount = min(amount, self.total)
        share = await self._take(amount)
        try:
            yield
        finally:
            self._give(amount, share)

    def _cut(self, amount: int) -> int | None:
        if amount > self.free:
            return None
        self.free -= amount
        return amount

    def _back(self, _amount: int, share: int) -> None:
        self.free += share
