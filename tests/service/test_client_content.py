"""The bytes of one image: links, redirects, credentials, and bodies that are not what they say."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
from contextlib import aclosing

import pytest
from rawserver import SECRET, Hidden, reply, said, service, serving

from syncer.errors import Damaged, NotFound, Refused, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.model import Image
from syncer.service.auth import StaticToken

PICTURE = b"\x89PNG" + bytes(range(256)) * 40


def image(link: str | None = "/api/content/a") -> Image:
    return Image(id="a", workspace_id="w", updated_at=None, content=link)


def written(*parts: bytes, close: bool = True):
    """Write the parts one after the other, so that each arrives on its own."""

    async def write(writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        return not close

    return write


async def fetch(opened, link: str | None = "/api/content/a") -> bytes:
    async with opened.content(image(link)) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


async def test_content_comes_with_what_its_headers_say():
    """Bytes, length, type and stated hashes of a direct answer from the API, asked for unpacked and with the token."""
    digest = hashlib.md5(PICTURE).digest()
    answer = reply(body=PICTURE, Content_Type="image/png", Content_MD5=base64.b64encode(digest).decode())
    async with service(lambda _: answer) as (opened, server), opened.content(image()) as found:
        assert (found.length, found.media_type) == (len(PICTURE), "image/png")
        assert found.digests == {"md5": digest}
        assert b"".join([chunk async for chunk in found.chunks]) == PICTURE

    asked = server.requests[-1]
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["authorization"] == "Bearer canary-token-1"


async def test_redirect_to_an_allowed_origin_carries_no_credential():
    """The store that the API sends us to gets the signed URL as it is, and nothing of ours."""
    signed = "/b/o%2Fa?X-Goog-Signature=a%2Bb/c==&x=%7e"
    async with serving(lambda _: reply(body=PICTURE)) as store:
        head, body = reply(302, bytes(9000), Location=store.url + signed).split(b"\r\n\r\n")
        moved = written(head + b"\r\n\r\n", body, close=False)
        async with service(lambda _: moved, content_origins=(store.url,)) as (opened, server):
            assert await fetch(opened) == PICTURE
            assert await fetch(opened) == PICTURE

    assert [asked.target for asked in store.requests] == [signed] * 2
    assert {"authorization", "cookie", "referer"}.isdisjoint(store.requests[0].headers)
    assert server.connections == 2  # one for the token, one for the API: a redirect does not use a connection up


async def test_way_back_to_the_api_carries_the_token_again():
    """Trust belongs to a hop, not to the chain."""

    async with serving(lambda _: reply(302, Location=home[0])) as store:

        def answer(request):
            return reply(body=PICTURE) if request.path == "/api/home" else reply(302, Location=f"{store.url}/x")

        async with service(answer, content_origins=(store.url,)) as (opened, server):
            home = [f"{server.url}/api/home"]
            assert await fetch(opened) == PICTURE

    assert "authorization" not in store.requests[0].headers
    assert server.requests[-1].headers["authorization"] == "Bearer canary-token-1"


@pytest.mark.parametrize("linked", [True, False])
async def test_unknown_origin_is_not_asked(linked):
    """Whether linked or redirected to, an origin that nobody named gets no request; the hint says how to allow it."""
    async with serving(lambda _: reply(body=PICTURE)) as store:
        target = f"{store.url}/a?sig=canary-query"
        async with service(lambda _: reply(302, Location=target)) as (opened, _):
            with pytest.raises(Refused) as caught:
                await fetch(opened, target if linked else "/api/content/a")

    assert store.requests == []
    assert caught.value.hint == f'add "{store.url}" to service.content_origins if you trust it'
    assert "canary" not in said(caught.value)


async def test_name_that_leads_to_this_machine_is_not_asked(monkeypatch):
    """A configured content origin whose name resolves to loopback is refused before a connection is made."""
    async with serving(lambda _: reply(body=PICTURE)) as inside:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def names(host, port, **options):
            return await real("127.0.0.1" if host == "cdn.example.com" else host, port, **options)

        monkeypatch.setattr(loop, "getaddrinfo", names)
        origin = f"http://cdn.example.com:{inside.port}"
        async with service(lambda _: reply(), content_origins=(origin,)) as (opened, _):
            with pytest.raises(Refused, match="leads into a network"):
                await fetch(opened, f"{origin}/a")
    assert inside.connections == 0


@pytest.mark.parametrize(
    ("link", "found", "asked"),
    [
        ("/api/content/a", "/api/content/a", 1),
        ("/image-service/v1/a", "/api/image-service/v1/a", 1),
        ("/image-service/v1/a", "/image-service/v1/a", 2),
        ("/v1/a", "/api/image-service/v1/a", 1),
        ("/v1/a", "/v1/a", 3),
        ("content/a", "/api/content/a", 1),
        ("/files/a", "/api/files/a", 2),
        ("/files/a b?x=ü", "/files/a%20b?x=%C3%BC", 1),
    ],
)
async def test_relative_link_is_found_wherever_it_is_meant(link, found, asked):
    """The documentation leaves open what a link is relative to: the likeliest first, the next after a 404."""
    async with service(lambda request: reply(body=PICTURE) if request.target == found else reply(404)) as (opened, _):
        assert await fetch(opened, link) == PICTURE
        assert opened.requests == 1 + asked


async def test_reading_that_worked_is_tried_first():
    """How this service means its links is learned once, not asked again for every image."""

    def answer(request):
        return reply(body=PICTURE) if request.path.startswith("/v1/") else reply(404)

    async with service(answer) as (opened, _):
        await fetch(opened, "/v1/a")
        before = opened.requests
        await fetch(opened, "/v1/b")
        assert opened.requests == before + 1
        with pytest.raises(NotFound):
            await fetch(opened, "/v2/c")


@pytest.mark.parametrize("link", [None, ""])
async def test_missing_link_is_asked_for_once(link):
    """A listing without links may be followed by documents that have them."""

    def answer(request):
        if request.path.endswith("/images/a"):
            return reply(body={"id": "a", "_links": {"content": "/api/content/a"}})
        return reply(body=PICTURE)

    async with service(answer) as (opened, server):
        assert await fetch(opened, link) == PICTURE
    assert server.paths()[1:] == ["/api/image-service/v1/workspaces/w/images/a", "/api/content/a"]


async def test_image_without_any_link_is_refused():
    """No link in the listing and none in the document: there is nothing to fetch."""
    async with service(lambda _: reply(body={"id": "a"})) as (opened, _):
        with pytest.raises(Refused, match="no content link"):
            await fetch(opened, None)


@pytest.mark.parametrize("link", ["ftp://h/x", "https://u:canary@h/x", "/a\nb", "https:///x", "javascript:x", "\ud800"])
async def test_broken_link_is_refused(link):
    """What is no http address, or brings credentials of its own, is not asked."""
    async with service(lambda _: reply(body=PICTURE)) as (opened, server):
        with pytest.raises(Refused) as caught:
            await fetch(opened, link)
    assert server.requests == []
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize("status", [400, 403])
async def test_expired_signed_link_is_renewed(status):
    """A signed link from an old listing is replaced by the one in the image's own document, once."""
    refusal = reply(status, {"error": "canary words"})
    async with serving(lambda asked: reply(body=PICTURE) if "new" in asked.target else refusal) as store:
        links = [f"{store.url}/a?sig=new"]

        def answer(request):
            return reply(body={"id": "a", "_links": {"content": links[0]}})

        async with service(answer, content_origins=(store.url,)) as (opened, _):
            assert await fetch(opened, f"{store.url}/a?sig=canary-old") == PICTURE
            links[0] = f"{store.url}/a?sig=canary-old"
            with pytest.raises(Refused) as caught:
                await fetch(opened, f"{store.url}/a?sig=canary-old")

    assert len(store.requests) == 3
    assert caught.value.status == status
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, UnexpectedAnswer),
        (206, UnexpectedAnswer),
        (304, UnexpectedAnswer),
        (403, Refused),
        (404, NotFound),
        (410, NotFound),
        (416, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_only_200_is_content(status, error):
    """Parts of a picture, or a status without one, are not kept; one attempt is one request."""
    answer = f"HTTP/1.1 {status} X\r\n\r\n".encode() if status in (204, 304) else reply(status, b"x")
    async with service(lambda _: answer) as (opened, _):
        with pytest.raises(SyncerError) as caught:
            await fetch(opened)
        assert opened.requests == 2
    assert type(caught.value) is error


async def test_expired_token_is_renewed_for_content_too():
    """A 401 for content at the API costs a new token; one from a foreign store is that store's refusal."""

    def answer(request):
        return reply(body=PICTURE) if request.headers["authorization"].endswith("2") else reply(401)

    async with service(answer) as (opened, _):
        assert await fetch(opened) == PICTURE

    async with serving(lambda _: reply(401)) as store:
        moved = reply(302, Location=f"{store.url}/x")
        token = StaticToken(Hidden("canary"))
        async with service(lambda _: moved, content_origins=(store.url,), credentials=token) as (opened, _):
            with pytest.raises(SyncerError) as caught:
                await fetch(opened)
    assert not isinstance(caught.value, Unauthorized)


HEAD = b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n"
CLOSE = b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD + b"hell",),
        (HEAD, b"hell"),
        (HEAD + b"hello and more",),
        (HEAD, b"hello and more"),
        (HEAD, b"he", b"llo and more"),
        (CLOSE, b"hello and more"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",),
        (b"garbage\r\n\r\n",),
    ],
)
async def test_body_of_another_length_is_damage(parts):
    """Too short, too long, cut between chunks, or a head that contradicts itself: none passes for the picture."""
    async with service(lambda _: written(*parts)) as (opened, _):
        with pytest.raises(Damaged):
            await fetch(opened)


