"""Send one request and hand over its answer: the module that touches the HTTP client (`sending`, `notices` besides).

It waits for the request's turn, bounds the reading in bytes and in time, counts, and tells `Pacing` who asked for a
pause. Redirects are answers like others: the library would carry the token, or a POST's body, to wherever it is told.
The library's exceptions become ours here and are *not* chained, since they hold the whole request, Authorization
and signed query included. What an answer means, and which token a request carries, is left to the client.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDictProxy
from yarl import URL

from syncer.errors import ConfigError, Damaged, Refused, SyncerError, Unavailable, UnexpectedAnswer, Unsettled
from syncer.service.addresses import Perimeter, PublicResolver, Trust, origin_of, public
from syncer.service.content import decoded, encoding
from syncer.service.pacing import CROWDED, Pacing, Turn, http_date, retry_after
from syncer.service.sending import Outgoing, going_on

USER_AGENT = "syncer"
MIN_PROGRESS = 1024  # bytes within stall_seconds: a byte now and then must not hold an attempt for ever
MAX_EXCERPT = 64 * 1024
PATIENCE_FOR_EXCERPTS = 2.0  # seconds
_READ_AHEAD = 64 * 1024  # about half of what is held of an answer that nobody reads on in, while its picture waits
_FRESH = 10.0  # seconds after that import: what it read of the authorities is what would be read now
_IMPORTED = time.monotonic()  # and the HTTP client with us


class Answer:
    """The head of an answer, and its body as it comes: iterating over it may raise `Unavailable` or `Damaged`.

    What is left unread is dropped when it is closed. A plain object, because there is one for every picture.
    """

    def __init__(
        self, transport: Transport, response: aiohttp.ClientResponse, url: URL, trust: Trust, turn: Turn
    ) -> None:
        self.url = url
        self.trust = trust
        self.origin = turn.origin.name
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.whole = False  # the body was read to its end
        self._transport = transport
        self._turn = turn
        self._response = response
        # Held from now on: the response lets go of it with the last byte, and only it notices bytes beyond the last.
        self._protocol = response.connection.protocol if response.connection else None
        self._patience = transport.stall_seconds
        self._progress = 0

    @property
    def retry_after(self) -> float | None:
        """The seconds that the answer asks us to wait."""
        return retry_after(self.headers.get("Retry-After"), self.headers.get("Date"), datetime.now(UTC))

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        failure: SyncerError
        content = self._response.content
        try:
            chunk = content.read_nowait() or (b"" if content.is_eof() else await self._wait())
        except (aiohttp.ClientError, OSError) as error:
            failure = _ours(error, self.url)
        else:
            if not chunk:
                self._end()
                raise StopAsyncIteration
            self._transport.activity += 1
            self._progress += len(chunk)
            if self._progress >= MIN_PROGRESS:
                self._patience, self._progress = self._transport.stall_seconds, 0
            return chunk
        raise failure

    async def _wait(self) -> bytes:
        """Wait for more. Only this counts as patience; how long the reader takes with what it got does not."""
        clock = asyncio.get_running_loop().time
        started = clock()
        async with asyncio.timeout(self._patience):
            chunk = await self._response.content.readany()
        self._patience -= clock() - started
        return chunk

    def _end(self) -> None:
        if self._protocol is not None and isinstance(self._protocol.exception(), HttpProcessingError):
            raise Damaged("the body goes on after its end", **public(self.url))
        self.whole = True

    async def body(self, limit: int, patience: float | None = None) -> bytes:
        """Read the whole body, unpacked; `UnexpectedAnswer` beyond the limit, `Unavailable` beyond the patience."""
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._transport.document_seconds if patience is None else patience),
                aclosing(decoded(self, encoding(self.headers))) as chunks,
            ):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > limit:
                        raise UnexpectedAnswer("the answer is too long", limit=limit, **public(self.url))
        except TimeoutError as error:
            raise _ours(error, self.url) from None
        return bytes(body)

    async def excerpt(self) -> bytes:
        """Read a body that matters little, if it is short and quick, so that the connection can be used again."""
        with suppress(SyncerError):
            return await self.body(MAX_EXCERPT, min(self._transport.document_seconds, PATIENCE_FOR_EXCERPTS))
        return b""

    async def aclose(self) -> None:
        """Let go of the connection: for good, if the body was not read to its end."""
        self._response.close()
        self._turn.end()


class Transport:
    """The open connections of one client."""

    def __init__(
        self,
        api: aiohttp.ClientSession,
        bare: aiohttp.ClientSession,
        once: aiohttp.ClientSession,
        pacing: Pacing,
        *,
        stall_seconds: float,
        document_seconds: float,
    ) -> None:
        self._api = api
        self._bare = bare
        self._once = once
        self._pacing = pacing
        self.stall_seconds = stall_seconds
        self.document_seconds = document_seconds
        self.requests = 0
        self.activity = 0  # requests and chunks
        self.statuses: Counter[int] = Counter()
        self.clock_skew: float | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, perimeter: Perimeter, pacing: Pacing, *, stall_seconds: float, document_seconds: float, ca_file: str | None
    ) -> AsyncIterator[Transport]:
        """Open the connection pools: one for the API, one that never sees a credential of ours in a header.

        And a third one that keeps no connection, for what must not be sent twice.

        A body read in `chunks` only has to go on (`stall_seconds`), one read at once also has to end.
        """
        trusted = await asyncio.to_thread(certificates, ca_file)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=stall_seconds, sock_connect=stall_seconds, sock_read=stall_seconds
        )
        async with AsyncExitStack() as stack:
            resolver = PublicResolver(perimeter, ThreadedResolver())
            api, bare, once = [
                await stack.enter_async_context(
                    aiohttp.ClientSession(
                        # No limit: the operations bound what is in flight, and a queue in here would count as a stall.
                        connector=aiohttp.TCPConnector(
                            limit=0, resolver=resolver, ssl=trusted, force_close=force_close
                        ),
                        timeout=timeout,
                        cookie_jar=aiohttp.DummyCookieJar(),
                        headers={"User-Agent": USER_AGENT},
                        auto_decompress=False,
                        trust_env=False,
                        read_bufsize=_READ_AHEAD,
                    )
                )
                for force_close in (False, False, True)
            ]
            yield cls(api, bare, once, pacing, stall_seconds=stall_seconds, document_seconds=document_seconds)

    async def send(
        self, url: URL, trust: Trust, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, a POST if there is a form; the caller closes the answer."""
        origin = str(origin_of(url))
        turn = await self._pacing.turn(origin, limited=trust is Trust.API)
        self.requests += 1
        self.activity += 1
        session = self._api if trust is Trust.API else self._bare
        answer: Answer | None = None
        try:
            failure: SyncerError
            try:
                # Bounded here as well, for a head that drips byte by byte never lets the library's own limit pass.
                async with asyncio.timeout(2 * self.stall_seconds):
                    response = await session.request(
                        "GET" if form is None else "POST", url, headers=headers, data=form, allow_redirects=False
                    )
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = _ours(error, url)
            else:
                answer = self._answer(response, url, trust, turn)
                return answer
            raise failure
        finally:
            if answer is None:
                turn.end()

    async def post(self, url: URL, headers: Mapping[str, str], body: Outgoing) -> Answer:
        """Send a body to the API, once, over a new connection, for as long as it goes on; the caller closes the answer.

        `Unavailable` where surely nothing has left, `Unsettled` where something may have and no answer came.
        """
        origin = str(origin_of(url))
        turn = await self._pacing.turn(origin, limited=True)
        self.requests += 1
        self._moved()
        patience = self.stall_seconds
        # No `sock_read`: it would run from when the body is in the system's buffers, which on a slow line is not sent.
        timeout = aiohttp.ClientTimeout(total=None, connect=patience, sock_connect=patience)
        request = self._once.post(url, headers=headers, data=body, allow_redirects=False, timeout=timeout)
        answer: Answer | None = None
        try:
            failure: SyncerError
            try:
                response = await going_on(request, lambda: body.progress, patience, self._moved)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = _ours(error, url)
                if body.begun:
                    facts: dict[str, Any] = {**failure.facts, "reason": failure.message}
                    failure = Unsettled("the upload was not answered", **facts)
            else:
                body.answered()
                answer = self._answer(response, url, Trust.API, turn)
                return answer
            raise failure
        finally:
            if answer is None:
                turn.end()

    def _moved(self) -> None:
        self.activity += 1

    def _answer(self, response: aiohttp.ClientResponse, url: URL, trust: Trust, turn: Turn) -> Answer:
        answer = Answer(self, response, url, trust, turn)
        self.statuses[answer.status] += 1
        if trust is Trust.API and (theirs := http_date(answer.headers.get("Date"))):
            self.clock_skew = time.time() - theirs.timestamp()
        self._pacing.answered(turn, answer.status, answer.retry_after if answer.status in CROWDED else None)
        return answer


