"""Take in a body within bounds: of its length, of the memory it may hold, of the room on the disk.

Promises to return a small body whole and to write a large one to the staged file in few large pieces, and to stop at
the first byte too many. What the bytes are is not looked at here.
"""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from syncer.archive.disk import Disk, translated
from syncer.errors import Damaged, Refused, StorageFull
from syncer.model import Content

_SMALL = 4 << 20  # up to here a body of known length is collected in memory and written at once
_BLOCK = 128 << 10  # any other is written in such pieces once it is longer than one
_OWN_PAGES = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_STREAM = 2 * _BLOCK  # the memory it holds meanwhile: the piece being filled, and the chunk that overfills it

Body = bytearray | mmap.mmap


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


def weight(content: Content) -> int:
    """Say how much memory a body may hold while it is received."""
    return content.length if content.length is not None and content.length <= _SMALL else _STREAM


async def receive(content: Content, part: str, bounds: Bounds) -> Body | None:
    """Read a body; return it if it is small, None once it is in the file `part`."""
    if content.length is not None and content.length <= _SMALL:
        return await _collect(content, content.length, bounds)
    chunks = aiter(content.chunks)
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        _look(len(body), content, bounds)
        if len(body) > _BLOCK:
            break
    else:
        return body
    written = 0
    async with _opened(part, bounds.disk.root) as file:
        async for chunk in chunks:
            if len(body) >= _BLOCK:
                await _write(file, body, bounds)
                written += len(body)
                body = bytearray()
            body += chunk
            _look(written + len(body), content, bounds)
        await _write(file, body, bounds)
    return None


async def _collect(content: Content, length: int, bounds: Bounds) -> Body:
    """Read a body into memory that is taken once: one that grows is copied, and leaves holes behind.

    A longer one gets pages of its own, which go back to the system with it.
    """
    body: Body = bytearray(length) if length <= _BLOCK else mmap.mmap(-1, length, flags=_OWN_PAGES)
    size = 0
    async for chunk in content.chunks:
        end = size + len(chunk)
        _look(end, content, bounds)
        body[size:end] = chunk
        size = end
    if size == length:
        return body
    with body if isinstance(body, mmap.mmap) else nullcontext():
        return bytearray(body[:size])  # cut short: whoever looks at it will tell


def _look(size: int, content: Content, bounds: Bounds) -> None:
    """See that a body of which so many bytes have come may go on."""
    bounds.permit(size)
    if content.length is not None and size > content.length:
        raise Damaged("the body goes on after its promised end", expected=content.length)


@asynccontextmanager
async def _opened(part: str, root: Path) -> AsyncIterator[AsyncBufferedIOBase]:
    """Open the staged file, and blame only the file for its errors: what the body raises passes as it is."""
    with translated(root):
        file = await aiofiles.open(part, "xb")
    try:
        yield file
    finally:
        with translated(root):
            await file.close()


async def _write(file: AsyncBufferedIOBase, piece: bytearray, bounds: Bounds) -> None:
    bounds.make_room(len(piece))
    with translated(bounds.disk.root):
        await file.write(piece)
