"""Proof: an upload counts as done only when the service serves it back, or the same picture in other bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from uploading import parcel, picture, row, run, sha256

from syncer.operations.parcels import Kind
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.server import Simulator


@pytest.mark.parametrize("recode", [uploads.as_jpeg, uploads.as_png])
async def test_a_service_that_encodes_anew_is_recognised(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, recode: Callable[[bytes], bytes]
):
    """Other bytes and the same picture: settled as such, and never sent again."""
    sim.workspaces[shelf].recode = recode

    first = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))
    second = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert (first.only.kind, second.only.kind) == (Kind.UPLOADED, Kind.ALREADY)
    kept = row(settings)
    assert (kept["state"], kept["served_sha256"]) == ("reencoded", sha256(recode(picture("a"))))
    assert len(sim.uploads) == 1


@pytest.mark.parametrize("other", [picture("b"), picture("a", size=(24, 16))])
async def test_another_picture_is_no_proof(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, other: bytes
):
    """It is refused and names the image; a later drop proves again instead of sending again."""
    sim.workspaces[shelf].recode = lambda content: other
    first = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))
    image = sim.uploads[0].image

    assert first.only.kind is Kind.REFUSED
    assert image in first.only.reason
    sim.workspaces[shelf].replace_bytes(image, picture("a"))
    second = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert second.only.kind is Kind.ALREADY
    assert (row(settings)["state"], len(sim.uploads)) == ("done", 1)


async def test_another_picture_that_was_deleted_is_sent_anew(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """Whoever deleted it and drops the file again wants it there."""
    sim.workspaces[shelf].recode = lambda content: picture("b")
    await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))
    sim.workspaces[shelf].recode = None
    sim.workspaces[shelf].delete(sim.uploads[0].image)

    ran = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert ran.only.kind is Kind.UPLOADED
    assert len(sim.uploads) == 2


async def test_an_image_that_is_known_a_moment_later_is_waited_for(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """A 404 right after the upload says nothing yet."""
    sim.faults.on("image", uploads.not_yet(2), when=sim.is_uploaded)

    ran = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert ran.only.kind is Kind.UPLOADED


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("content", faults.status(503)),
        ("content", faults.status(404)),
        ("content", faults.cut()),
        ("content", faults.html(200)),
        ("image", faults.status(404)),
        ("image", faults.status(503)),
    ],
)
async def test_what_cannot_be_proven_now_is_proven_later(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, operation: str, action: faults.Action
):
    """It is pending until then, and not sent again."""
    sim.faults.on(operation, action)
    given = parcel(tmp_path, "a.png", picture("a"), shelf)

    first = await run(settings, given)

    assert (first.only.kind, row(settings)["state"], first.result.exit_code) == (Kind.PENDING, "uploaded", 3)
    sim.faults.clear()
    assert (await run(settings, given)).only.kind is Kind.ALREADY
    assert (row(settings)["state"], len(sim.uploads)) == ("done", 1)


async def test_an_open_upload_is_proven_without_its_file(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """The same bytes are proof by their hash alone."""
    sim.faults.on("content", faults.status(503))
    await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))
    sim.faults.clear()

    ran = await run(settings, workspaces=[shelf])

    assert row(settings)["state"] == "done"
    assert (ran.result.opened, ran.result.exit_code) == ([], 0)


async def test_other_bytes_without_the_file_wait_for_it(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Nobody can tell then, and it is said; the file, dropped again, can."""
    sim.workspaces[shelf].recode = uploads.as_jpeg
    sim.faults.on("content", faults.status(503))
    given = parcel(tmp_path, "a.png", picture("a"), shelf)
    await run(settings, given)
    sim.faults.clear()

    without = await run(settings, workspaces=[shelf])
    (opened_,) = without.result.opened
    ran = await run(settings, given)

    assert opened_.state == "undecided"
    assert (ran.only.kind, row(settings)["state"], len(sim.uploads)) == (Kind.ALREADY, "reencoded", 1)


@pytest.mark.parametrize("dropped", [True, False])
async def test_what_was_deleted_before_it_was_proven_is_refused(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, dropped: bool
):
    """Somebody did that on purpose; a later drop tries anew."""
    sim.faults.on("content", faults.status(503))
    given = parcel(tmp_path, "a.png", picture("a"), shelf)
    await run(settings, given)
    sim.faults.clear()
    sim.workspaces[shelf].delete(sim.uploads[0].image)

    ran = await run(settings, *([given] if dropped else []), workspaces=[shelf], later=timedelta(minutes=11))

    assert ran.kinds == ({"refused": 1} if dropped else {})
    assert (row(settings)["state"], row(settings)["image_id"]) == ("refused", None)
    assert (await run(settings, given)).only.kind is Kind.UPLOADED


@pytest.mark.parametrize("dropped", [True, False])
async def test_an_image_that_was_made_a_moment_ago_is_not_taken_for_deleted(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, dropped: bool
):
    """By an earlier run: the service may be going to show it, and sent again it would be there twice."""
    sim.faults.on("content", faults.status(503))
    given = parcel(tmp_path, "a.png", picture("a"), shelf)
    await run(settings, given)
    sim.faults.clear()
    sim.faults.on("image", faults.status(404))

    ran = await run(settings, *([given] if dropped else []), workspaces=[shelf])

    assert (ran.kinds, row(settings)["state"]) == ({"pending": 1} if dropped else {}, "uploaded")
    sim.faults.clear()
    assert (await run(settings, given)).only.kind is Kind.ALREADY


async def test_a_workspace_out_of_sight_is_no_deletion(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Its images are not known then either, and nothing is concluded from that."""
    sim.faults.on("content", faults.status(503))
    given = parcel(tmp_path, "a.png", picture("a"), shelf)
    await run(settings, given)
    sim.faults.clear()
    sim.faults.on("*", faults.status(404), workspace=shelf)

    ran = await run(settings, given)

    assert (ran.only.kind, row(settings)["state"]) == (Kind.PENDING, "uploaded")
