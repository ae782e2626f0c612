"""The age of the access token, as a daemon tells it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from syncer.service.auth import ClientCredentials, StaticToken, Tokens

HIDDEN = SimpleNamespace(reveal=lambda: "hidden")


@pytest.fixture
def now() -> SimpleNamespace:
    return SimpleNamespace(seconds=1000.0)


def tokens(now: SimpleNamespace, credentials: ClientCredentials | StaticToken) -> Tokens:
    async def ask(_form: dict[str, str]) -> bytes:
        now.seconds += 5  # the endpoint takes its time
        return b'{"access_token": "t", "expires_in": 3600}'

    return Tokens(credentials, ask, clock=lambda: now.seconds, on_secret=lambda _: None)


async def test_the_age_counts_from_the_asking(now: SimpleNamespace):
    """It begins anew with each token; there is none before the first, nor after a refusal."""
    held = tokens(now, ClientCredentials("me", HIDDEN))
    assert held.age is None

    await held.current()
    assert held.age == 5
    now.seconds += 3600
    await held.current()
    assert held.age == 5

    held.refused("t")
    assert held.age is None


async def test_a_ready_made_token_has_no_age(now: SimpleNamespace):
    """Nobody told us when it was made."""
    held = tokens(now, StaticToken(HIDDEN))
    await held.current()
    assert held.age is None
