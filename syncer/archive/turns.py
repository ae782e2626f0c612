"""Wait for a share of something that is bounded: whoever came first is served first.

Promises that a large claim is not starved by small ones that come later, and that a claim which is cancelled, before or
just after its turn came, leaves nothing behind. What a share is, and whether there is enough for a claim, is left to
whoever hands them out.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar

Claim = TypeVar("Claim")
Share = TypeVar("Share")


class Turns(ABC, Generic[Claim, Share]):
    """Hands out shares, to one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Claim, asyncio.Future[Share]]] = deque()

    @abstractmethod
    def _cut(self, claim: Claim) -> Share | None:
        """Hand out a share, None while there is not enough."""

    @abstractmethod
    def _back(self, claim: Claim, share: Share) -> None:
        """Take a share back."""

    async def _take(self, claim: Claim) -> Share:
        """Wait for a share; whoever has it gives it back."""
        if not self._waiting and (share := self._cut(claim)) is not None:
            return share
        turn: asyncio.Future[Share] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            # Cancelled just after its turn came: hand the share on. Cancelled before: those behind it may fit now.
            if turn.cancelled():
                self._serve()
            else:
                self._give(claim, turn.result())
            raise

    def _give(self, claim: Claim, share: Share) -> None:
        """Give a share back, for those who wait."""
        self._back(claim, share)
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            claim, turn = self._waiting[0]
            if not turn.cancelled():
                if (share := self._cut(claim)) is None:
                    return
                turn.set_result(share)
            self._waiting.popleft()
