"""The copy of the manifest that is kept beside it."""

from __future__ import annotations

from support import back_up, rows

from syncer.settings import Settings
from syncer.simulator.server import Simulator


async def test_a_copy_that_was_not_finished_is_made_by_the_next_run(settings: Settings):
    """Also by one that changes nothing: killed while it copied, the last one left half of it."""
    await back_up(settings)
    copy, half = (settings.archive.path / f"manifest.db.backup{suffix}" for suffix in ("", ".new"))
    copy.unlink()
    half.write_bytes(b"half")

    ran = await back_up(settings)

    assert ran.report.unchanged == ran.report.listed
    assert copy.exists()
    assert not half.exists()


async def test_a_run_that_changes_nothing_leaves_the_copy_alone(settings: Settings, sim: Simulator, shelf: str):
    """It would be written anew every quarter of an hour; a run that changes something renews it."""
    await back_up(settings)
    copy = settings.archive.path / "manifest.db.backup"
    before = copy.stat().st_mtime_ns
    await back_up(settings)
    assert copy.stat().st_mtime_ns == before

    sim.workspaces[shelf].add()
    await back_up(settings)
    assert copy.stat().st_mtime_ns > before
    assert len(rows(settings.archive.path, "images")) == len(sim.workspaces[shelf])
