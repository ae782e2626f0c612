"""What came in by upload, and what may go wrong with one on top of `faults`.

The ledger is the truth that a client's belief is held against: it counts what was really carried out, answered or not.

    sim.faults.on("upload", quota())                          until `rule.left = 0`
    sim.faults.on("upload", carried_out_but(status(502)), times=1)
    sim.faults.on("upload", later(event.wait), times=1)            carried out when nobody waits any more
    sim.faults.on("image", not_yet(2), when=sim.is_uploaded)
"""

from __future__ import annotations

import asyncio
import inspect
import io
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from PIL import Image

from .faults import Action, Proceed, connection, hang_up, status


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One upload that was carried out; `sha256` is of the bytes that came, whatever is served for them."""

    workspace: str
    sha256: str
    image: str
    at: str  # the service's time


# --- what becomes of the bytes ------------------------------------------------------------------------


def as_jpeg(content: bytes) -> bytes:
    """Make a JPEG of a picture, as a service does that keeps nothing else: other pixels, the same dimensions."""
    return _saved(content, "JPEG", quality=85)


def as_png(content: bytes) -> bytes:
    """Pack a picture as a PNG of our own making: other bytes, the same pixels."""
    return _saved(content, "PNG", compress_level=9)


def _saved(content: bytes, kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").save(out, kind, **options)
    return out.getvalue()


# --- refused ------------------------------------------------------------------------------------------


def quota() -> Action:
    """Refuse as a workspace does that has used up what it may have."""
    return status(403, error="The workspace has reached its upload quota", machine="QUOTA_EXCEEDED")


def at_most(limit: int) -> Action:
    """Refuse what is larger than so many bytes, as soon as its length is known and without reading it."""
    refuse = status(413, error="The upload is too large", machine="PAYLOAD_TOO_LARGE")

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        large = request.content_length is not None and request.content_length > limit
        return await (refuse(request, proceed) if large else proceed(request))

    return act


def broken_off(after: int = 1) -> Action:
    """Break the connection once so many bytes of the request's body have come; nothing is carried out."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        try:
            await request.content.readexactly(after)
        except asyncio.IncompleteReadError:
            raise ValueError(f"a body of less than {after} bytes") from None  # it would not be broken off
        hang_up(request)
        return web.Response()

    return act


# --- carried out, and the client does not know --------------------------------------------------------


def carried_out_but(instead: Action) -> Action:
    """Do what was asked, and answer something else: a gateway's 502, a redirect, nothing of use."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        await proceed(request)
        return await instead(request, proceed)

    return act


def answered_after(hook: Callable[[web.Request], object]) -> Action:
    """Do what was asked, then call (and await) something before the answer leaves: it comes late, or too late."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed(request)
        result = hook(request)
        if inspect.isawaitable(result):
            await result
        return answer

    return act


def later(wait: Callable[[], Awaitable[object]], *, code: int | None = None) -> Action:
    """Take the request in, answer `code` or break the connection (None), and carry it out only after the wait."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        await request.read()  # kept, so that the handler finds it when the connection is gone
        if code is None:
            hang_up(request)
        else:
            line = f"HTTP/1.1 {code} {HTTPStatus(code).phrase}"
            transport = connection(request)
            transport.write(f"{line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
            transport.close()
        await wait()
        return await proceed(request)

    return act


# --- not seen at once ---------------------------------------------------------------------------------


def not_yet(times: int) -> Action:
    """Not know an image for the first so many requests for it. Of the listing, `Shelf.lagging` does the same."""
    asked: Counter[str] = Counter()
    unknown = status(404, error="Image not found", machine="IMAGE_NOT_FOUND")

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        image = request.match_info["image"]
        asked[image] += 1
        return await (unknown(request, proceed) if asked[image] <= times else proceed(request))

    return act
