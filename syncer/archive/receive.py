"""Take in a body within bounds: of its length, of the memory it may hold, of the room on the disk.

Promises to leave a small body whole in the memory it is given, to write a large one to the staged file in few large
pieces, and to stop at the first byte too many. What the bytes are is not looked at here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from syncer.archive.disk import Disk, ended, translated
from syncer.errors import Damaged, Refused, StorageFull
from syncer.model import Content

_WHOLE = 4 << 20  # up to here a body of known length is held in memory as a whole and written at once
_WINDOW = 256 << 10  # any other is written in such pieces once it is longer than one


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest picture that is taken, and the room that is left on the disk whatever comes."""

    disk: Disk
    image_bytes: int
    reserve: int

    def permit(self, size: int) -> None:
        """Raise `Refused` for a picture of more bytes than the limit."""
        if size > self.image_bytes:
            raise Refused(
                "the picture is larger than the limit",
                hint="raise limits.image_bytes to keep it",
                bytes=size,
                limit=self.image_bytes,
            )

    def make_room(self, size: int) -> None:
        """Raise `StorageFull` if writing so many bytes would go into the reserve."""
        with translated(self.disk.root):
            enough = self.disk.has_room(size, self.reserve)
        if not enough:
            raise StorageFull(
                "the disk has less than the reserve left",
                hint="make room on the disk, or lower archive.reserve",
                free=self.disk.room,
                reserve=self.reserve,
                needed=size,
            )


def flows(content: Content) -> bool:
    """Say whether a body comes through a window, for as long as it takes, rather than being held as a whole."""
    return content.length is None or content.length > _WHOLE


def weight(content: Content) -> int:
    """Say how much memory receiving a body takes."""
    return _WINDOW if flows(content) else content.length or 0


async def receive(content: Content, part: str, bounds: Bounds, memory: memoryview) -> int | None:
    """Read a body into `memory`, which holds its weight; return its length, None once it is in the file `part`."""
    written = held = 0
    async with AsyncExitStack() as stack:
        file: AsyncBufferedIOBase | None = None
        async for chunk in content.chunks:
            _look(written + held + len(chunk), content, bounds)
            while (fits := len(memory) - held) < len(chunk):
                memory[held:], chunk = chunk[:fits], chunk[fits:]
                if file is None:
                    file = await stack.enter_async_context(_opened(part, bounds.disk.root))
                await _write(file, memory, bounds)
                written, held = written + len(memory), 0
            memory[held : held + len(chunk)] = chunk
            held += len(chunk)
        if file is None:
            return held
        with memory[:held] as rest:
            await _write(file, rest, bounds)
    return None


def _look(size: int, content: Content, bounds: Bounds) -> None:
    """See that a body of which so many bytes have come may go on."""
    bounds.permit(size)
    if content.length is not None and size > content.length:
        raise Damaged("the body goes on after its promised end", expected=content.length)


@asynccontextmanager
async def _opened(part: str, root: Path) -> AsyncIterator[AsyncBufferedIOBase]:
    """Open the staged file, and blame only the file for its errors: what the body raises passes as it is."""
    opening = asyncio.ensure_future(aiofiles.open(part, "xb"))
    try:
        with translated(root):
            file = await ended(opening)  # else it may come to be after it was cleared away
        yield file
    finally:
        if opening.exception() is None:
            with translated(root):
                await ended(asyncio.ensure_future(opening.result().close()))


async def _write(file: AsyncBufferedIOBase, piece: memoryview, bounds: Bounds) -> None:
    bounds.make_room(len(piece))
    with translated(bounds.disk.root):
        await ended(asyncio.ensure_future(file.write(piece)))
