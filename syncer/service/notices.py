"""Post a notice to an address that somebody else watches: besides the transport, the only sender of HTTP.

Nothing of ours goes along: no token, no cookie, no proxy's credentials. The address is itself a secret, for whoever
knows it can speak in our name. So a redirect is a failure instead of being followed, errors name the origin alone, and
the library's exceptions, which hold the whole address, are not chained. What a notice says, and whether it is tried
again, is left to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from syncer.errors import Refused, SyncerError, Unavailable
from syncer.service.addresses import Origin, origin_of
from syncer.service.transport import USER_AGENT, certificates

_PATIENCE = 10.0  # seconds for all of one notice
_LATER = (408, 425, 429)  # what a receiver says when the same notice may be welcome later


class Notices:
    """The way to the receivers of notices."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, *, ca_file: str | None = None, patience: float = _PATIENCE) -> AsyncIterator[Notices]:
        """Open the way; `patience` is in seconds and for all of one notice. `ConfigError` for a broken `ca_file`."""
        trusted = await asyncio.to_thread(certificates, ca_file)
        async with aiohttp.ClientSession(
            # Notices are minutes apart: a connection kept that long is often dead, and would cost the next one.
            connector=aiohttp.TCPConnector(ssl=trusted, force_close=True),
            timeout=aiohttp.ClientTimeout(total=patience),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield cls(session)

    async def post(self, url: str, body: bytes, content_type: str) -> None:
        """Post the body; an answer below 300 is success, and what else it says is not read.

        `Unavailable` where the same notice may be taken later, `Refused` where it would not be.
        """
        address, origin = _judged(url)
        failure: SyncerError
        try:
            async with self._session.post(
                address, data=body, headers={"Content-Type": content_type}, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = Unavailable(_words(error), origin=str(origin))
        else:
            if status < 300:
                return
            failure = _refusal(status, origin)
        raise failure  # out here, so that it carries no context


def _judged(url: str) -> tuple[URL, Origin]:
    try:
        address = URL(url, encoded=True)
        origin = origin_of(address)
    except (ValueError, Refused):
        origin = None
    if origin is None:
        raise Refused("broken address")
    if origin.scheme != "https" and not origin.is_local:
        raise Refused("notices go out by https, or by http to this machine", origin=str(origin))
    return address, origin


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "the server's certificate is not valid"
        case aiohttp.ClientConnectorDNSError():
            return "the name cannot be resolved"
        case TimeoutError():
            return "the answer did not come in time"
        case aiohttp.ClientConnectorError():
            return "no connection can be made"
        case _:
            return "the connection broke"


def _refusal(status: int, origin: Origin) -> SyncerError:
    if 300 <= status < 400:
        return Refused("the receiver is elsewhere, and redirects are not followed", status=status, origin=str(origin))
    if status >= 500 or status in _LATER:
        return Unavailable("the receiver cannot take the notice now", status=status, origin=str(origin))
    return Refused("the receiver does not take the notice", status=status, origin=str(origin))