def certificates(ca_file: str | None, clock: Callable[[], float] = time.monotonic) -> ssl.SSLContext | Literal[True]:
    """Return what is trusted: the usual authorities and those of the file. Raises `ConfigError` for a broken one.

    True is the usual ones: the HTTP client has read them when it was imported, which takes as long as a page of images.
    A daemon that connects anew long after that reads them again, for the system's may have changed.
    """
    if ca_file is None and clock() - _IMPORTED < _FRESH:
        return True
    trusted = ssl.create_default_context()
    if ca_file is not None:
        try:
            trusted.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                "the file of certificate authorities cannot be read", file=ca_file, reason=error.strerror
            ) from error
    return trusted


def _ours(error: Exception, url: URL) -> SyncerError:
    where = public(url)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", None)
            return Unavailable(
                "the server's certificate is not valid",
                cause="tls",
                reason=reason,
                hint="if your network has a certificate authority of its own, name its file in service.ca_file",
                **where,
            )
        case aiohttp.ClientConnectorSSLError() if not isinstance(error.os_error, ssl.SSLEOFError):
            reason = getattr(error.os_error, "reason", None)
            return Unavailable("no secure connection can be made", cause="tls", reason=reason, **where)
        case aiohttp.ClientConnectorDNSError():
            return Unavailable("the name cannot be resolved", cause="dns", **where)
        case aiohttp.ClientConnectorError(os_error=ConnectionResetError()):
            return Unavailable("the connection broke", cause="reset", **where)
        case TimeoutError():
            return Unavailable("the answer did not come in time", cause="timeout", **where)
        case aiohttp.ClientConnectorError():
            return Unavailable("no connection can be made", cause="refused", **where)
        case aiohttp.ClientPayloadError():
            return Damaged("the body is cut", **where)
        case aiohttp.ClientResponseError():
            return Damaged("the answer breaks the rules of HTTP, or is longer than it says", **where)
        case aiohttp.InvalidURL():
            return Refused("broken address", **where)
        case _:
            return Unavailable("the connection broke", cause="reset", **where)
