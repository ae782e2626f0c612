"""A bound on the bytes that are held in memory at one time.

Promises first come, first served (a large claim is not starved by small ones) and that a cancelled claim leaves nothing
behind. A claim above the whole is treated as the whole, so it waits until it is alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """`total` bytes, lent to whoever holds a part of them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Wait for `amount` bytes and hold them for the block."""
        amount = min(amount, self.total)
        await self._take(amount)
        try:
            yield
        finally:
            self._give(amount)

    async def _take(self, amount: int) -> None:
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled just after its turn came: hand the bytes on. Cancelled before: those behind it may fit now.
            self._give(0 if turn.cancelled() else amount)
            raise

    def _give(self, amount: int) -> None:
        self.free += amount
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.cancelled():
                if amount > self.free:
                    return
                self.free -= amount
                turn.set_result(None)
            self._waiting.popleft()