async def test_body_may_end_with_the_connection():
    """Where nothing is promised, the end of the connection is the end of the picture; its length stays unknown."""
    bare = written(b"HTTP/1.0 200 X\r\n\r\n", b"he", b"llo")
    async with service(lambda _: bare) as (opened, _), opened.content(image()) as found:
        assert found.length is None
        assert b"".join([chunk async for chunk in found.chunks]) == b"hello"


async def test_packed_picture_is_unpacked_and_its_promises_dropped():
    """Length and hashes that are of the packed bytes are not applied to the picture."""
    packed = gzip.compress(PICTURE, mtime=0)
    digest = base64.b64encode(hashlib.md5(packed).digest()).decode()
    whole = reply(body=packed, Content_Encoding="gzip", x_goog_hash=f"md5={digest}")
    async with service(lambda _: whole) as (opened, _), opened.content(image()) as found:
        assert (found.length, found.digests) == (None, {})
        assert b"".join([chunk async for chunk in found.chunks]) == PICTURE
    async with service(lambda _: written(whole[:-5])) as (opened, _):
        with pytest.raises(Damaged):
            await fetch(opened)
    async with service(lambda _: reply(body=packed, Content_Encoding="br")) as (opened, _):
        with pytest.raises(UnexpectedAnswer):
            await fetch(opened)


