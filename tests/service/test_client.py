"""The documents of the service: pages, images, workspaces, over real sockets that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from rawserver import PAGE, SECRET, Hidden, TokenEndpoint, answering, reply, said, service, serving

from syncer.errors import NotFound, Refused, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.service import client
from syncer.service.auth import StaticToken


async def test_page_is_asked_for_with_the_token_and_read():
    """One page: the documented path and query, a bearer token, and the rows as images."""
    secrets: list[str] = []
    async with service(answering(reply(body=PAGE)), on_secret=secrets.append) as (opened, server):
        page = await opened.page("w/1", 3)

    asked = server.requests[-1]
    assert [image.id for image in page.images] == ["a"]
    assert asked.target == "/api/image-service/v1/workspaces/w%2F1/images?page=3&size=200"
    assert asked.headers["authorization"] == "Bearer canary-token-1"
    assert "cookie" not in asked.headers
    assert secrets == ["canary-token-1"]
    assert (opened.requests, opened.statuses) == (2, {200: 2})


async def test_many_calls_share_a_token_and_connections():
    """The token is asked for once however many calls begin together, and connections are used again."""
    grant = TokenEndpoint()
    async with service(answering(reply(body=PAGE)), token=grant) as (opened, server):
        await asyncio.gather(*(opened.page("w", number) for number in range(1, 6)))
        for number in range(6, 20):
            await opened.page("w", number)

    assert grant.granted == 1
    assert server.connections <= 6


async def test_image_and_workspace_are_documents_of_their_own():
    """The single documents are found under their ids, each encoded as one path segment."""
    async with service(answering(reply(body={"id": "..", "name": "N"}))) as (opened, server):
        assert (await opened.image("w", "..")).id == ".."
        assert (await opened.workspace("ä b")).name == "N"

    assert server.paths()[1:] == [
        "/api/image-service/v1/workspaces/w/images/%2E%2E",
        "/api/workspace-service/v1/workspaces/%C3%A4%20b",
    ]


async def test_expired_token_is_replaced_and_the_call_repeated():
    """A 401 costs one new token and no error, even for many calls at once."""
    grant = TokenEndpoint()

    def answer(request):
        fresh = request.headers["authorization"] == "Bearer canary-token-2"
        return reply(body=PAGE) if fresh else reply(401, {"error": "expired"})

    async with service(answer, token=grant) as (opened, _):
        await asyncio.gather(*(opened.page("w", number) for number in range(1, 6)))

    assert grant.granted == 2


async def test_second_refusal_is_final():
    """A token that is new and still refused means that the credentials are not enough; nothing is repeated."""
    async with service(answering(reply(401, {"error": "no canary-token-1"}))) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 4
    assert "canary" not in said(caught.value)


async def test_static_token_is_refused_at_once():
    """What cannot be renewed is not tried again."""
    token = StaticToken(Hidden("canary-static"))
    async with service(answering(reply(401)), credentials=token) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 1
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_credentials_are_fatal_and_not_repeated(status):
    """The token endpoint says no: the standard's code is shown, its words and ours are not."""
    refusal = reply(status, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"})
    async with service(answering(reply(body=PAGE)), token=lambda _: refusal) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert caught.value.facts["code"] == "invalid_client"
    assert "canary" not in said(caught.value)
    assert len(server.requests) == 1


async def test_token_request_is_never_redirected():
    """The client's secret is posted to the configured URL and to nowhere else."""
    async with serving(answering(reply(body={"access_token": "x"}))) as elsewhere:
        moved = reply(307, Location=f"{elsewhere.url}/token")
        async with service(answering(reply(body=PAGE)), token=lambda _: moved) as (opened, _):
            with pytest.raises(UnexpectedAnswer) as caught:
                await opened.page("w", 1)

    assert elsewhere.requests == []
    assert "service.token_url" in caught.value.hint
    assert SECRET not in said(caught.value)


@pytest.mark.parametrize("body", [b"<html>canary-x", b"", b'{"access_token": "canary bad"}'])
async def test_token_answer_that_is_none_is_unexpected(body):
    """A proxy's page in place of a token is repeated like other failures and then told."""
    async with service(answering(reply(body=PAGE)), token=lambda _: reply(body=body)) as (opened, server):
        with pytest.raises(UnexpectedAnswer) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 3
    assert "canary" not in said(caught.value)


async def test_token_endpoint_that_recovers_is_no_error():
    """The token request is repeated as part of the call that needs it."""
    replies = answering(reply(503), reply(429), reply(body={"access_token": "t"}))
    async with service(answering(reply(body=PAGE)), token=replies) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (403, Refused),
        (404, NotFound),
        (410, NotFound),
        (422, Refused),
        (204, UnexpectedAnswer),
        (206, UnexpectedAnswer),
        (304, UnexpectedAnswer),
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (520, Unavailable),
    ],
)
async def test_each_status_has_its_meaning(status, error):
    """What may pass is repeated, what will not is told at once, with the service's own words and code."""
    body = b"" if status in (204, 304) else {"error": "no canary-token-1 today", "code": "WHY"}
    answer = reply(status, body) if body else f"HTTP/1.1 {status} X\r\n\r\n".encode()
    async with service(answering(answer)) as (opened, server):
        with pytest.raises(SyncerError) as caught:
            await opened.page("w", 1)

    assert type(caught.value) is error
    assert len(server.requests) == (4 if error.retryable else 2)
    assert "canary" not in said(caught.value)
    assert caught.value.facts["status"] == status
    if body and error is not UnexpectedAnswer:
        assert (caught.value.facts["said"], caught.value.facts["code"]) == ("no … today", "WHY")


