"""The body of one POST: written piece by piece, and watched while it goes.

A file becomes base64 on its way into the socket, so that a large one is never in memory twice. Whether anything has
left (`begun`) is what tells a failure that surely did nothing from one after which nobody knows; what the other side
has taken so far (`progress`) tells a slow line from a dead one. What is sent, and what an answer means, is for others.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

T = TypeVar("T")

PIECE = 48 * 1024  # bytes of a file at a time; a multiple of three, for there its base64 can be cut without padding
_LOOKS = 8  # at the progress, within the patience
_TURNS_TO_READ = 10  # turns of the loop within which the head of an answer that is here is surely read


class Outgoing(Payload):
    """A JSON body: `head`, the content in base64, `tail`. It is for one request; another one needs another."""

    def __init__(self, head: bytes, content: bytes, tail: bytes) -> None:
        super().__init__(content, content_type="application/json")
        self._autoclose = True  # there is nothing to close
        self._size = len(head) + 4 * -(-len(content) // 3) + len(tail)
        self._head = head
        self._content = content
        self._tail = tail
        self._transport: asyncio.Transport | None = None
        self._written = 0
        self._answered = False
        self.begun = False  # whether a byte of the request, its head included, may have left

    @property
    def progress(self) -> int:
        """A number that grows while the body goes on: bytes that we wrote, and bytes that have arrived."""
        return self._written + (_acknowledged(self._transport) if self._transport is not None else 0)

    def answered(self) -> None:
        """Stop sending: whatever is still to come, the answer is here."""
        self._answered = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not for a log or a debugger: the body is a person's picture, or an address with a signature in it."""
        return "…"

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body; the library calls this once it has a connection, and sends its head with the first piece."""
        assert isinstance(writer, StreamWriter)  # noqa: S101  what a client has
        self._transport = writer.transport
        await self._write(writer, self._head)
        view = memoryview(self._content)
        for start in range(0, len(view), PIECE):
            await self._write(writer, b64encode(view[start : start + PIECE]))
        await self._write(writer, self._tail)

    async def _write(self, writer: AbstractStreamWriter, piece: bytes) -> None:
        await asyncio.sleep(0)
        if self._transport is not None and _has_something(self._transport):
            # Writing into a connection that was closed behind an early answer would cost us the answer.
            for _ in range(_TURNS_TO_READ):
                await asyncio.sleep(0)
        if not self._answered:
            # A service that restarts may let us connect and hang up: the library then has nowhere to write to.
            self.begun = self.begun or (self._transport is not None and not self._transport.is_closing())
            await writer.write(piece)
            self._written += len(piece)


async def going_on(
    answer: Awaitable[T], progress: Callable[[], int], patience: float, moved: Callable[[], object]
) -> T:
    """Wait for the answer while `progress` grows at least once in `patience` seconds; `TimeoutError` where it stops.

    `moved` is called whenever it has grown. There is no limit to the whole: a slow line that goes on may take a day.
    """
    loop = asyncio.get_running_loop()
    next_look: asyncio.TimerHandle

    def look(seen: int) -> None:
        nonlocal next_look
        now = progress()
        if now > seen and not limit.expired():  # while what has run out of time is being cleared away
            moved()
            limit.reschedule(loop.time() + patience)
        next_look = loop.call_later(patience / _LOOKS, look, max(seen, now))

    next_look = loop.call_later(patience / _LOOKS, look, progress())
    try:
        async with asyncio.timeout(patience) as limit:
            return await answer
    finally:
        next_look.cancel()


def _acknowledged(transport: asyncio.Transport) -> int:
    """Ask the system for `tcpi_bytes_acked`: on a slow line, megabytes stand in its buffers for minutes.

    0 where it does not say (any more); what we write tells then, if more coarsely.
    """
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    except OSError:  # closed meanwhile
        return 0
    return int.from_bytes(info[120:128], sys.byteorder)


def _has_something(transport: asyncio.Transport) -> bool:
    """Whether there is something to read, be it the end."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:  # closed meanwhile
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