async def test_picture_may_take_longer_than_a_retry():
    """A large picture on a slow line arrives, as long as it makes progress."""
    parts = [b"x" * 2048] * 20
    slow = written(b"HTTP/1.1 200 X\r\nContent-Length: 40960\r\n\r\n", *parts)
    async with service(lambda _: slow, retry_seconds=0.1) as (opened, _):
        assert await fetch(opened) == b"".join(parts)


async def test_slow_reader_is_no_stall():
    """Only waiting for the service counts: a disk that is slow does not end the attempt."""
    long = reply(body=PICTURE * 100)
    got = b""
    async with service(lambda _: long, stall_seconds=0.15) as (opened, _), opened.content(image()) as found:
        async for chunk in found.chunks:
            if not got:
                await asyncio.sleep(0.4)
            got += chunk
    assert got == PICTURE * 100


async def test_whole_attempt_is_repeated_from_the_start():
    """`retrying` around content and its use starts over after damage, and passes the result on."""
    replies = [written(HEAD + b"he"), reply(503), reply(body=b"hello")]
    async with service(lambda _: replies.pop(0)) as (opened, _):
        assert await opened.retrying(lambda: fetch(opened)) == b"hello"


async def test_reader_that_stops_early_leaves_nothing_open():
    """A picture that its reader gives up, by an error or on purpose, closes its connection and hides no error."""
    async with service(lambda _: reply(body=PICTURE * 500)) as (opened, _):
        with pytest.raises(ZeroDivisionError):
            async with opened.content(image()) as found:
                async with aclosing(found.chunks) as chunks:
                    await anext(chunks)
                raise ZeroDivisionError
        async with opened.content(image()):
            pass
        assert await fetch(opened) == PICTURE * 500


async def test_cancelled_download_goes_through():
    """Cancelling a download ends it at once, whatever it waits for."""
    reached = asyncio.Event()

    async def stall(writer):
        writer.write(HEAD)
        await writer.drain()
        reached.set()
        await asyncio.Event().wait()

    async with service(lambda _: stall) as (opened, _):
        download = asyncio.create_task(opened.retrying(lambda: fetch(opened)))
        await reached.wait()
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download


async def test_secret_is_shown_only_to_the_token_endpoint():
    """The client's secret leaves in one form and in nothing else."""
    async with service(lambda _: reply(body=PICTURE)) as (opened, server):
        await fetch(opened)

    token, asked = server.requests
    assert SECRET.encode() in token.body
    assert SECRET not in repr(asked)
    assert SECRET not in token.target + repr(token.headers)
