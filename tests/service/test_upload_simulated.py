"""Uploads to the simulated service: what is said of each agrees with what its ledger counts."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from PIL import Image
from rawserver import Hidden, no_sleep
from upload_parts import failure

from syncer.errors import NotFound, QuotaReached, Refused, Unauthorized, Unavailable, Unsettled
from syncer.service.auth import ClientCredentials, StaticToken
from syncer.service.client import Connection, ImageService
from syncer.service.upload import Inline, Remote
from syncer.simulator import BRAND, CLOSED, Simulator, faults, uploads


def drawn() -> Inline:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(out, "PNG")
    return Inline("image/png", out.getvalue())


PICTURE = drawn()


@asynccontextmanager
async def client(sim: Simulator) -> AsyncIterator[ImageService]:
    credentials = ClientCredentials(sim.options.client_id, Hidden(sim.options.client_secret))
    connection = Connection(sim.url, sim.token_url, credentials, retries=1, stall_seconds=60)
    async with ImageService.open(connection, sleep=no_sleep) as opened:
        yield opened


async def test_what_is_uploaded_is_there(sim: Simulator):
    """By its id, in the listing, and byte for byte."""
    async with client(sim) as opened:
        image = await opened.upload(BRAND, PICTURE)
        assert await opened.image(BRAND, image.id) == image
        assert (await opened.page(BRAND, 1)).images[0] == image
        async with opened.content(image) as content:
            assert b"".join([chunk async for chunk in content.chunks]) == PICTURE.body

    (uploaded,) = sim.uploads
    assert (uploaded.workspace, uploaded.image) == (BRAND, image.id)
    assert uploaded.sha256 == hashlib.sha256(PICTURE.body).hexdigest()


async def test_an_address_is_fetched_by_the_service(sim: Simulator):
    """With its signature as it is."""
    source = sim.workspaces[BRAND].ids[0]
    async with client(sim) as opened:
        image = await opened.upload(BRAND, Remote(sim.signed_url(BRAND, source)))

    assert sim.workspaces[BRAND][image.id].body == sim.workspaces[BRAND][source].body


@pytest.mark.parametrize(
    ("fault", "kind", "carried_out"),
    [
        (faults.status(422), Refused, 0),
        (uploads.at_most(100), Refused, 0),
        (uploads.quota(), QuotaReached, 0),
        (faults.status(404), NotFound, 0),
        (faults.redirect("/api/elsewhere", code=307), Refused, 0),
        (faults.status(401), Unauthorized, 0),
        (faults.status(429, retry_after=5), Unavailable, 0),
        (faults.status(429), Unavailable, 0),
        (faults.html(502), Unsettled, 0),
        (faults.status(503, retry_after=5), Unsettled, 0),
        (faults.reset(), Unsettled, 0),
        (uploads.broken_off(50), Unsettled, 0),
        (uploads.carried_out_but(faults.html(502)), Unsettled, 1),
        (uploads.carried_out_but(faults.status(408)), Unsettled, 1),
        (faults.unanswered(), Unsettled, 1),
    ],
)
async def test_what_is_said_is_true(sim: Simulator, fault: faults.Action, kind: type, carried_out: int):
    """Only `Unsettled` may have been carried out, and nothing is carried out twice."""
    sim.faults.on("upload", fault)
    async with client(sim) as opened:
        error = await failure(opened, PICTURE, BRAND)

    assert type(error) is kind
    assert not getattr(error, "accepted", False)
    assert len(sim.uploads) == carried_out


@pytest.mark.parametrize(
    "fault",
    [
        faults.cut(),
        faults.cut(keep=0),
        faults.without("id"),
        faults.body(b"<html>", "text/html"),
        uploads.carried_out_but(faults.body(b"", "application/json", code=202)),
    ],
)
async def test_a_yes_without_an_image_is_accepted(sim: Simulator, fault: faults.Action):
    """Whatever is left of the answer."""
    sim.faults.on("upload", fault)
    async with client(sim) as opened:
        error = await failure(opened, PICTURE, BRAND)

    assert isinstance(error, Unsettled)
    assert error.accepted
    assert len(sim.uploads) <= 1


@pytest.mark.parametrize("first", [faults.status(401), faults.status(429, retry_after=1)])
async def test_what_is_repeated_arrives_once(sim: Simulator, first: faults.Action):
    """A 401 or a 429 and then a yes: one image."""
    sim.faults.on("upload", first, times=1)
    async with client(sim) as opened:
        image = await opened.upload(BRAND, PICTURE)

    assert [uploaded.image for uploaded in sim.uploads] == [image.id]


async def test_a_late_carrying_out_is_unsettled(sim: Simulator):
    """The gateway has given up, the service has not: it becomes an image when nobody waits any more."""
    go_on = asyncio.Event()
    sim.faults.on("upload", uploads.later(go_on.wait, code=504))
    async with client(sim) as opened:
        error = await failure(opened, PICTURE, BRAND)
        assert isinstance(error, Unsettled)
        assert sim.uploads == []
        go_on.set()
        assert len((await opened.page(BRAND, 1)).images) > 0

    assert len(sim.uploads) == 1


async def test_a_workspace_of_others_is_refused(sim: Simulator):
    """With its status, and without a word of a quota."""
    async with client(sim) as opened:
        error = await failure(opened, PICTURE, CLOSED)
        unknown = await failure(opened, PICTURE, "no-such-workspace")

    assert (type(error), error.status) == (Refused, 403)
    assert type(unknown) is NotFound


async def test_an_expired_token_given_ready_is_told(sim: Simulator):
    """Nothing was carried out with it."""
    connection = Connection(sim.url, sim.token_url, StaticToken(Hidden("ended")), stall_seconds=60)
    async with ImageService.open(connection) as opened:
        assert isinstance(await failure(opened, PICTURE, BRAND), Unauthorized)

    assert sim.uploads == []
