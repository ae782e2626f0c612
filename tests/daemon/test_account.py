"""What the daemon knows of its archive: as the manifest has it, and never less because it cannot be read just now."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import back_up, configure, settings_of

from syncer.daemon.account import Account
from syncer.daemon.schedule import Job, Work, longest_gap
from syncer.daemon.snapshot import Remembered, WorkspaceState
from syncer.operations.verification import Part
from syncer.settings import ArchiveSettings, Settings, WorkspaceSettings
from syncer.simulator.server import Simulator

NIGHT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC).timestamp()


def account(*workspaces: WorkspaceSettings, known: dict[str, Any] | None = None) -> Account:
    made = Account(Settings(ArchiveSettings(Path("/nowhere")), workspaces), started=0.0)
    made.known = Remembered({key: WorkspaceState(key, **facts) for key, facts in (known or {}).items()})
    return made


STAR = WorkspaceSettings("*")
BRAND = WorkspaceSettings("5f0c", "brand")


# --- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["missing", "empty", "garbage", "folder", "tables", "types", "no archive"])
async def test_a_manifest_that_cannot_be_read_leaves_what_was_known(
    harm: str, sim: Simulator, shelf: str, tmp_path: Path
):
    """Why it cannot be read is for the next run to tell; the daemon must not end by looking."""
    settings = settings_of(configure(sim, tmp_path, [shelf]))
    await back_up(settings)
    made = Account(settings, started=0.0)
    await made.read()
    known = made.known
    assert known.workspaces[shelf].live == len(sim.workspaces[shelf])

    manifest = settings.archive.path / "manifest.db"
    match harm:
        case "missing":
            manifest.unlink()
        case "empty":
            manifest.write_bytes(b"")
        case "garbage":
            manifest.write_bytes(os.urandom(9000))
        case "folder":
            manifest.unlink()
            manifest.mkdir()
        case "tables":
            with closing(sqlite3.connect(manifest)) as db, db:
                db.execute("drop table runs")
        case "types":
            with closing(sqlite3.connect(manifest)) as db, db:
                db.execute("update runs set ended = 'yesterday', seconds = null, requests = null")
        case "no archive":
            shutil.rmtree(settings.archive.path)
    await made.read()

    if harm == "types":  # which can be read, and is long past
        assert made.known.workspaces[shelf].last_success == 0.0
    else:
        assert made.known == known


# --- what was done last ---------------------------------------------------------------------------------


def test_when_a_job_was_last_done_well():
    """A full pass by full ones alone, a quick one by either; one that never was is left out."""
    known = {"5f0c": {"last_full": NIGHT, "last_success": NIGHT + 60}, "other": {"last_success": NIGHT}}
    jobs = [Job(work, workspace) for work in (Work.FULL, Work.QUICK) for workspace in ("5f0c", "other", "new")]
    last = account(BRAND, known=known).last([*jobs, Job(Work.VERIFY)])

    assert {job: time.timestamp() for job, time in last.items()} == {
        Job(Work.FULL, "5f0c"): NIGHT,
        Job(Work.QUICK, "5f0c"): NIGHT + 60,
        Job(Work.QUICK, "other"): NIGHT,
    }


def test_all_others_are_as_old_as_the_oldest_of_them():
    """And one of them that never was copied makes `*` as good as never done."""
    known = {"5f0c": {"last_full": 7.0}, "a": {"last_full": NIGHT}, "b": {"last_full": NIGHT - 60}}
    job = Job(Work.FULL, "*")
    assert account(STAR, BRAND, known=known).last([job])[job].timestamp() == NIGHT - 60
    assert account(STAR, BRAND, known=known | {"c": {}}).last([job]) == {}
    assert account(STAR, BRAND, known={"5f0c": {"last_full": 7.0}}).last([job]) == {}


def test_the_next_part_follows_the_last_and_begins_again():
    """Where none was verified yet, or not in so many parts, it begins with the first."""
    made = account(BRAND)
    assert made.next_part() == Part(1, 30)
    for last, following in ((1, 2), (29, 30), (30, 1)):
        made._part = last
        assert made.next_part() == Part(following, 30)


# --- who is meant ---------------------------------------------------------------------------------------


def test_a_workspace_is_meant_by_its_id_or_its_name():
    """Of the configuration; with `*`, of all that are known."""
    known = {"a": {"name": "Autumn"}, "5f0c": {"name": "Brand"}}
    one, all_ = account(BRAND, known=known), account(STAR, BRAND, known=known)
    meant = ("5f0c", "brand", "a", "Autumn", "*", "nobody", "")

    assert [one.resolve(name) for name in meant] == ["5f0c", "5f0c", None, None, None, None, None]
    assert [all_.resolve(name) for name in meant] == ["5f0c", "5f0c", "a", "a", "*", None, None]


# --- what is expected -----------------------------------------------------------------------------------


def test_a_workspace_is_stale_after_twice_its_longest_wait():
    """Of its most frequent work; one that nothing is scheduled for never is."""
    jobs = {Job(Work.FULL, "5f0c"): "0 3 * * *", Job(Work.QUICK, "5f0c"): "15m"}
    time = datetime(2026, 11, 22, 12, 15, tzinfo=UTC)
    expected = account(BRAND, STAR).expected(jobs, {Job(Work.QUICK, "5f0c"): time})

    assert expected["5f0c"].stale_after == 2 * longest_gap("15m") == 1800
    assert expected["5f0c"].next_run == {"quick": time.timestamp()}
    assert expected["*"].stale_after is None
