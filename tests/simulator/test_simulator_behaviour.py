"""How the imitation behaves over time: listings, tokens, limits, and what tests may change."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from simulator_api import UNTIL, Api, Clock, client

from syncer.simulator import BRAND, CLOSED, SOCIAL, Options, Simulator, mutate


def ids(page: Any) -> list[str]:
    return [row["id"] for row in page.json["data"]]


async def test_pages_cover_the_listing_once(api: Api, sim: Simulator) -> None:
    """The pages together hold every image once, the newest first, and count truly."""
    shelf = sim.workspaces[BRAND]
    pages = [await api.page(f"?page={number}&size=3") for number in range(1, 6)]

    listed = [id_ for page in pages for id_ in ids(page)]
    assert listed == shelf.ids
    created = [row["createdAt"] for page in pages for row in page.json["data"]]
    assert created == sorted(created, reverse=True)
    total = len(shelf)
    assert pages[1].json["page"] == {"size": 3, "totalElements": total, "totalPages": -(-total // 3), "currentPage": 2}


async def test_a_page_holds_fifty_unless_asked(api: Api, sim: Simulator) -> None:
    """Fifty rows by default, two hundred at most; a page beyond the end is empty."""
    sim.workspaces[BRAND].add_many(200)

    assert len(ids(await api.page())) == 50
    assert len(ids(await api.page("?size=200"))) == 200
    assert ids(await api.page("?page=9&size=200")) == []


@pytest.mark.parametrize(
    ("parameter", "field"), [("generationId", "generationId"), ("modelId", "model"), ("createdByUserId",) * 2]
)
async def test_filters(api: Api, sim: Simulator, parameter: str, field: str) -> None:
    """A filter lists exactly the images that have the value."""
    shelf = sim.workspaces[BRAND]
    wanted = shelf[shelf.ids[-1]].row[field]

    found = await api.page(f"?{parameter}={wanted}")

    assert ids(found) == [id_ for id_ in shelf.ids if shelf[id_].row[field] == wanted]
    assert ids(await api.page(f"?{parameter}=nothing-has-this")) == []


async def test_the_closed_workspace_is_not_listed(api: Api, sim: Simulator) -> None:
    """Two workspaces are listed; the third exists and refuses."""
    listed = await api.get("/workspace-service/v1/workspaces")

    assert ids(listed) == [BRAND, SOCIAL]
    assert listed.json["data"][0] == (await api.get(f"/workspace-service/v1/workspaces/{BRAND}")).json
    assert (await api.get(f"/workspace-service/v1/workspaces/{CLOSED}")).status == 403
    sim.workspaces[SOCIAL].accessible = False
    assert (await api.page(workspace=SOCIAL)).status == 403


async def test_content_says_what_it_is(api: Api, sim: Simulator, image: str) -> None:
    """The content link serves the bytes with length, type and MD5, as many as the row says."""
    row = (await api.get(f"/image-service/v1/workspaces/{BRAND}/images/{image}")).json
    answer = await api.get(row["_links"]["content"])

    assert len(answer.body) == row["imageSize"] == int(answer.headers["Content-Length"])
    assert answer.headers["Content-Type"] == f"image/{row['parameters']['format']}"
    assert base64.b64decode(answer.headers["Content-MD5"]) == hashlib.md5(answer.body).digest()
    assert (await api.get(row["_links"]["content"], headers={})).status == 401


@pytest.mark.parametrize("odd", ["a/b", "../x", "..", "ü x", "%2F", "a?b#c", "{a}", "x" * 900, "a+b\\"])
async def test_any_id_can_be_asked_for(api: Api, sim: Simulator, odd: str) -> None:
    """An id is any text: escaped, it leads to its image, and its content link to its bytes."""
    sim.workspaces[BRAND].add(id=odd)
    path = "%2E%2E" if odd == ".." else quote(odd, safe="")

    row = (await api.get(f"/image-service/v1/workspaces/{BRAND}/images/{path}")).json

    assert row["id"] == odd
    assert "/../" not in row["_links"]["content"]  # a client would walk up
    assert (await api.get(row["_links"]["content"])).body == sim.workspaces[BRAND][odd].body


async def test_tokens_expire(api: Api, clock: Clock) -> None:
    """A token works for its lifetime and not a second longer."""
    clock.time += 14398
    assert (await api.page()).status == 200
    clock.time += 1
    assert (await api.page()).status == 401


async def test_tokens_can_be_taken_back(api: Api, sim: Simulator) -> None:
    """A test can let all tokens expire at once; new ones work."""
    sim.expire_tokens()
    assert (await api.page()).status == 401
    assert (await client(sim, api.session).page()).status == 200


async def test_too_many_requests(session: aiohttp.ClientSession) -> None:
    """Beyond the rate limit the answer is 429 and says when to come back."""
    async with Simulator.start(Options(images=0, rate_limit=0.01)) as sim:
        api = client(sim, session)
        first, second = await api.page(), await api.page()

    assert (first.status, second.status, second.headers["Retry-After"]) == (200, 429, "100")
    assert second.json["code"] == "RATE_LIMITED"


async def test_latency_comes_before_every_answer(session: aiohttp.ClientSession) -> None:
    """Each request waits the latency that was asked for."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with Simulator.start(Options(images=0, latency=0.25), sleep=sleep) as sim:
        api = client(sim, session)
        await api.page()
        await api.page()

    assert waited == [0.25, 0.25]


