"""Hold the access token: one at a time, renewed before it ends, asked for once however many wait.

The form of the request and the reading of its answer are here; sending it is left to the transport. A token is
known to nobody but the caller of `Tokens.current` and `on_secret`, which is told each one so that logs can blank it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from syncer.errors import Unauthorized, UnexpectedAnswer

ASSUMED_LIFETIME = 3600.0  # seconds, where the answer does not say; a 401 tells us earlier
LONGEST_LIFETIME = 86400.0
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CODES = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
_NOT_JSON = (msgspec.DecodeError, ValueError, RecursionError)

HINT = "check service.client_id and the client secret, and that service.token_url is the token endpoint"
TOKEN_HINT = "put a fresh access token in place, or use client credentials, which renew themselves"  # noqa: S105 - prose


class Revealing(Protocol):
    """A secret that prints as `…` and gives itself away only when told to."""

    def reveal(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth 2 client credentials."""

    client_id: str
    secret: Revealing


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A ready-made access token, which we cannot renew."""

    token: Revealing


Credentials = ClientCredentials | StaticToken


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_at: float
    asked_at: float | None  # None: by somebody else, at a time that we do not know

    def __repr__(self) -> str:
        return "_Token(…)"


class Tokens:
    """The current access token of one client.

    `ask` posts a form to the token endpoint and returns the body of its 200 answer; it raises `Unauthorized` where
    the endpoint refuses, `Unavailable` where it does not answer.
    """

    def __init__(
        self,
        credentials: Credentials,
        ask: Callable[[dict[str, str]], Awaitable[bytes]],
        *,
        clock: Callable[[], float],
        on_secret: Callable[[str], None],
    ) -> None:
        self._credentials = credentials
        self._ask = ask
        self._clock = clock
        self._on_secret = on_secret
        self._token: _Token | None = None
        self._renewal: asyncio.Task[_Token] | None = None

    @property
    def age(self) -> float | None:
        """The seconds since the current token was asked for; None without one, or where it was given to us ready."""
        if self._token is None or self._token.asked_at is None:
            return None
        return self._clock() - self._token.asked_at

    async def current(self) -> str:
        """Give a token that should be good for this request; ask for a new one if the last one is about to end."""
        if self._token is not None and self._clock() < self._token.renew_at:
            return self._token.value
        if isinstance(self._credentials, StaticToken):
            value = self._credentials.token.reveal().strip()
            if not _TOKEN.fullmatch(value):
                raise Unauthorized("the access token has characters that no token can have", hint=TOKEN_HINT)
            self._on_secret(value)
            self._token = _Token(value, math.inf, None)
            return value
        if self._renewal is None:
            # A task of its own, so that the first who waits may be cancelled without failing the others.
            self._renewal = asyncio.create_task(self._renew(self._credentials))
            self._renewal.add_done_callback(self._renewed)
        return (await asyncio.shield(self._renewal)).value

    def refused(self, token: str) -> None:
        """Note that the service answered 401 to this token; the next `current` is another one."""
        if isinstance(self._credentials, StaticToken):
            raise Unauthorized("the service refused the access token", status=401, hint=TOKEN_HINT)
        # Whoever asked with an older token must not throw away the one that has come meanwhile.
        if self._token is not None and self._token.value == token:
            self._token = None

    def blanked(self, text: str) -> str:
        """The text without the current token, which a service may echo."""
        return text if self._token is None else text.replace(self._token.value, "…")

    async def aclose(self) -> None:
        """Stop a renewal that nobody waits for any more."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _renew(self, credentials: ClientCredentials) -> _Token:
        asked_at = self._clock()
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            "client_secret": credentials.secret.reveal(),
            "scope": "openid",
        }
        value, lifetime = read_token(await self._ask(form))
        self._on_secret(value)
        self._token = _Token(value, asked_at + lifetime - min(60.0, lifetime / 10), asked_at)
        return self._token

    def _renewed(self, renewal: asyncio.Task[_Token]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # looked at here, for all who waited may be gone


def read_token(body: bytes) -> tuple[str, float]:
    """Read the token endpoint's answer: the token as sent, and the seconds that it will be good for."""
    try:
        answer = msgspec.json.decode(body)
    except _NOT_JSON:
        answer = None
    value = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise UnexpectedAnswer("the token endpoint's answer holds no usable token", hint="check service.token_url")
    return value, _lifetime(answer.get("expires_in"))


def read_refusal(body: bytes) -> str | None:
    """Read the token endpoint's error code; only those of the standard, for its own words may quote what we sent."""
    try:
        answer = msgspec.json.decode(body)
    except _NOT_JSON:
        return None
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code in _CODES else None


def _lifetime(said: object) -> float:
    try:
        seconds = math.nan if isinstance(said, bool) or not isinstance(said, int | float | str) else float(said)
    except (ValueError, OverflowError):
        seconds = math.nan
    # Below a second it would mean a new token for every call, which cannot be meant.
    return min(seconds, LONGEST_LIFETIME) if seconds >= 1 else ASSUMED_LIFETIME
