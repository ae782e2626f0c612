"""`repair`: put back what can be proven, keep the evidence, and say for ever what is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support import back_up, rows
from verifying import verified

from syncer import app
from syncer.errors import SafetyStop
from syncer.operations.rebuild import Rebuilt, rebuild
from syncer.operations.repair import Mended, Planned, Repair, Unmended, repair
from syncer.operations.verification import Options, Verification
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def repaired(settings: Settings) -> tuple[Repair, list[Planned | Mended | Unmended]]:
    """Repair an archive in this process."""
    result, told = Repair(), []
    async with app.opened(settings, {}, "test") as rooms:
        await repair(rooms, Options(), lambda _: None, told.append, Verification(), result)
    return result, told


@pytest.fixture
async def held(settings: Settings) -> Path:
    """An archive after one backup."""
    await back_up(settings)
    return settings.archive.path


async def test_what_the_service_still_has_is_put_back(held: Path, settings: Settings):
    """Damaged, cut and missing pictures are as they were; the damaged bytes lie aside; the plan is told first."""
    damaged, cut, missing = rows(held, "images")[:3]
    whole = {row["path"]: (held / row["path"]).read_bytes() for row in (damaged, cut, missing)}
    (held / damaged["path"]).write_bytes(b"x" * damaged["bytes"])
    (held / cut["path"]).write_bytes(whole[cut["path"]][:100])
    (held / missing["path"]).unlink()

    result, told = await repaired(settings)

    assert (result.mended, result.lost, result.unmended, result.damage) == (3, 0, 0, 0)
    assert [type(event) for event in told] == [Planned] * 3 + [Mended] * 3
    for path, data in whole.items():
        assert (held / path).read_bytes() == data
    evidence = {event.path: event.evidence for event in told if isinstance(event, Mended)}
    assert (held / str(evidence[damaged["path"]])).read_bytes() == b"x" * damaged["bytes"]
    assert (held / str(evidence[cut["path"]])).read_bytes() == whole[cut["path"]][:100]
    assert evidence[missing["path"]] is None
    assert (await verified(held)).told == []


async def test_sidecars_are_written_again_from_their_rows(held: Path, settings: Settings):
    """An altered and a missing one; what the altered one said is kept aside."""
    altered, missing = (row["sidecar"] for row in rows(held, "images")[:2])
    whole = {name: (held / name).read_bytes() for name in (altered, missing)}
    (held / altered).write_bytes(whole[altered].replace(b'"prompt"', b'"promqt"'))
    (held / missing).unlink()

    result, _ = await repaired(settings)

    assert result.mended == 2
    assert {name: (held / name).read_bytes() for name in whole} == whole
    assert (await verified(held)).told == []


async def test_a_sidecar_is_not_made_from_a_row_that_is_wrong_too(held: Path, settings: Settings):
    """Only bytes whose hash the journal tells are written."""
    row = rows(held, "images")[0]
    (held / row["sidecar"]).write_bytes(b"{}")
    from sqlite_utils import Database

    db = Database(held / "manifest.db")
    with db.conn:
        db.conn.execute("update revisions set document = '{}' where image_id = ?", [row["image_id"]])
    db.close()
    result, _ = await repaired(settings)
    assert (result.mended, result.lost, result.unmended) == (0, 0, 1)
    assert (held / row["sidecar"]).read_bytes() == b"{}"


async def test_what_the_service_has_no_more_is_lost_for_ever(
    held: Path, settings: Settings, sim: Simulator, shelf: str
):
    """Deleted there, or of other bytes now: the damaged file stays, the loss is remembered, also by a rebuild."""
    deleted, repainted = rows(held, "images")[:2]
    sim.workspaces[shelf].delete(deleted["image_id"])
    sim.workspaces[shelf].repaint(repainted["image_id"], touch=False)
    for row in (deleted, repainted):
        (held / row["path"]).write_bytes(b"damaged")

    result, told = await repaired(settings)

    assert (result.mended, result.lost, result.damage) == (0, 2, 2)
    assert {event.path for event in told if isinstance(event, Unmended) and event.lost} == {
        deleted["path"],
        repainted["path"],
    }
    assert (held / deleted["path"]).read_bytes() == b"damaged"
    losses = rows(held, "losses")
    assert {row["path"] for row in losses} == {deleted["path"], repainted["path"]}
    assert {harm for harm, _ in (await verified(held)).told} == {"corrupt"}

    async with app.held(settings, "rebuild") as (archive, journal, run):
        await rebuild(archive, journal, run, lambda _: None, Rebuilt())
    assert rows(held, "losses") == losses


async def test_a_loss_that_comes_back_is_no_loss_any_more(held: Path, settings: Settings, sim: Simulator, shelf: str):
    """When the service has the bytes again, they are put back and the loss is forgotten."""
    row = rows(held, "images")[0]
    sim.workspaces[shelf].delete(row["image_id"])
    (held / row["path"]).unlink()
    assert (await repaired(settings))[0].lost == 1
    sim.workspaces[shelf].restore(row["image_id"])
    assert (await repaired(settings))[0].mended == 1
    assert rows(held, "losses") == []
    assert (await verified(held)).told == []


async def test_a_loss_whose_file_is_whole_again_is_told_as_none(
    held: Path, settings: Settings, sim: Simulator, shelf: str
):
    """A repair was killed when it had put the file back and not told it yet; or a person put it back."""
    row = rows(held, "images")[0]
    whole = (held / row["path"]).read_bytes()
    (held / row["path"]).unlink()
    sim.workspaces[shelf].delete(row["image_id"])
    await repaired(settings)
    assert rows(held, "losses")
    (held / row["path"]).write_bytes(whole)

    await repaired(settings)

    assert rows(held, "losses") == []
    async with app.held(settings, "test") as (archive, journal, run):
        await rebuild(archive, journal, run, lambda _: None, Rebuilt())
    assert rows(held, "losses") == []


async def test_a_service_that_is_not_well_loses_nothing(held: Path, settings: Settings, sim: Simulator):
    """What could not be fetched this time is left as it is and is not called lost."""
    row = rows(held, "images")[0]
    (held / row["path"]).write_bytes(b"damaged")
    sim.faults.on("content", faults.status(403))
    result, _ = await repaired(settings)
    assert (result.mended, result.lost, result.unmended) == (0, 0, 1)
    assert rows(held, "losses") == []
    assert (held / row["path"]).read_bytes() == b"damaged"


async def test_strays_and_the_journal_are_left_alone(held: Path, settings: Settings):
    """They are told, and nothing is planned for them."""
    (held / "stray.txt").write_bytes(b"x")
    result, told = await repaired(settings)
    assert told == []
    assert result.damage == 1
    assert (held / "stray.txt").exists()


async def test_without_a_manifest_it_says_rebuild(held: Path, settings: Settings):
    """A manifest that is missing is made anew first."""
    (held / "manifest.db").unlink()
    with pytest.raises(SafetyStop) as raised:
        await repaired(settings)
    assert "syncer rebuild" in raised.value.hint


async def test_stopped_halfway_it_goes_on(held: Path, settings: Settings, sim: Simulator):
    """A repair that is stopped keeps what it has put back; the next one does the rest."""
    chosen = rows(held, "images")[:3]
    for row in chosen:
        (held / row["path"]).write_bytes(b"damaged")
    reached = asyncio.Event()

    async def hang(request, proceed):
        reached.set()
        await asyncio.Event().wait()

    last = max(chosen, key=lambda row: row["path"])
    sim.faults.on("content", hang, image=last["image_id"])
    task = asyncio.create_task(repaired(settings))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await verified(held)).told == [("corrupt", last["path"])]
    sim.faults.clear()
    assert (await repaired(settings))[0].mended == 1
    assert (await verified(held)).told == []


def damaged(held: Path) -> dict[str, Any]:
    """Spoil a picture; returns its row."""
    row = rows(held, "images")[0]
    (held / row["path"]).write_bytes(b"damaged")
    return row


async def test_bytes_that_are_not_served_now_are_not_lost(held: Path, settings: Settings, sim: Simulator):
    """404 for the content of an image that the service still knows: not now, and the next repair puts it back."""
    row = damaged(held)
    sim.faults.on("content", faults.status(404), image=row["image_id"])
    result, _ = await repaired(settings)
    assert (result.mended, result.lost, result.unmended) == (0, 0, 1)
    assert rows(held, "losses") == []
    sim.faults.clear()
    assert (await repaired(settings))[0].mended == 1


async def test_one_no_is_not_believed(held: Path, settings: Settings, sim: Simulator):
    """An image is lost only if the service says twice that it does not know it."""
    row = damaged(held)
    sim.faults.on("image", faults.status(404), image=row["image_id"], times=1)
    assert (await repaired(settings))[0].mended == 1
    assert rows(held, "losses") == []


async def test_a_page_that_is_no_picture_is_no_other_version(held: Path, settings: Settings, sim: Simulator):
    """A gateway that answers 200 with HTML says nothing about the picture, however often it does."""
    row = damaged(held)

    page = faults.html(code=200)
    sim.faults.on("content", page, image=row["image_id"])
    sim.faults.on("store", page, image=row["image_id"])
    result, _ = await repaired(settings)
    assert (result.mended, result.lost, result.unmended) == (0, 0, 1)
    assert rows(held, "losses") == []
    assert not [path for path in (held / ".staging").iterdir() if path.suffix == ".part"]
    sim.faults.clear()
    assert (await repaired(settings))[0].mended == 1
