"""The memory that pictures on their way are held in: taken from the system once, and lent.

Memory that is touched for the first time costs as much as receiving what is written to it, so the same is used again
and again. Promises what `turns` does, and that a piece is lent again only when whoever had it has let go of it and of
every part of it. A claim above the whole is treated as the whole, so it waits until it is alone.
"""

from __future__ import annotations

import mmap
from bisect import insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pickle import PickleBuffer

from syncer.archive.turns import Turns

PAGE = mmap.PAGESIZE
_OURS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Memory(Turns[tuple[int, bool], int]):
    """About `total` bytes, lent in pieces that begin with a page."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = _pages(total)
        self._all = mmap.mmap(-1, self.total, flags=_OURS)
        # Of large pages fewer are touched. A child of ours must not share what is on its way to a device: open(2).
        for advice in ("MADV_HUGEPAGE", "MADV_DONTFORK"):
            with suppress(AttributeError, OSError):  # other systems, and kernels without
                self._all.madvise(getattr(mmap, advice))
        self._holes = [(0, self.total)]  # where nobody is: beginnings and ends, in order, none beside another

    @property
    def free(self) -> int:
        """The bytes that nobody holds."""
        return sum(end - begin for begin, end in self._holes)

    @asynccontextmanager
    async def lent(self, size: int, *, lasting: bool = False) -> AsyncIterator[memoryview]:
        """Wait for `size` bytes in one piece and hold them for the block. Others' bytes may still be in them.

        What is `lasting`, small and held for longer than most, is kept together at the end: here and there it would
        leave no room between for a large claim, and all that come behind that one.
        """
        room = min(_pages(size), self.total)
        claim = (room, lasting)
        begin = await self._take(claim)
        piece = memoryview(self._all)[begin : begin + min(size, room)]
        view = memoryview(PickleBuffer(piece))  # parts of a view do not hold it, but these hold `piece`
        try:
            yield view
        finally:
            view.release()
            piece.release()  # `BufferError` where somebody still looks: then nobody else gets it
            self._give(claim, begin)

    def _cut(self, claim: tuple[int, bool]) -> int | None:
        """Take the first hole that is large enough: what is touched stays at the beginning as far as it can.

        For what is lasting, take the end of the last one.
        """
        room, lasting = claim
        places = range(len(self._holes))
        for place in reversed(places) if lasting else places:
            begin, end = self._holes[place]
            if end - begin >= room:
                left = (begin, end - room) if lasting else (begin + room, end)
                self._holes[place : place + 1] = [left] if end - begin > room else []
                return end - room if lasting else begin
        return None

    def _back(self, claim: tuple[int, bool], begin: int) -> None:
        end = begin + claim[0]
        insort(self._holes, (begin, end))
        place = self._holes.index((begin, end))
        if place + 1 < len(self._holes) and self._holes[place + 1][0] == end:
            end = self._holes.pop(place + 1)[1]
        if place and self._holes[place - 1][1] == begin:
            begin = self._holes.pop(place - 1)[0]
            place -= 1
        self._holes[place] = (begin, end)


def _pages(size: int) -> int:
    """Round up to whole pages, one at least."""
    return max(1, -(-size // PAGE)) * PAGE