async def test_bad_luck_comes_by_the_seed(session: aiohttp.ClientSession) -> None:
    """A fault rate lets some requests fail, the same ones for the same seed, and never the token's."""

    async def luck(seed: int) -> list[int]:
        async with Simulator.start(Options(images=0, fault_rate=0.4, seed=seed)) as sim:
            api, seen = client(sim, session), []
            for _ in range(30):
                try:
                    seen.append((await api.page()).status)
                except aiohttp.ClientError:
                    seen.append(0)
            assert (await api.call("POST", sim.token_url, data={})).status == 400
            return seen

    seen = await luck(3)
    assert seen == await luck(3)
    assert seen != await luck(4)
    assert {0, 200, 502} <= set(seen) <= {0, 200, 500, 502, 503}


async def test_requests_are_remembered(api: Api, sim: Simulator, image: str) -> None:
    """Every request is kept for assertions, with what it was about and what came of it."""
    await api.page("?page=2")
    await api.content(image)

    listing, content = sim.requests
    assert (listing.operation, listing.query, listing.workspace, listing.status) == (
        "listing", {"page": "2"}, BRAND, 200,
    )  # fmt: skip
    assert (content.operation, content.image, content.method) == ("content", image, "GET")
    assert content.headers["Authorization"].startswith("Bearer ")
    assert sim.counts == {"listing": 1, "content": 1}


async def test_stopping_does_not_wait_for_a_hanging_client(session: aiohttp.ClientSession) -> None:
    """A client that keeps its connection open holds up nothing, and the port is free again."""
    async with asyncio.timeout(5):
        async with Simulator.start(Options(images=0)) as sim:
            await client(sim, session).page()
        port = int(sim.url.split(":")[2].removesuffix("/api"))
        async with Simulator.start(Options(images=0, port=port)) as again:
            assert again.url == sim.url


async def test_what_is_added_comes_first(api: Api, sim: Simulator) -> None:
    """New images are the newest, the latest first, also within one second; bytes and fields can be given."""
    shelf = sim.workspaces[BRAND]
    given = shelf[shelf.ids[0]].body
    first, second = shelf.add_many(2)
    third = shelf.add(given, prompt="by hand")

    assert shelf.ids[:3] == [third, second, first]
    row = (await api.page("?size=1")).json["data"][0]
    assert (row["prompt"], row["imageSize"]) == ("by hand", len(given))
    assert (await api.content(third)).body == given


