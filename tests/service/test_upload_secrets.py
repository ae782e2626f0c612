"""What an error of an upload may say: never the token, the picture, or the address that the service was to fetch."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from rawserver import answering, reply, said, service
from upload_parts import PICTURE, failure, playing

from syncer.errors import Refused, SyncerError
from syncer.service.upload import Inline, Remote, Source

SIGNATURE = "canary+Sig/na%2Fture~1=="
SIGNED = (
    f"https://store.example/canary-bucket/canary.png?X-Goog-Date=20261122&X-Goog-Signature={SIGNATURE}&e=1#of-canary"
)
STATUSES = (402, 403, 404, 422, 429, 500)


async def told(status: int, body: object, source: Source) -> SyncerError:
    async with service(answering(reply(status, body)), retries=0) as (opened, _):
        return await failure(opened, source)


@pytest.mark.parametrize(
    "echo",
    [
        SIGNED,
        f"'{SIGNED}'",
        f"url={quote(SIGNED, safe='')}",
        f"url={quote(quote(SIGNED, safe=''), safe='')}",
        SIGNED[:-9],
        SIGNED.partition("//")[2],
        SIGNED.partition("?")[2],
        f"the signature {SIGNATURE} has ended",
        "the signature canary+Sig/na/ture~1== has ended",
        "no canary.png in canary-bucket",
        "HTTPS://STORE.example/canary-bucket/x",
        f"the signature {quote(SIGNATURE, safe='')} has ended",
    ],
)
@pytest.mark.parametrize("field", ["error", "message", "code"])
async def test_an_address_that_the_service_repeats_is_blanked(echo, field):
    """As a whole, in part, encoded, in any field: a signature is a credential."""
    error = await told(422, {field: f"cannot fetch {echo}"}, Remote(SIGNED))

    assert "canary" not in said(error).lower()
    assert "cannot fetch" in said(error)


@pytest.mark.parametrize("status", STATUSES)
async def test_an_address_escaped_as_json_allows_is_blanked(status):
    r"""With `\/` and `\u0026`, as some services write, whole and a value alone."""
    for echo in (SIGNED, SIGNATURE):
        text = json.dumps({"error": f"cannot fetch {echo}"}).replace("/", r"\/").replace("&", r"\u0026")
        assert "canary" not in said(await told(status, text.encode(), Remote(SIGNED)))


async def test_a_value_at_the_end_of_what_is_shown_is_blanked_as_well():
    """Words are cut after a while, and must not be cut in the middle of a signature."""
    for length in range(170, 205, 3):
        error = await told(
            422, {"error": "x y " * (length // 4) + "z" * (length % 4) + " " + SIGNATURE}, Remote(SIGNED)
        )
        assert "canary" not in said(error)


@pytest.mark.parametrize("status", STATUSES)
async def test_a_picture_that_the_service_repeats_is_blanked(status):
    """A data URI in an error is somebody's picture, however short."""
    error = await told(
        status, {"error": "not a picture: data:image/png;base64,Y2FuYXJ5"}, Inline("image/png", b"canary")
    )

    assert "Y2FuYXJ5" not in said(error)
    assert "not a picture" in said(error)


@pytest.mark.parametrize("status", STATUSES)
async def test_the_token_is_blanked(status):
    """A service that repeats the request's head does not make us repeat it."""
    assert "canary" not in said(await told(status, {"error": "got Authorization: canary-token-1"}, PICTURE))


async def test_a_lost_answer_says_nothing_of_what_was_sent():
    """The library's own errors hold the whole request: none of them comes along."""

    async def hang_up(reader, writer):
        writer.transport.abort()

    async with playing(hang_up) as opened:
        for source in (Remote(SIGNED), Inline("image/canary", b"canary")):
            error = await failure(opened, source)
            assert "canary" not in said(error)
            assert error.__cause__ is None
            assert error.__context__ is None


async def test_ordinary_words_stay():
    """What helps a person is not blanked with it."""
    error = await told(422, {"errors": [{"field": "imageUrl", "message": "not a picture (image/svg)"}]}, Remote(SIGNED))

    assert isinstance(error, Refused)
    assert error.facts["said"] == "imageUrl not a picture (image/svg)"


def test_a_source_does_not_print_what_it_holds():
    """Not in a log, nor in a test's output."""
    assert "canary" not in repr(Remote(SIGNED)) + repr(Inline("image/png", b"canary"))
