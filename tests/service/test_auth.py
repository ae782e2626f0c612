"""The access token: asked for once, renewed in time, shown to nobody."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest

from syncer.errors import Unauthorized, Unavailable, UnexpectedAnswer
from syncer.service.auth import ASSUMED_LIFETIME, ClientCredentials, StaticToken, Tokens, read_refusal, read_token


@dataclass(frozen=True)
class Hidden:
    value: str

    def reveal(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return "…"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """Gives out token-1, token-2, …; waits for `opened`."""

    def __init__(self, expires_in: object = 14399) -> None:
        self.forms: list[dict[str, str]] = []
        self.opened = asyncio.Event()
        self.opened.set()
        self.asked = asyncio.Event()
        self.expires_in = expires_in
        self.failures: list[Exception] = []

    async def __call__(self, form: dict[str, str]) -> bytes:
        self.forms.append(form)
        self.asked.set()
        await self.opened.wait()
        if self.failures:
            raise self.failures.pop()
        return json.dumps({"access_token": f"token-{len(self.forms)}", "expires_in": self.expires_in}).encode()


def tokens(ask, clock=None, secrets=None, credentials=None) -> Tokens:
    credentials = credentials or ClientCredentials("me", Hidden("s3cret"))
    return Tokens(credentials, ask, clock=clock or Clock(), on_secret=(secrets if secrets is not None else []).append)


async def test_token_is_asked_for_once_and_kept():
    """One request serves many calls, and carries what OAuth wants of client credentials."""
    endpoint, secrets = Endpoint(), []
    held = tokens(endpoint, secrets=secrets)

    assert [await held.current() for _ in range(3)] == ["token-1"] * 3
    assert endpoint.forms == [
        {"grant_type": "client_credentials", "client_id": "me", "client_secret": "s3cret", "scope": "openid"}
    ]
    assert secrets == ["token-1"]


@pytest.mark.parametrize(("expires_in", "margin"), [(14399, 60), (100, 10)])
async def test_token_is_renewed_before_it_ends(expires_in, margin):
    """A minute before its end, or a tenth of a short life, a token is no longer used."""
    clock = Clock()
    held = tokens(Endpoint(expires_in), clock)
    await held.current()

    clock.now = expires_in - margin - 0.1
    assert await held.current() == "token-1"
    clock.now = expires_in - margin + 0.1
    assert await held.current() == "token-2"


async def test_all_who_wait_share_one_request():
    """Many calls without a token ask once, and one that is cancelled meanwhile does not fail the others."""
    endpoint = Endpoint()
    endpoint.opened.clear()
    held = tokens(endpoint)
    first, *others = [asyncio.create_task(held.current()) for _ in range(5)]
    await endpoint.asked.wait()

    first.cancel()
    await asyncio.wait([first])
    endpoint.opened.set()

    assert await asyncio.gather(*others) == ["token-1"] * 4
    assert first.cancelled()
    assert len(endpoint.forms) == 1


async def test_failure_is_told_to_all_and_the_next_asks_again():
    """An endpoint that does not answer fails those who wait, and is asked anew by those who come later."""
    endpoint = Endpoint()
    endpoint.failures.append(Unavailable("no answer"))
    held = tokens(endpoint)

    waiting = await asyncio.gather(held.current(), held.current(), return_exceptions=True)
    assert [type(error) for error in waiting] == [Unavailable, Unavailable]
    assert await held.current() == "token-2"


async def test_failure_that_nobody_waits_for_is_no_noise():
    """When all who waited were cancelled, closing ends the renewal, and nothing is left to complain."""
    endpoint = Endpoint()
    endpoint.opened.clear()
    held = tokens(endpoint)
    waiting = asyncio.create_task(held.current())
    await endpoint.asked.wait()
    waiting.cancel()
    await asyncio.wait([waiting])

    await held.aclose()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_refused_token_is_replaced_once():
    """Of many requests refused with the same token, the first makes for a new one and the others use it."""
    held = tokens(Endpoint())
    old = await held.current()

    held.refused(old)
    new = await held.current()
    held.refused(old)

    assert await held.current() == new == "token-2"


async def test_static_token_is_used_as_it_is_and_cannot_be_renewed():
    """A ready-made token is told to the log's blanking, and a 401 for it is final."""
    secrets: list[str] = []
    held = tokens(Endpoint(), secrets=secrets, credentials=StaticToken(Hidden("given\n")))

    assert await held.current() == "given"
    assert secrets == ["given"]
    with pytest.raises(Unauthorized) as caught:
        held.refused("given")
    assert "given" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("text", ["", " ", "a b", "a\nb", "tokén"])
async def test_static_token_with_impossible_characters_is_refused(text):
    """A token that would break a header is a mistake that another try does not mend."""
    with pytest.raises(Unauthorized):
        await tokens(Endpoint(), credentials=StaticToken(Hidden(text))).current()


@pytest.mark.parametrize(
    ("said", "lifetime"),
    [
        ("14399", 14399),
        ('"120"', 120),
        ("90.5", 90.5),
        ("null", ASSUMED_LIFETIME),
        ("0", ASSUMED_LIFETIME),
        ("-5", ASSUMED_LIFETIME),
        ("true", ASSUMED_LIFETIME),
        ("[]", ASSUMED_LIFETIME),
        ('"soon"', ASSUMED_LIFETIME),
        ('"nan"', ASSUMED_LIFETIME),
        ("1e300", 86400),
        ("9" * 400, ASSUMED_LIFETIME),
    ],
)
def test_odd_lifetimes_are_tolerated(said, lifetime):
    """Whatever `expires_in` says, the token is used for some sensible time."""
    assert read_token(b'{"access_token": "t", "expires_in": %s}' % said.encode()) == ("t", lifetime)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "a b"}',
        b'{"access_token": "a\\r\\nX: y"}',
        b'{"access_token": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_answer_without_a_usable_token_is_unexpected(body):
    """No token, or one that would break out of its header: the endpoint is not what it should be."""
    with pytest.raises(UnexpectedAnswer) as caught:
        read_token(body)
    assert "X: y" not in str(caught.value)


def test_only_standard_refusals_are_repeated():
    """The endpoint's error code is shown if it is one of OAuth's, for anything else may be an echo."""
    assert read_refusal(b'{"error": "invalid_client", "error_description": "s3cret is wrong"}') == "invalid_client"
    assert read_refusal(b'{"error": "s3cret"}') is None
    assert read_refusal(b"<html>") is None
    assert read_refusal(b"[1]") is None
