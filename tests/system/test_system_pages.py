"""Pages, rows and links that are not what the documentation shows: no image is lost, and none is called complete."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from outside import Make, Outside

from syncer.simulator import faults
from syncer.simulator.server import Simulator
from syncer.simulator.state import Shelf

# --- pages that lie -----------------------------------------------------------------------------------


async def test_totals_that_are_wrong_lose_no_image(sim: Simulator, make: Make):
    """Rows are what counts: missing, too low, nonsense or negative totals cost no image of any page."""
    wrong: dict[str, dict[str, Any]] = {
        "missing": {"totalElements": None, "totalPages": None},
        "too low": {"totalElements": 3, "totalPages": 1},
        "zero": {"totalElements": 0, "totalPages": 0},
        "nonsense": {"totalElements": "many", "totalPages": [], "currentPage": {}, "size": "x"},
        "negative": {"totalElements": -1, "totalPages": -1, "size": 0},
    }
    for name, claims in wrong.items():
        sim.workspaces[name] = Shelf(name, name, datetime.now(UTC), time.time)
        sim.workspaces[name].add_many(205)
        sim.faults.on("listing", faults.totals(**claims), workspace=name)

    ran = await make(list(wrong)).backup()

    assert ran.code in {0, 3}
    assert {report["name"]: report["new"] for report in ran.summary["workspaces"]} == dict.fromkeys(wrong, 205)


async def test_totals_that_are_too_high_are_never_complete(sim: Simulator, shelf: str, outside: Outside):
    """The service says there is more than it shows: all that is shown is kept, and 3 says that it is not the whole."""
    sim.faults.on("listing", faults.totals(totalElements=10_000, totalPages=50))

    ran = await outside.backup()

    assert ran.code == 3
    assert ran.counts == {"new": len(sim.workspaces[shelf])}


@pytest.mark.slow
async def test_pages_that_never_end_are_left(sim: Simulator, outside: Outside):
    """A service that invents new rows for ever does not keep us for ever, and is not called complete."""
    sim.faults.on("content", faults.status(404))
    sim.faults.on("image", faults.status(500))
    pages = 0

    def invent(document: Any) -> Any:
        nonlocal pages
        pages += 1
        document["data"] = [
            {**document["data"][0], "id": f"e-{pages}-{n}"} if document["data"] else {"id": f"e-{pages}-{n}"}
            for n in range(2)
        ]
        document["page"] = {"size": 2, "totalElements": 2 * pages + 2, "totalPages": pages + 1, "currentPage": pages}
        return document

    sim.faults.on("listing", faults.edit(invent))

    ran = await outside.backup()

    assert ran.code in {3, 8}
    assert ran.summary["seconds"] < 240  # some ten on a machine at rest


async def test_the_same_page_for_ever_is_noticed(sim: Simulator, shelf: str, outside: Outside):
    """The page number is ignored by the service: its rows are kept once, and the listing is not called whole."""
    sim.workspaces[shelf].add_many(200)
    sim.faults.on("listing", faults.same())

    ran = await outside.backup()

    assert ran.code == 3
    assert ran.counts == {"new": 200}
    assert sim.counts["listing"] < 60


async def test_an_empty_page_in_the_middle_is_no_end(sim: Simulator, shelf: str, outside: Outside):
    """Page 1 has no rows and honest totals: nothing below it may be missed, or it is not complete."""
    sim.workspaces[shelf].add_many(200)
    sim.faults.on("listing", faults.empty(), page=1, times=1)

    ran = await outside.backup()

    assert ran.code == 0
    assert len(outside.images()) == len(sim.workspaces[shelf])


async def test_rows_that_are_odd_cost_only_themselves(sim: Simulator, shelf: str, outside: Outside):
    """Null, missing and wrongly typed fields are kept as they are; a row without an id is a failure with a name."""
    ids = sim.workspaces[shelf].ids
    odd: dict[str, dict[str, Any]] = {
        ids[0]: {"createdAt": None, "updatedAt": None},
        ids[1]: {"prompt": {"text": ["a", 1]}, "model": 7, "imageWidth": "wide", "imageSize": -3.5},
        ids[2]: {"createdAt": "yesterday", "generationId": [], "inputImageIds": {"0": None}},
        ids[3]: {"createdByUserId": 10**30, "parameters": {"seed": 2**80, "deep": [[[[None]]]]}},
        ids[4]: {"imageSize": 1, "createdAt": "2024-01-15T23:30:00.123456-05:00"},
        ids[5]: {"prompt": "\u202e\x1b[31m\x00 tab\there", "unknown": "🖼"},
    }
    for image, fields in odd.items():
        sim.workspaces[shelf].change(image, **fields)

    def spoil(document: Any) -> Any:
        if not document["data"]:
            return document
        document["data"] += [None, 5, "row", [], {"id": None}, {"id": ""}, {"updatedAt": "x"}, {"id": "\ud800"}]
        document["data"].append(document["data"][7])  # twice
        for field in ("updatedAt", "createdAt", "workspaceId", "prompt"):
            document["data"][6].pop(field)
        return document

    sim.faults.on("listing", faults.edit(spoil))

    ran = await outside.backup()

    assert ran.code == 3
    assert ran.counts == {"new": len(ids), "failed": 8}
    images = outside.images()
    assert set(images) == set(ids)
    assert "/undated/" in images[ids[0]]["path"]
    assert "/2024/01/16/" in images[ids[4]]["path"]
    for image, fields in odd.items():
        document = json.loads((outside.archive / images[image]["sidecar"]).read_text())["document"]
        assert fields.items() <= document.items()
    for command in ("list", "status", "show"):
        told = await outside(command, *([ids[5]] if command == "show" else []))
        assert told.code == 0
        assert "\x1b" not in told.err


# --- redirects and links ------------------------------------------------------------------------------


async def test_redirects_are_followed_where_they_may_lead(sim: Simulator, shelf: str, outside: Outside):
    """Round the same origin and to the named store; the store never sees the token; a circle and a stranger fail."""
    ids = sim.workspaces[shelf].ids
    stranger: list[dict[str, str]] = []

    async def note(request: web.Request) -> web.Response:
        stranger.append(dict(request.headers))
        return web.Response(body=b"stolen")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", note)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    elsewhere = f"http://127.0.0.1:{runner.addresses[0][1]}"
    sim.faults.on("content", faults.hops(3), image=ids[0])
    sim.faults.on("content", faults.redirect(sim.to_store), image=ids[1])
    sim.faults.on("content", faults.redirect(sim.to_store, code=307), image=ids[2])
    sim.faults.on("content", faults.hops(None), image=ids[3])
    sim.faults.on("content", faults.redirect(lambda request: str(request.rel_url)), image=ids[4])
    sim.faults.on("content", faults.redirect(f"{elsewhere}/steal?X-Goog-Signature=abcdef0123456789"), image=ids[5])
    sim.faults.on("content", faults.redirect("file:///etc/passwd"), image=ids[6])
    sim.faults.on("content", faults.redirect("http://169.254.169.254/latest/meta-data"), image=ids[7])
    sim.faults.on("content", faults.redirect(""), image=ids[8])
    links = {ids[9]: f"{elsewhere}/steal", ids[10]: f"//{elsewhere[7:]}/steal", ids[11]: "ftp://example.com/x"}

    def relink(row: dict[str, Any]) -> str:
        return links.get(row["id"], row["_links"]["content"])

    sim.faults.on("listing", faults.relink(relink))

    ran = await outside.backup()
    await runner.cleanup()

    assert ran.code == 3
    assert set(ran.failures) == set(ids[3:12])
    assert stranger == []
    assert "abcdef0123456789" not in ran.out + ran.err
    assert "content_origins" in ran.failures[ids[5]] or "does not name" in ran.failures[ids[5]]
    at_store = [served for served in sim.requests if served.operation == "store"]
    assert len(at_store) == 2
    assert all("Authorization" not in served.headers for served in at_store)


async def test_an_api_that_redirects_elsewhere_is_not_followed_with_the_token(sim: Simulator, outside: Outside):
    """Listing and token requests stay at their origin: nothing is sent to where they are redirected."""
    sim.faults.on("listing", faults.redirect(f"{sim.store_url}/bucket/a/b"))
    ran = await outside.backup()
    assert ran.code in {3, 8}
    assert sim.counts["store"] == 0

    sim.faults.clear()
    sim.faults.on("token", faults.redirect(f"{sim.store_url}/bucket/a/b", code=307))
    ran = await outside.backup()
    assert ran.code in {7, 8}
    assert sim.counts["store"] == 0
