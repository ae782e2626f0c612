"""Bytes that are looked at as a whole: in memory, or mapped from a file without holding it in memory.

What is read of a mapped file counts as this process's memory until it is unmapped; a `Mapped` file lets go of what was
read before it adds up. What the bytes mean is not known here.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

_PIECE = 1 << 20


class Mapped(mmap.mmap):
    """A file of at least one byte, to be read from its beginning to its end; made as `mmap.mmap` is."""

    _held_from = 0  # what lies before has been let go

    def __getitem__(self, at: Any) -> Any:
        """Read a byte or a slice, as of `bytes`."""
        place = at.start or 0 if isinstance(at, slice) else at
        if place - self._held_from > _PIECE:
            whole = place - place % mmap.PAGESIZE
            self.madvise(mmap.MADV_DONTNEED, self._held_from, whole - self._held_from)
            self._held_from = whole
        return super().__getitem__(at)


Buffer = bytes | bytearray | memoryview | mmap.mmap


def pieces(buffer: Buffer) -> Iterator[memoryview]:
    """Cut into views that have to be used one after the other; a short one is a single piece."""
    with memoryview(buffer) as whole:
        for at in range(0, len(whole), _PIECE):
            with whole[at : at + _PIECE] as piece:
                yield piece
            if isinstance(buffer, Mapped):
                buffer.madvise(mmap.MADV_DONTNEED, at, min(_PIECE, len(whole) - at))
