"""Each fault shows on the wire as a client would meet it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import google_crc32c
import pytest
from aiohttp import web
from simulator_api import Api
from yarl import URL

from syncer.simulator import BRAND, SOCIAL, Simulator
from syncer.simulator import faults as fault


async def raw(sim: Simulator, api: Api, path: str) -> bytes:
    """Everything that comes over one connection until it closes."""
    host = urlsplit(sim.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in api.headers.items())
    writer.write(f"GET {host.path}{path} HTTP/1.1\r\nHost: {host.netloc}\r\n{headers}\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def content_of(image: str) -> str:
    return f"/image-service/v1/workspaces/{BRAND}/images/{image}/content"


async def test_a_rule_acts_as_often_as_it_says(api: Api, sim: Simulator) -> None:
    """A rule for two times acts on the first two requests that match, and on no other."""
    rule = sim.faults.on("listing", fault.status(500), workspace=BRAND, page=2, times=2)

    asked = [await api.page(query) for query in ("", "?page=2", "?page=2", "?page=2")]
    other = await api.page("?page=2", SOCIAL)

    assert [answer.status for answer in asked] == [200, 500, 500, 200]
    assert (other.status, rule.hits) == (200, 2)


async def test_the_first_rule_that_matches_acts(api: Api, sim: Simulator, image: str) -> None:
    """Rules are tried in order, a spent one makes room for the next, and clearing ends them all."""
    sim.faults.on("content", fault.status(503), image=image, times=1)
    sim.faults.on("*", fault.status(500))

    assert [(await api.content(image)).status for _ in range(2)] == [503, 500]
    sim.faults.clear()
    assert (await api.content(image)).status == 200


async def test_a_rule_may_look_at_the_request(api: Api, sim: Simulator) -> None:
    """A matcher of one's own narrows a rule further."""
    sim.faults.on("listing", fault.html(), when=lambda request: request.query.get("size") == "7")

    assert [(await api.page(query)).status for query in ("?size=7", "?size=8")] == [502, 200]


@pytest.mark.parametrize("wait", [None, 7, "Sun, 22 Nov 2026 07:28:00 GMT"])
async def test_later(api: Api, sim: Simulator, wait: int | str | None) -> None:
    """A 429 says when to come back in seconds, as a date, or not at all."""
    sim.faults.on("*", fault.status(429, retry_after=wait, machine="QUOTA"))
    answer = await api.page()

    assert (answer.status, answer.json["code"]) == (429, "QUOTA")
    assert answer.headers.get("Retry-After") == (None if wait is None else str(wait))


async def test_something_else_than_a_picture(api: Api, sim: Simulator, image: str) -> None:
    """HTML, JSON or nothing can stand where a picture belongs, with 200 and an honest length."""
    sim.faults.on("content", fault.body(b"<html>", "text/html"), times=1)
    sim.faults.on("content", fault.body(b"", "image/png"), times=1)
    page, nothing = await api.content(image), await api.content(image)

    assert (page.status, page.body, page.headers["Content-Type"]) == (200, b"<html>", "text/html")
    assert (nothing.status, nothing.body) == (200, b"")


async def test_the_token_endpoint_can_fail(api: Api, sim: Simulator) -> None:
    """Rules reach the token endpoint as well, a redirect to another origin among them."""
    sim.faults.on("token", fault.redirect("http://127.0.0.1:9/steal", code=307))
    answer = await api.call("POST", sim.token_url, data={})

    assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.1:9/steal")


async def test_a_cut_body(api: Api, sim: Simulator, image: str) -> None:
    """The full length is promised, half of it arrives."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.cut())

    head, _, body = (await raw(sim, api, content_of(image))).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.content(image)


async def test_an_overlong_body(api: Api, sim: Simulator, image: str) -> None:
    """More bytes arrive than were promised."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.overlong(b"!!"))

    head, _, body = (await raw(sim, api, content_of(image))).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole + b"!!"


async def test_a_body_that_ends_with_the_connection(api: Api, sim: Simulator, image: str) -> None:
    """Without any length, a cut body looks like a whole one to the HTTP library."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.until_close(0.25))
    answer = await api.content(image)

    assert "Content-Length" not in answer.headers
    assert answer.body == whole[: len(whole) // 4]


async def test_no_length(api: Api, sim: Simulator, image: str) -> None:
    """A chunked body is whole and does not say its length."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.chunked())
    answer = await api.content(image)

    assert (answer.body, "Content-Length" in answer.headers) == (whole, False)
    assert answer.headers["Transfer-Encoding"] == "chunked"