async def test_failure_that_passes_is_no_error():
    """A gateway's page of HTML, a reset and a cut body in a row, then the page."""

    async def reset(writer):
        writer.transport.abort()

    whole = reply(body=PAGE)
    cut = answering(reply(502, b"<html>bad gateway"), reset, whole[:-3] + b"", reply(body=b"<html>"), whole)

    def answer(request):
        given = cut(request)
        return closing(given) if given == whole[:-3] else given

    async with service(answer, retries=4) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


def closing(data: bytes):
    async def write(writer):
        writer.write(data)
        await writer.drain()

    return write


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b'{"data": null}', b"[" * 100_000, b'{"data": [{"id": "canary-token-1']
)
async def test_answer_that_is_no_page_is_unexpected(body):
    """200 alone is not a page."""
    async with service(answering(reply(body=body)), retries=0) as (opened, _):
        with pytest.raises(UnexpectedAnswer) as caught:
            await opened.page("w", 1)
    assert "canary" not in said(caught.value)


async def test_cut_answer_is_told_as_one():
    """A body shorter than it said, or with bytes after its end, is never taken for a page."""
    whole = reply(body=PAGE)
    for odd in (whole[:-1], whole + b"more"):
        async with service(answering(closing(odd)), retries=0) as (opened, _):
            with pytest.raises(UnexpectedAnswer):
                await opened.page("w", 1)


async def test_packed_answers_are_read():
    """The API may pack its answers."""
    packed = reply(body=gzip.compress(json.dumps(PAGE).encode(), mtime=0), Content_Encoding="gzip")
    async with service(answering(packed)) as (opened, server):
        assert (await opened.page("w", 1)).rows == 1
    assert server.requests[-1].headers["accept-encoding"] == "gzip, deflate"


async def test_answer_without_end_is_bounded(monkeypatch):
    """A document that is too long, packed into a small bomb or not, is given up and not swallowed."""
    monkeypatch.setattr(client, "MAX_JSON", 100_000)
    bomb = reply(body=gzip.compress(b" " * 10_000_000, mtime=0), Content_Encoding="gzip")
    for long in (bomb, reply(body=b" " * 100_001)):
        async with service(answering(long), retries=0) as (opened, _):
            with pytest.raises(UnexpectedAnswer, match="too long"):
                await opened.page("w", 1)


async def test_redirect_within_the_api_is_followed_with_the_token():
    """The service may move its own paths about."""

    def answer(request):
        return reply(body=PAGE) if request.path == "/moved" else reply(307, Location="/moved?x=1")

    async with service(answer) as (opened, server):
        assert (await opened.page("w", 1)).rows == 1
    assert server.requests[-1].headers["authorization"] == "Bearer canary-token-1"


async def test_redirect_of_an_api_call_to_elsewhere_is_refused():
    """A page comes from the API's origin or not at all, not even from an allowed content origin."""
    async with serving(answering(reply(body=PAGE))) as elsewhere:
        moved = reply(302, Location=f"{elsewhere.url}/x?token=canary-q")
        async with service(answering(moved), content_origins=(elsewhere.url,)) as (opened, _):
            with pytest.raises(Refused, match="another origin") as caught:
                await opened.page("w", 1)

    assert elsewhere.requests == []
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize("location", [None, "/api/round", "ftp://x/", "http://u:canary-p@127.0.0.1/"])
async def test_redirects_to_nowhere_end(location):
    """A circle, a missing target, or a target that is none: one clear refusal."""
    moved = reply(302, Location=location) if location else reply(302)
    async with service(answering(moved)) as (opened, server):
        with pytest.raises(Refused) as caught:
            await opened.page("w", 1)

    assert len(server.requests) <= 3
    assert "canary" not in said(caught.value)


async def test_endless_redirects_end():
    """Five redirects are followed, the sixth is not."""
    async with service(lambda request: reply(302, Location=f"{request.path}x")) as (opened, server):
        with pytest.raises(Refused, match="more redirects"):
            await opened.page("w", 1)
    assert len(server.requests) == 1 + 6


async def test_retry_after_is_waited_for_by_all():
    """A 429 holds back the next requests to that origin for as long as it asked."""
    slept: list[float] = []

    async def sleep(seconds):
        slept.append(seconds)

    async with service(answering(reply(429, Retry_After="7"), reply(body=PAGE)), sleep=sleep) as (opened, _):
        await opened.page("w", 1)

    assert [round(seconds) for seconds in slept] == [0, 7]


async def test_dead_service_is_known_as_down():
    """After some requests given up in a row the service counts as down, until it answers."""
    replies = [reply(500)] * 8 + [reply(body=PAGE)]
    async with service(answering(*replies), retries=0) as (opened, _):
        for _ in range(8):
            assert not opened.down
            with pytest.raises(Unavailable):
                await opened.page("w", 1)
        assert opened.down
        await opened.page("w", 1)
        assert not opened.down


async def test_unknown_image_is_a_sign_of_life():
    """A 404 is an answer: it does not count towards "down"."""
    replies = [reply(500), reply(404)] * 10
    async with service(answering(*replies), retries=0) as (opened, _):
        for _ in range(20):
            with pytest.raises(SyncerError):
                await opened.image("w", "a")
        assert not opened.down
