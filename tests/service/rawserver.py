"""A server of bytes on loopback: what it answers is written out in the test, however wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from syncer.service.auth import ClientCredentials
from syncer.service.client import Connection, ImageService


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[object]]


@dataclass
class RawServer:
    port: int = 0
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


def reply(status: int = 200, body: bytes | object = b"", **headers: str) -> bytes:
    """A whole answer; header names are written with `_` for `-`. A body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if not {"content_length", "transfer_encoding"} & {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@asynccontextmanager
async def serving(answer: Callable[[Request], Reply], *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve on a free port; a reply may be a function that writes, and says whether the connection goes on."""
    server = RawServer(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            while request := await read(reader):
                server.requests.append(request)
                given = answer(request)
                if not isinstance(given, bytes):
                    if not await given(writer):
                        break
                    continue
                writer.write(given)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))
        await listening.wait_closed()


async def read(reader: asyncio.StreamReader) -> Request | None:
    with suppress(asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body)
    return None


@dataclass(frozen=True)
class Hidden:
    """A secret as the settings hold one."""

    value: str

    def reveal(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return "…"


SECRET = "canary-client-secret"
PAGE = {"page": {"size": 200, "totalElements": 1, "totalPages": 1, "currentPage": 1}, "data": [{"id": "a"}]}


def said(error: BaseException) -> str:
    """Everything that a log or a person could see of an error, of its causes and of its contexts."""
    seen: list[str] = []
    chain: BaseException | None = error
    while chain is not None:
        seen += [
            str(chain),
            repr(chain),
            repr(chain.args),
            repr(getattr(chain, "facts", "")),
            getattr(chain, "hint", ""),
        ]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(seen)


class TokenEndpoint:
    """Grants canary-token-1, canary-token-2, …"""

    def __init__(self) -> None:
        self.granted = 0

    def __call__(self, request: Request) -> Reply:
        self.granted += 1
        return reply(body={"access_token": f"canary-token-{self.granted}", "expires_in": 1000})


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def service(
    answer: Callable[[Request], Reply],
    *,
    token: Callable[[Request], Reply] | None = None,
    tls: ssl.SSLContext | None = None,
    sleep: Callable[[float], Awaitable[object]] = no_sleep,
    on_secret: Callable[[str], None] | None = None,
    **settings: object,
) -> AsyncIterator[tuple[ImageService, RawServer]]:
    """A client and the service it talks to: everything below `/api` is answered by the test."""
    grant = token or TokenEndpoint()
    async with serving(lambda asked: grant(asked) if asked.path == "/token" else answer(asked), tls=tls) as server:
        defaults = {"credentials": ClientCredentials("me", Hidden(SECRET)), "stall_seconds": 5, "retries": 2}
        connection = Connection(f"{server.url}/api", f"{server.url}/token", **{**defaults, **settings})  # type: ignore[arg-type]
        async with ImageService.open(connection, sleep=sleep, random=lambda: 0.0, on_secret=on_secret) as opened:
            yield opened, server


def answering(*replies):
    """Give one reply after the other, the last one for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]