async def test_a_compressed_body(api: Api, sim: Simulator, image: str) -> None:
    """A body can come compressed without having been asked for so."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.gzip())
    answer = await api.content(image)

    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == whole


async def test_a_reset_connection(api: Api, sim: Simulator, image: str) -> None:
    """The connection breaks before any answer."""
    sim.faults.on("content", fault.reset(), times=1)

    with pytest.raises(ConnectionResetError):
        await raw(sim, api, content_of(image))
    assert (await api.content(image)).status == 200


async def test_an_upload_that_is_never_answered(api: Api, sim: Simulator, image: str) -> None:
    """The image is there, and the client was never told."""
    shelf, path = sim.workspaces[SOCIAL], f"/image-service/v1/workspaces/{SOCIAL}/images"
    sim.faults.on("upload", fault.unanswered(), times=1)
    before = len(shelf)

    with pytest.raises(aiohttp.ClientError):
        await api.call("POST", path, json={"imageUrl": sim.signed_url(BRAND, image)})
    assert len(shelf) == before + 1


def test_a_rule_needs_an_operation_that_exists() -> None:
    """A misspelt operation is an error at once, not a rule that never acts."""
    with pytest.raises(ValueError, match="listings"):
        fault.Faults().on("listings", fault.reset())


async def test_every_operation_has_its_name(api: Api, sim: Simulator, image: str) -> None:
    """A rule for everything reaches every documented endpoint."""
    sim.faults.on("*", fault.status(500))
    images = f"/image-service/v1/workspaces/{BRAND}/images"
    paths = (
        images,
        f"{images}/{image}",
        f"{images}/{image}/content",
        f"/image-service/v1/workspaces/{BRAND}/image-models",
    )
    for path in (*paths, "/workspace-service/v1/workspaces", f"/workspace-service/v1/workspaces/{BRAND}"):
        assert (await api.get(path)).status == 500
    for method, path in (("POST", images), ("DELETE", f"{images}/{image}"), ("POST", sim.token_url)):
        assert (await api.call(method, path)).status == 500
    assert (await api.get(sim.signed_url(BRAND, image), headers={})).status == 500

    assert sim.counts.keys() == fault.OPERATIONS - {"*"}


async def test_a_stalled_body(api: Api, sim: Simulator, image: str) -> None:
    """A part arrives, the rest only when the event is set."""
    whole, go_on = sim.workspaces[BRAND][image].body, asyncio.Event()
    sim.faults.on("content", fault.stall(go_on, after=0.25))

    async with api.session.get(sim.url + content_of(image), headers=api.headers) as answer:
        part = await answer.content.readexactly(len(whole) // 4)
        assert not answer.content.is_eof()
        go_on.set()
        assert part + await answer.content.read() == whole


async def test_stopping_does_not_wait_for_a_stalled_body(session: aiohttp.ClientSession) -> None:
    """A body that will never go on does not keep the simulator open."""
    async with asyncio.timeout(5), Simulator.start() as sim:
        image = sim.workspaces[BRAND].ids[0]
        sim.faults.on("content", fault.stall(asyncio.Event()))
        headers = {"Authorization": f"Bearer {sim.issue_token()}"}
        answer = await session.get(sim.url + content_of(image), headers=headers)
        assert answer.status == 200
    answer.close()


async def test_wrong_and_missing_headers(api: Api, sim: Simulator, image: str) -> None:
    """Headers of a good answer can be wrong or missing, and the bytes are the same."""
    whole = (await api.content(image)).body
    sim.faults.on("content", fault.headers({"Content-MD5": "AAAA", "x-goog-hash": "crc32c=AAAAAA==", "ETag": None}))
    answer = await api.content(image)

    assert (answer.headers["Content-MD5"], answer.headers["x-goog-hash"]) == ("AAAA", "crc32c=AAAAAA==")
    assert answer.body == whole


async def test_truncated_and_spoiled_together(api: Api, sim: Simulator, image: str) -> None:
    """Actions combine: the picture ends early, the length is true to what is sent, the hash is another."""
    sim.faults.on("content", fault.both(fault.headers({"Content-MD5": "AAAA"}), fault.rewrite(lambda data: data[:99])))
    answer = await api.content(image)

    assert (len(answer.body), answer.headers["Content-Length"], answer.headers["Content-MD5"]) == (99, "99", "AAAA")


async def test_hops_end_or_do_not(api: Api, sim: Simulator, image: str) -> None:
    """A chain of redirects ends after so many hops; a loop never does."""
    sim.faults.on("content", fault.hops(2), image=image)
    sim.faults.on("content", fault.hops(None))

    async with api.session.get(sim.url + content_of(image), headers=api.headers) as answer:
        assert (answer.status, len(answer.history)) == (200, 2)
    with pytest.raises(aiohttp.TooManyRedirects):
        await api.session.get(sim.url + content_of("any"), headers=api.headers)


async def test_the_store_wants_the_signed_url_as_it_is(api: Api, sim: Simulator, image: str) -> None:
    """Content may come from another origin: by the exact signed URL, without the token, with hashes."""
    sim.faults.on("content", fault.redirect(sim.to_store))
    location = (await api.content(image)).headers["Location"]
    assert URL(location).origin() != URL(sim.url).origin()

    answer = await api.get(location, headers={})
    assert answer.body == sim.workspaces[BRAND][image].body
    hashes = dict(part.split("=", 1) for part in answer.headers["x-goog-hash"].split(","))
    assert base64.b64decode(hashes["md5"]) == hashlib.md5(answer.body).digest()
    assert base64.b64decode(hashes["crc32c"]) == google_crc32c.value(answer.body).to_bytes(4, "big")

    assert (await api.get(str(URL(location)), headers={})).status == 403  # quoted anew: another signature
    assert (await api.get(location)).status == 400  # with the token
    assert (await api.get(sim.signed_url(BRAND, "nothing"), headers={})).status == 404
    assert {served.operation for served in sim.requests} == {"content", "store"}


async def test_the_store_can_fail_too(api: Api, sim: Simulator, image: str) -> None:
    """Rules reach the object store, which has its own name."""
    sim.faults.on("store", fault.status(503), image=image)

    assert (await api.get(sim.signed_url(BRAND, image), headers={})).status == 503


async def test_other_links(api: Api, sim: Simulator, image: str) -> None:
    """Content links can have any form, in listings and in an image's own answer."""
    sim.faults.on("listing", fault.relink(lambda row: f"v1/{row['id']}"))
    sim.faults.on("image", fault.relink(lambda row: sim.signed_url(BRAND, row["id"])))
    row = (await api.page("?size=1")).json["data"][0]
    own = await api.get(f"/image-service/v1/workspaces/{BRAND}/images/{image}")

    assert row["_links"]["content"] == f"v1/{image}"
    assert (await api.get(own.json["_links"]["content"], headers={})).status == 200


