"""Uploads to a service that the test plays byte by byte: it may answer before the body has come, or never."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from rawserver import SECRET, Hidden, Reply, Request, TokenEndpoint, no_sleep, serving

from syncer.errors import SyncerError
from syncer.service.auth import ClientCredentials
from syncer.service.client import Connection, ImageService
from syncer.service.upload import Inline, Source

PATH = "/api/image-service/v1/workspaces/w/images"
PICTURE = Inline("image/png", b"\x89PNG\r\n\x1a\n and so on")
LARGE = Inline("image/png", b"much" * 2**21)  # 8 MiB, more than what sockets hold

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def playing(
    play: Play, *, receive_buffer: int | None = None, token: Callable[[Request], Reply] | None = None, **settings: Any
) -> AsyncIterator[ImageService]:
    """A client, and a service of whose API the test reads and writes each byte, after the head of a request."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await play(reader, writer)
        writer.close()

    listening = socket.socket()
    if receive_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(connected, sock=listening, limit=receive_buffer or 2**16)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    async with serving(token or TokenEndpoint()) as granting:
        defaults: dict[str, Any] = {
            "credentials": ClientCredentials("me", Hidden(SECRET)),
            "stall_seconds": 60,
            "retries": 2,
        }
        connection = Connection(url, f"{granting.url}/token", **{**defaults, **settings})
        try:
            async with ImageService.open(connection, sleep=no_sleep, random=lambda: 0.0) as opened:
                yield opened
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)


async def failure(opened: ImageService, source: Source = PICTURE, workspace: str = "w") -> SyncerError:
    """Upload, and return what is raised."""
    try:
        image = await opened.upload(workspace, source)
    except SyncerError as error:
        return error
    raise AssertionError(f"it was uploaded as {image.id}")


class Clockwork:
    """The running loop's clock, which a test may put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._ahead = 0.0
        true = loop.time
        monkeypatch.setattr(loop, "time", lambda: true() + self._ahead)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and those who wait for it see that it has."""
        self._ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)