async def test_a_change_moves_updated_at_unless_told_not_to(sim: Simulator, image: str) -> None:
    """A change shows in `updatedAt`, twice within one second as well; a silent one does not."""
    shelf = sim.workspaces[BRAND]
    seen = [shelf[image].row["updatedAt"]]
    for _ in range(2):
        shelf.change(image, prompt="new words")
        seen.append(shelf[image].row["updatedAt"])
    shelf.change(image, touch=False, prompt="newer words")

    assert len(set(seen)) == 3
    assert (shelf[image].row["updatedAt"], shelf[image].row["prompt"]) == (seen[-1], "newer words")


async def test_other_bytes_with_and_without_a_word(sim: Simulator, image: str) -> None:
    """Repainting changes bytes and row together; replacing changes the bytes alone."""
    shelf = sim.workspaces[BRAND]
    before, row = shelf[image].body, shelf[image].row
    shelf.repaint(image)
    painted = shelf[image]
    assert painted.body != before
    assert painted.row["imageSize"] == len(painted.body)
    assert painted.row["updatedAt"] != row["updatedAt"]

    row = painted.row
    shelf.replace_bytes(image, b"other")
    assert (shelf[image].body, shelf[image].row) == (b"other", row)
    shelf.repaint(image, b"given", touch=False)
    assert (shelf[image].body, shelf[image].row) == (b"given", {**row, "imageSize": 5})


async def test_a_deleted_image_can_come_back(api: Api, sim: Simulator, image: str) -> None:
    """Deleting and restoring leaves the image as it was, where it was."""
    shelf = sim.workspaces[BRAND]
    order, row = shelf.ids, shelf[image].row
    shelf.delete(image)
    assert (await api.content(image)).status == 404
    shelf.restore(image)

    assert (shelf.ids, shelf[image].row) == (order, row)


@pytest.mark.parametrize("junk", [None, 7, "text", [], {}, {"id": None}, {"id": "x", "_links": None}])
async def test_any_row_can_be_listed(api: Api, sim: Simulator, junk: Any) -> None:
    """A row may be any JSON, so that clients can be tried with it; it is sent as it is."""
    sim.workspaces[BRAND].put("odd", junk)
    rows = (await api.page()).json["data"]
    sent = rows[0] if junk != {"id": None} else {"id": rows[0]["id"]}

    assert sent == junk
    assert (await api.page("?modelId=none")).json["data"] == []


async def test_a_week_of_changes_is_counted(sim: Simulator) -> None:
    """The demo's changes are what their account says, no image twice."""
    shelf = sim.workspaces[BRAND]
    before = {id_: (shelf[id_].row, shelf[id_].body) for id_ in shelf}
    account = mutate(shelf)

    kept = set(before) & set(shelf)
    assert len(set(shelf) - set(before)) == account.added == 3
    assert len(set(before) - kept) == account.deleted == 2
    assert sum(shelf[id_].body != before[id_][1] for id_ in kept) == account.repainted == 2
    assert sum(shelf[id_].row != before[id_][0] for id_ in kept) == account.repainted + account.renamed == 3


async def test_the_demo_starts_in_the_past_year() -> None:
    """By default the images end at the start of the present day, so that a restart shows the same ones."""
    clock = Clock(UNTIL.timestamp() + 7200)
    async with Simulator.start(Options(images=20), clock=clock) as one:
        rows = [one.workspaces[BRAND][id_].row for id_ in one.workspaces[BRAND]]
    clock.time += 3600
    async with Simulator.start(Options(images=20), clock=clock) as two:
        assert [two.workspaces[BRAND][id_].row for id_ in two.workspaces[BRAND]] == rows
    assert all("2025-11-2" < row["createdAt"] < "2026-11-22" for row in rows)