async def test_totals_that_lie(api: Api, sim: Simulator) -> None:
    """Totals can be missing or wrong while the rows are right."""
    sim.faults.on("listing", fault.totals(totalElements=None, totalPages=1), times=1)
    lying, honest = await api.page(), await api.page()

    assert lying.json["page"] == {"size": 50, "totalPages": 1, "currentPage": 1}
    assert lying.json["data"] == honest.json["data"]


async def test_the_same_page_for_ever(api: Api, sim: Simulator) -> None:
    """Whatever page is asked for, the first one comes."""
    sim.faults.on("listing", fault.same())
    pages = [await api.page(f"?size=2&page={number}") for number in (1, 2, 9)]

    assert pages[0].json == pages[1].json == pages[2].json


async def test_a_listing_without_end(api: Api, sim: Simulator) -> None:
    """Every page is full of images never seen and claims another page."""
    sim.faults.on("listing", fault.endless())
    pages = [(await api.page(f"?size=20&page={number}")).json for number in (1, 2, 50)]

    assert len({row["id"] for page in pages for row in page["data"]}) == 60
    assert all(page["page"]["totalPages"] > page["page"]["currentPage"] for page in pages)


async def test_holes(api: Api, sim: Simulator) -> None:
    """A page in the middle can be empty, and fields can be missing from rows."""
    sim.faults.on("listing", fault.empty(), page=2)
    sim.faults.on("listing", fault.without("updatedAt", "_links"))
    first, second = await api.page("?size=2"), await api.page("?size=2&page=2")

    assert [{"updatedAt", "_links"} & row.keys() for row in first.json["data"]] == [set(), set()]
    assert (second.json["data"], second.json["page"]["totalPages"] > 2) == ([], True)


async def test_an_error_is_not_spoiled(api: Api, sim: Simulator) -> None:
    """Edits are for good answers: a refusal passes as it is."""
    sim.faults.on("*", fault.empty())

    refused = (await api.page(workspace="nowhere")).json
    assert refused == {"error": "Workspace not found", "code": "WORKSPACE_NOT_FOUND"}


async def test_changes_while_somebody_lists(api: Api, sim: Simulator) -> None:
    """A hook runs before a page is made: an image deleted between two pages makes the client skip a row."""
    shelf = sim.workspaces[BRAND]
    order = shelf.ids
    sim.faults.on("listing", fault.before(lambda request: shelf.delete(order[0])), page=2, times=1)
    listed: list[Any] = []
    for number in (1, 2, 3):
        listed += [row["id"] for row in (await api.page(f"?size=3&page={number}")).json["data"]]

    assert order[3] in shelf
    assert order[3] not in listed


async def test_a_hook_can_wait(api: Api, sim: Simulator) -> None:
    """A hook may be a coroutine; the answer waits for it."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> None:
        arrived.set()
        await go_on.wait()

    sim.faults.on("listing", fault.before(wait))
    asking = asyncio.create_task(api.page())
    await arrived.wait()
    assert sim.requests[0].status is None
    go_on.set()

    assert (await asking).status == 200
