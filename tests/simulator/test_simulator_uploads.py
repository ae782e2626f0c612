"""What the simulated service makes of uploads: its ledger, and each thing that may go wrong with one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from typing import Any

import aiohttp
import pytest
from PIL import Image
from simulator_api import Answer, Api, Clock

from syncer.simulator import BRAND, SOCIAL, Simulator, Uploaded, faults, uploads

PATH = f"/image-service/v1/workspaces/{BRAND}/images"


def picture(colour: str = "teal", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(out, kind)
    return out.getvalue()


async def send(api: Api, content: bytes = b"", **options: Any) -> Answer:
    uri = f"data:image/png;base64,{base64.b64encode(content or picture()).decode()}"
    return await api.call("POST", PATH, json={"imageUrl": uri}, **options)


async def is_lost(api: Api) -> bool:
    """Whether an upload ends without an answer."""
    try:
        await send(api)
    except aiohttp.ClientError:
        return True
    return False


def size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as opened:
        return opened.size


# --- the ledger ---------------------------------------------------------------------------------------


async def test_each_upload_that_was_carried_out_is_in_the_ledger(api: Api, sim: Simulator, clock: Clock) -> None:
    """By the hash of what came, in order, the same content twice as two; what is refused is not."""
    first = await send(api)
    assert (await send(api, b"not a picture")).status == 422
    clock.time += 60
    second = await send(api)
    third = await api.call(
        "POST", PATH.replace(BRAND, SOCIAL), json={"imageUrl": sim.signed_url(BRAND, first.json["id"])}
    )

    digest = hashlib.sha256(picture()).hexdigest()
    assert sim.uploads == [
        Uploaded(BRAND, digest, first.json["id"], first.json["createdAt"]),
        Uploaded(BRAND, digest, second.json["id"], second.json["createdAt"]),
        Uploaded(SOCIAL, digest, third.json["id"], third.json["createdAt"]),
    ]
    assert len({uploaded.image for uploaded in sim.uploads}) == 3


# --- other bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recode", "kind"), [(uploads.as_jpeg, "jpeg"), (uploads.as_png, "png")])
async def test_a_service_may_keep_a_picture_in_other_bytes(api: Api, sim: Simulator, recode: Any, kind: str) -> None:
    """Its dimensions stay, its size is that of the new bytes; the ledger still knows what came."""
    sim.workspaces[BRAND].recode = recode
    answer = await send(api)
    served = await api.content(answer.json["id"])

    assert served.body != picture()
    assert (served.headers["Content-Type"], size(served.body)) == (f"image/{kind}", (30, 20))
    assert (answer.json["imageWidth"], answer.json["imageHeight"]) == (30, 20)
    assert answer.json["imageSize"] == len(served.body)
    assert sim.uploads[0].sha256 == hashlib.sha256(picture()).hexdigest()


async def test_packed_anew_the_pixels_are_the_same(api: Api, sim: Simulator) -> None:
    """Only the bytes differ."""
    sim.workspaces[BRAND].recode = uploads.as_png
    drawn = io.BytesIO()
    Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50).convert("RGB").save(drawn, "PNG", compress_level=1)
    answer = await send(api, drawn.getvalue())

    served = (await api.content(answer.json["id"])).body
    with Image.open(io.BytesIO(served)) as one, Image.open(drawn) as other:
        assert served != drawn.getvalue()
        assert one.tobytes() == other.tobytes()


# --- not seen at once ---------------------------------------------------------------------------------


async def test_a_lagging_listing_shows_an_upload_later(api: Api, sim: Simulator) -> None:
    """Known by its id and not listed, neither as a row nor in the total, until the service catches up."""
    shelf = sim.workspaces[BRAND]
    before = (await api.page()).json
    shelf.lagging = True
    new = (await send(api)).json["id"]

    assert (await api.get(f"{PATH}/{new}")).status == 200
    assert (await api.page()).json == before
    shelf.catch_up()
    assert (await api.page()).json["data"][0]["id"] == new
    assert (await send(api)).json["id"] == (await api.page()).json["data"][0]["id"]


async def test_an_upload_may_not_be_known_yet(api: Api, sim: Simulator, image: str) -> None:
    """For so many requests for each new image; others are known as ever."""
    sim.faults.on("image", uploads.not_yet(2), when=sim.is_uploaded)
    one, other = [(await send(api)).json["id"] for _ in range(2)]

    assert [(await api.get(f"{PATH}/{one}")).status for _ in range(4)] == [404, 404, 200, 200]
    assert [(await api.get(f"{PATH}/{other}")).status for _ in range(3)] == [404, 404, 200]
    assert (await api.get(f"{PATH}/{image}")).status == 200


# --- refused ------------------------------------------------------------------------------------------


async def test_a_quota_refuses_until_it_is_released(api: Api, sim: Simulator) -> None:
    """With a code of its own, and for one workspace."""
    rule = sim.faults.on("upload", uploads.quota(), workspace=BRAND)
    refused = [await send(api) for _ in range(2)]
    rule.left = 0

    assert {(answer.status, answer.json["code"]) for answer in refused} == {(403, "QUOTA_EXCEEDED")}
    assert (await send(api)).status == 201
    assert len(sim.uploads) == 1


async def test_a_request_that_is_too_large_is_refused_before_it_has_come(api: Api, sim: Simulator) -> None:
    """By its announced length, a smaller one is taken."""
    sim.faults.on("upload", uploads.at_most(10_000))

    refused = await send(api, b"much" * 10_000)
    assert (refused.status, refused.json["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await send(api)).status == 201


@pytest.mark.parametrize("retry_after", [None, 3])
async def test_a_status_instead_carries_nothing_out(api: Api, sim: Simulator, retry_after: int | None) -> None:
    """422, 429, 502 and a redirect without the upload."""
    for code in (422, 429, 502):
        sim.faults.on("upload", faults.status(code, retry_after=retry_after), times=1)
    sim.faults.on("upload", faults.redirect("/api/elsewhere", code=307), times=1)

    answers = [await send(api) for _ in range(4)]
    assert [answer.status for answer in answers] == [422, 429, 502, 307]
    assert answers[1].headers.get("Retry-After") == (None if retry_after is None else "3")
    assert sim.uploads == []


async def test_a_body_that_is_broken_off_carries_nothing_out(api: Api, sim: Simulator) -> None:
    """The connection ends in the middle of the request."""
    sim.faults.on("upload", uploads.broken_off(20), times=1)

    assert await is_lost(api)
    assert sim.uploads == []


# --- carried out, and not told ------------------------------------------------------------------------


@pytest.mark.parametrize("instead", [faults.html(502), faults.status(504), faults.redirect("/api/elsewhere")])
async def test_another_answer_than_the_honest_one(api: Api, sim: Simulator, instead: faults.Action) -> None:
    """A gateway that has lost the service's answer: the image is there."""
    sim.faults.on("upload", uploads.carried_out_but(instead), times=1)

    assert (await send(api)).status in {502, 504, 302}
    assert len(sim.uploads) == 1


