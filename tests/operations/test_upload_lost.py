"""An answer that was lost: looked for before anything is sent again, and never decided on a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from uploading import Waiting, carried_out, opened, parcel, picture, remote, row, run, sha256

from syncer.model import Upload, UploadState
from syncer.operations.parcels import Kind, Uploads
from syncer.operations.rooms import utc_now
from syncer.operations.upload import upload
from syncer.operations.upload_one import ACCEPTED
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.server import Simulator

A = picture("a")
LOST = [faults.unanswered(), uploads.carried_out_but(faults.status(502)), uploads.carried_out_but(faults.status(504))]
NEVER = [faults.reset(), faults.status(502), faults.status(504), uploads.broken_off()]


@pytest.mark.parametrize("action", [*LOST, faults.cut(), faults.cut(0)])
async def test_what_was_carried_out_is_found(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, action: faults.Action
):
    """The same bytes among the newest images are proof: nothing is sent again, nobody waits."""
    sim.faults.on("upload", action, times=1)
    waiting = Waiting()

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert (ran.only.kind, ran.result.exit_code) == (Kind.UPLOADED, 0)
    assert (sim.counts["upload"], len(sim.uploads), waiting.slept) == (1, 1, 0)
    assert (row(settings)["state"], row(settings)["image_id"]) == ("done", sim.uploads[0].image)


@pytest.mark.parametrize("action", NEVER)
async def test_what_never_arrived_is_sent_again(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, action: faults.Action
):
    """After a look that came late enough to believe it."""
    sim.faults.on("upload", action, times=1)
    waiting = Waiting()

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert ran.only.kind is Kind.UPLOADED
    assert (sim.counts["upload"], len(sim.uploads)) == (2, 1)
    assert waiting.slept >= 10


async def test_it_is_sent_so_often_and_no_oftener(
    sim: Simulator, configured: Callable[..., Settings], shelf: str, tmp_path: Path
):
    """The next run goes on."""
    settings = configured(limits={"retries": 2})
    sim.faults.on("upload", faults.status(502))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert (ran.only.kind, row(settings)["state"], sim.counts["upload"]) == (Kind.PENDING, "unsent", 3)


@pytest.mark.parametrize(("action", "seconds"), [(None, 8), (504, 50)])
async def test_a_service_that_is_still_at_work_is_waited_for(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, action: int | None, seconds: float
):
    """Carried out when nobody waits for the answer any more; longer where the waiting itself was given up."""
    waiting, at_work = Waiting(), asyncio.Event()
    sim.faults.on("upload", uploads.later(at_work.wait, code=action), times=1)
    waiting.after(seconds, at_work.set)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert ran.only.kind is Kind.UPLOADED
    assert (sim.counts["upload"], len(sim.uploads)) == (1, 1)


async def test_an_answer_that_does_not_come_in_time_is_waited_for(
    sim: Simulator, configured: Callable[..., Settings], shelf: str, tmp_path: Path
):
    """The service may take as long again as it took before."""
    settings = configured(limits={"stall_seconds": 0.3})
    waiting, late = Waiting(), asyncio.Event()

    async def slow(request: web.Request) -> None:
        await request.read()
        await late.wait()

    sim.faults.on("upload", faults.before(slow), times=1)
    waiting.after(30, late.set)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert ran.only.kind is Kind.UPLOADED
    assert (sim.counts["upload"], len(sim.uploads)) == (1, 1)


async def test_what_was_on_its_way_when_we_ended_is_waited_for(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """The service may still be at work on it, however soon we are back."""
    at, waiting = utc_now().isoformat(), Waiting()
    async with opened(settings) as rooms:
        intent = Upload(shelf, sha256(A), UploadState.INTENDED, "a.png", len(A), at, at)
        await rooms.manifest.record([intent])
    waiting.after(40, lambda: sim.workspaces[shelf].add(A))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert (ran.only.kind, sim.counts["upload"]) == (Kind.ALREADY, 0)


async def test_what_the_service_took_is_waited_for(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """It may have said yes before it had done anything."""
    waiting = Waiting()
    sim.faults.on("upload", faults.body(b"", "application/json", code=202))
    waiting.after(40, lambda: sim.workspaces[shelf].add(A))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert (ran.only.kind, sim.counts["upload"]) == (Kind.UPLOADED, 1)


async def test_a_listing_that_lags_is_waited_for(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """What is not listed yet is not absent."""
    sim.workspaces[shelf].lagging = True
    sim.faults.on("upload", faults.unanswered(), times=1)
    waiting = Waiting()
    waiting.after(9, sim.workspaces[shelf].catch_up)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert (ran.only.kind, sim.counts["upload"], len(sim.uploads)) == (Kind.UPLOADED, 1, 1)


async def test_many_are_looked_for_together(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Those that arrived are found, the others sent once more; the listing is not read for each."""
    sim.faults.on("upload", faults.unanswered(), times=3)
    sim.faults.on("upload", faults.status(502), times=3)

    ran = await run(settings, *(parcel(tmp_path, f"{n}.png", picture(n), shelf) for n in range(8)))

    assert ran.kinds == {"uploaded": 8}
    assert carried_out(sim) == {sha256(picture(n)): 1 for n in range(8)}
    assert sim.counts["listing"] <= 8


