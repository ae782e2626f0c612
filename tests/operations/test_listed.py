"""What a full pass tells the journal of the listing that it saw: `workspace.read`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from support import back_up, rows
from verifying import events, verified

from syncer.archive import journal
from syncer.archive.journal import Journal
from syncer.errors import ArchiveUnwritable
from syncer.operations import replay
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


def reads(settings: Settings) -> list[dict[str, Any]]:
    return events(settings.archive.path, "workspace.read")


def hashed(ids: list[str]) -> str:
    return hashlib.sha256("".join(f"{image_id}\n" for image_id in sorted(ids)).encode()).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".staging" not in str(path)
    }


async def test_a_full_pass_tells_what_it_saw(sim: Simulator, shelf: str, settings: Settings):
    """How many images were listed and the hash over their sorted ids, in every full run, whether anything changed."""
    images = sim.workspaces[shelf]
    await back_up(settings)
    first = [*images.ids]
    await back_up(settings)
    images.delete(images.ids[3])
    images.add()
    await back_up(settings)

    told = {"workspace": shelf, "mode": "full", "complete": True}
    before = told | {"images": len(first), "ids_sha256": hashed(first)}
    after = told | {"images": len(images.ids), "ids_sha256": hashed(images.ids)}
    assert reads(settings) == [before, before, after]
    assert hashed(first) != hashed(images.ids)


async def test_what_is_owed_was_seen_as_well(sim: Simulator, shelf: str, settings: Settings):
    """An image that cannot be had counts, and so does a row that cannot be read; the pass is told as not complete."""
    images = sim.workspaces[shelf]
    await back_up(settings)
    sim.faults.on("content", faults.status(403), image=images.add())
    images.change(images.ids[5], id=7)

    await back_up(settings)

    (owed,) = [row["image_id"] for row in rows(settings.archive.path, "failures") if row["image_id"] not in images.ids]
    listed = [image_id for image_id in images.ids if image_id != images.ids[5]]
    last = reads(settings)[-1]
    assert (last["images"], last["complete"]) == (len(images.ids), False)
    assert last["ids_sha256"] == hashed([*listed, owed])


async def test_an_image_that_vanished_while_it_was_copied_was_seen(sim: Simulator, shelf: str, settings: Settings):
    """It was listed, and is neither held nor owed: what was listed is told all the same."""
    images = sim.workspaces[shelf]
    brief = images.add()
    sim.faults.on("content", faults.status(404), image=brief)
    listed = [*images.ids]
    deleted = False

    def delete(event: object) -> None:
        nonlocal deleted
        if type(event).__name__ == "FetchDecided" and not deleted:
            deleted = True
            images.delete(brief)

    ran = await back_up(settings, watch=delete)

    assert ran.report.vanished == 1
    assert reads(settings)[-1].items() >= {"images": len(listed), "ids_sha256": hashed(listed)}.items()


async def test_a_listing_that_is_not_proven_whole_is_not_told(sim: Simulator, settings: Settings):
    """Nor is one that could not be had."""
    sim.faults.on("listing", faults.status(500))
    await back_up(settings)

    assert reads(settings) == []


async def test_quick_and_dry_passes_write_nothing(settings: Settings):
    """A quick pass over known ground leaves no file behind, and a dry run never does."""
    await back_up(settings)
    before = files(settings.archive.path / "journal")

    await back_up(settings, quick=True)
    await back_up(settings, dry=True)

    assert files(settings.archive.path / "journal") == before


async def test_the_manifest_has_nothing_to_catch_up_with(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Its seal is the journal's last line, so that the next opening does not read the journal."""
    await back_up(settings)
    await back_up(settings)

    (row,) = rows(settings.archive.path, "archive")
    *_, last = journal.read(settings.archive.path)
    assert isinstance(last, journal.JournalLine)
    assert (last.event, last.seal) == ("workspace.read", row["seal"])

    def unwanted(*_: object) -> None:
        raise AssertionError("the journal was read")

    monkeypatch.setattr(replay.journal, "read", unwanted)
    assert (await back_up(settings, quick=True)).report.complete


async def test_a_manifest_of_before_it_is_not_behind(settings: Settings):
    """Killed between line and seal: no row is missing, so there is nothing to say."""
    await back_up(settings)
    archive = settings.archive.path
    before = (archive / "manifest.db").read_bytes()
    await back_up(settings)
    (archive / "manifest.db").write_bytes(before)

    assert (await verified(archive)).told == []


async def test_a_pass_whose_line_cannot_be_written_is_not_complete(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """A disk that fails at the very last moment ends the run, and nothing calls it complete."""
    await back_up(settings)

    def full(*_: object) -> None:
        raise ArchiveUnwritable("the disk is full")

    reports = []
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "_write", full)
        with pytest.raises(ArchiveUnwritable):
            await back_up(settings, watch=lambda event: reports.append(getattr(event, "report", None)))

    assert reports[-1] is not None
    assert not reports[-1].complete
    last = rows(settings.archive.path, "runs")[-1]
    assert (last["complete"], "full" in last["why"]) == (0, True)