@pytest.mark.parametrize("loss", [faults.unanswered(), faults.cut()])
async def test_an_answer_that_is_lost_on_the_way(api: Api, sim: Simulator, loss: faults.Action) -> None:
    """Reset after it was carried out, or cut in the middle of the answer."""
    sim.faults.on("upload", loss, times=1)

    assert await is_lost(api)
    assert len(sim.uploads) == 1


async def test_an_answer_may_come_late(api: Api, sim: Simulator) -> None:
    """The image is there at once, the answer after what the test waits for."""
    done, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: object) -> None:
        done.set()
        await go_on.wait()

    sim.faults.on("upload", uploads.answered_after(wait), times=1)
    sending = asyncio.create_task(send(api))
    await done.wait()

    assert (len(sim.uploads), sending.done()) == (1, False)
    go_on.set()
    assert (await sending).status == 201


@pytest.mark.parametrize("code", [None, 502])
async def test_an_upload_may_be_carried_out_when_nobody_waits_any_more(
    api: Api, sim: Simulator, code: int | None
) -> None:
    """The connection is gone, or a gateway has given up; what was taken in becomes an image later."""
    wanted, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        wanted.set()
        await go_on.wait()

    sim.faults.on("upload", uploads.later(wait, code=code), times=1)
    before = len(sim.workspaces[BRAND])
    if code is None:
        assert await is_lost(api)
    else:
        assert (await send(api)).status == code
    await wanted.wait()
    assert (len(sim.uploads), len(sim.workspaces[BRAND])) == (0, before)

    go_on.set()
    await api.page()
    assert (await api.page()).json["data"][0]["id"] == sim.uploads[0].image