async def test_older_images_are_not_looked_at(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """The listing is read down to the intent, and no picture from before it is fetched."""
    for _ in range(450):
        sim.workspaces[shelf].add()
    for id_ in sim.workspaces[shelf].ids:
        sim.workspaces[shelf][id_].row["createdAt"] = "2026-01-01T00:00:00Z"
    sim.faults.on("upload", faults.unanswered(), times=1)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert ran.only.kind is Kind.UPLOADED
    assert (sim.counts["listing"], sim.counts["content"]) == (2, 1)


@pytest.mark.parametrize(("action", "sent"), [(faults.status(502), 3), (faults.unanswered(), 2)])
async def test_an_image_that_is_known_is_not_taken_for_another(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, action: faults.Action, sent: int
):
    """What is sent once more is another image, and the one from before, of the same bytes, is not it."""
    given = parcel(tmp_path, "a.png", A, shelf)
    await run(settings, given)
    sim.faults.on("upload", action, times=1)

    ran = await run(settings, given, again=True)

    assert (ran.only.kind, sim.counts["upload"], len(sim.uploads)) == (Kind.UPLOADED, sent, 2)
    assert row(settings)["image_id"] == sim.uploads[1].image


@pytest.mark.parametrize("ahead", [timedelta(days=300), timedelta(minutes=10)])
async def test_a_clock_that_was_ahead_hides_nothing(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, ahead: timedelta
):
    """The intent may be dated after the image that came of it."""
    sim.faults.on("upload", faults.unanswered(), times=1)
    listing = sim.faults.on("listing", faults.status(503))
    given = parcel(tmp_path, "a.png", A, shelf)
    async with opened(settings) as rooms:
        await upload(replace(rooms, now=lambda: utc_now() + ahead), [given], lambda _: None, Uploads())
    listing.left = 0

    ran = await run(settings, given)

    assert (ran.only.kind, len(sim.uploads)) == (Kind.ALREADY, 1)


# --- the service said yes -----------------------------------------------------------------------------


async def test_what_the_service_took_and_does_not_show_is_for_a_person(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """It is not sent again, neither now nor later, and the two commands are told."""
    sim.faults.on("upload", faults.body(b"", "application/json", code=201))
    given = parcel(tmp_path, "a.png", A, shelf)

    first = await run(settings, given)
    second = await run(settings, given)

    for ran in (first, second):
        assert ran.result.opened == []  # it is among what was given
        assert (ran.only.kind, ran.result.exit_code) == (Kind.UNDECIDED, 3)
        assert f"--arrived IMAGE {sha256(A)} --workspace {shelf}" in ran.only.hint
        assert f"--lost {sha256(A)} --workspace {shelf}" in ran.only.hint
    assert sim.counts["upload"] == 1


async def test_what_was_taken_is_remembered_beyond_the_run(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """A run that cannot look leaves it to the next, which does not take it for absent."""
    sim.faults.on("upload", faults.body(b"{", "application/json", code=201))
    sim.faults.on("listing", faults.status(503))
    given = parcel(tmp_path, "a.png", A, shelf)
    first = await run(settings, given)
    assert (first.only.kind, row(settings)["state"], row(settings)["reason"]) == (Kind.PENDING, "unknown", ACCEPTED)
    sim.faults.clear()

    ran = await run(settings, given)

    assert (ran.only.kind, sim.counts["upload"]) == (Kind.UNDECIDED, 1)


# --- what cannot be told ------------------------------------------------------------------------------


async def test_a_listing_that_fails_proves_nothing(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """It stays unknown and is not sent, however often it is dropped."""
    sim.faults.on("upload", faults.unanswered(), times=1)
    sim.faults.on("listing", faults.status(503))
    given = parcel(tmp_path, "a.png", A, shelf)

    ran = await run(settings, given)

    assert (ran.only.kind, row(settings)["state"], ran.result.exit_code) == (Kind.PENDING, "unknown", 3)
    sim.faults.clear()
    assert (await run(settings, given)).only.kind is Kind.ALREADY
    assert len(sim.uploads) == 1


async def test_a_candidate_that_cannot_be_read_is_waited_for(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """It may be the one."""
    sim.faults.on("upload", faults.unanswered(), times=1)
    sim.faults.on("content", faults.status(503))
    given = parcel(tmp_path, "a.png", A, shelf)

    ran = await run(settings, given)

    assert (ran.only.kind, row(settings)["state"], sim.counts["upload"]) == (Kind.PENDING, "unknown", 1)
    sim.faults.clear()
    assert (await run(settings, given)).only.kind is Kind.ALREADY


@pytest.mark.parametrize("fields", [("createdAt",), ("imageSize",), ("createdAt", "imageSize", "imageWidth")])
async def test_a_candidate_may_state_little(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, fields: tuple[str, ...]
):
    """One without a time or a size is looked at as well."""
    sim.faults.on("upload", faults.unanswered(), times=1)
    sim.faults.on("listing", faults.without(*fields))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert (ran.only.kind, len(sim.uploads)) == (Kind.UPLOADED, 1)


async def test_a_row_that_cannot_be_read_may_be_the_one(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Absence is not concluded from a listing with a hole."""
    sim.faults.on("upload", faults.status(502), times=1)
    sim.faults.on("listing", faults.edit(lambda page: {**page, "data": [*page["data"][:-1], {"no": "id"}]}))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert (ran.only.kind, sim.counts["upload"]) == (Kind.UNDECIDED, 1)


# --- in other bytes -----------------------------------------------------------------------------------


async def test_the_same_picture_in_other_bytes_is_found(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Where it is the only one, and no other upload's."""
    sim.workspaces[shelf].recode = uploads.as_jpeg
    await run(settings, parcel(tmp_path, "b.png", picture("b"), shelf))
    sim.faults.on("upload", faults.unanswered(), times=1)
    sim.workspaces[shelf].add(picture("c"))

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert (ran.only.kind, ran.only.upload.state, len(sim.uploads)) == (Kind.UPLOADED, "reencoded", 2)


async def test_the_same_picture_is_taken_only_when_the_same_bytes_stay_away(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """Somebody else's copy in other bytes may be listed before ours is."""
    sim.workspaces[shelf].add(uploads.as_jpeg(A))
    sim.workspaces[shelf].lagging = True
    sim.faults.on("upload", faults.unanswered(), times=1)
    waiting = Waiting()
    waiting.after(9, sim.workspaces[shelf].catch_up)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf), sleep=waiting)

    assert (ran.only.kind, ran.only.upload.state) == (Kind.UPLOADED, "done")
    assert ran.only.upload.image_id == sim.uploads[0].image


async def test_two_of_the_same_picture_are_for_a_person(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Both are named; nothing is sent."""
    sim.workspaces[shelf].recode = uploads.as_jpeg
    other = sim.workspaces[shelf].add(uploads.as_png(A))
    sim.faults.on("upload", faults.unanswered(), times=1)

    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))

    assert (ran.only.kind, sim.counts["upload"]) == (Kind.UNDECIDED, 1)
    assert other in ran.only.reason
    assert sim.uploads[0].image in ran.only.reason


# --- without the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "state"), [(faults.unanswered(), "done"), (faults.status(502), "unsent")])
async def test_a_row_without_its_file_is_settled_by_the_hash(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, action: faults.Action, state: str
):
    """Found by its bytes, or over: there is nothing to send."""
    await run(settings, parcel(tmp_path, "b.png", picture("b"), shelf))
    rule = sim.faults.on("upload", action, times=1)
    listing = sim.faults.on("listing", faults.status(503))
    await run(settings, parcel(tmp_path, "a.png", A, shelf))
    listing.left = 0
    assert rule.hits == 1
    for n in range(3):  # the team goes on: other images do not make it undecided, for this service keeps bytes
        sim.workspaces[shelf].add(picture(f"team {n}"))

    ran = await run(settings, workspaces=[shelf])

    assert ran.result.opened == []
    async with opened(settings) as rooms:
        upload = await rooms.manifest.upload(shelf, sha256(A))
    assert upload is not None
    assert upload.state == state


async def test_other_bytes_are_undecided_until_the_file_is_there(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """Then the pictures are compared after all."""
    sim.workspaces[shelf].recode = uploads.as_jpeg
    sim.faults.on("upload", faults.unanswered(), times=1)
    listing = sim.faults.on("listing", faults.status(503))
    given = parcel(tmp_path, "a.png", A, shelf)
    await run(settings, given)
    listing.left = 0

    without = await run(settings, workspaces=[shelf])
    (undecided,) = without.result.opened
    ran = await run(settings, given)

    assert undecided.state == "undecided"
    assert (ran.only.kind, ran.only.upload.state, len(sim.uploads)) == (Kind.ALREADY, "reencoded", 1)


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "kind", "sent"), [(faults.unanswered(), Kind.UNDECIDED, 1), (faults.status(502), Kind.UPLOADED, 2)]
)
async def test_an_address_cannot_be_compared(
    sim: Simulator, settings: Settings, shelf: str, action: faults.Action, kind: Kind, sent: int
):
    """Any image that is new may be of it; where there is none, it never arrived."""
    for stored in sim.workspaces[shelf].listing:
        stored.row["createdAt"] = "2026-01-01T00:00:00Z"
    sim.faults.on("upload", action, times=1)

    ran = await run(settings, remote(sim.signed_url(shelf, sim.workspaces[shelf].ids[3]), shelf))

    assert (ran.only.kind, sim.counts["upload"]) == (kind, sent)
