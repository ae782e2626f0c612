"""`verify` on manifest and copy of which the journal tells more since: nothing is missed, and there is no alarm."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rebuilding import rebuilt, tables
from sqlite_utils import Database
from support import back_up, rows, settings_of
from verifying import events, recorded, verified

from syncer.manifest import migrations
from syncer.operations.backup_pass import BackupPass
from syncer.operations.passes import Pass
from syncer.settings import Settings
from syncer.simulator.server import Simulator


def changed(database: Path) -> None:
    """Change one letter in a value, as a flipped bit would."""
    with closing(sqlite3.connect(database)) as db, db:
        assert db.execute("update images set prompt = prompt || '.' where revision = 1").rowcount


async def flips_are_found(archive: Path, count: int, seed: int) -> None:
    """Flip bits where the copy says something; each is found, and the copy is named."""
    chance = random.Random(seed)
    copy = archive / "manifest.db.backup"
    whole = copy.read_bytes()
    words = [str(row["prompt"]).encode() for row in rows(archive, "images") if row["prompt"]]
    for _ in range(count):
        word = chance.choice(words)
        at, bit = whole.index(word) + chance.randrange(len(word)), chance.randrange(8)
        copy.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        found = await verified(archive)
        assert {path for _, path in found.told} == {copy.name}, f"byte {at}, bit {bit}: {found.told}"
    copy.write_bytes(whole)
    assert (await verified(archive)).told == []


# --- the copy of the manifest -------------------------------------------------------------------------


async def test_a_flip_in_the_copy_is_found_after_verifications(archive: Path):
    """A backup, a verification, another one: the copy is older than both, and still held to its word."""
    await recorded(archive)
    await recorded(archive, quick=True)

    await flips_are_found(archive, 6, seed=3)


async def test_a_flip_in_the_copy_is_found_after_a_backup_without_changes(settings: Settings):
    """Such a run tells what it read, and leaves the copy as it is."""
    await back_up(settings)
    archive = settings.archive.path
    before = (archive / "manifest.db.backup").read_bytes()
    await back_up(settings)
    assert (archive / "manifest.db.backup").read_bytes() == before

    await flips_are_found(archive, 6, seed=4)


async def test_an_older_copy_is_held_to_what_it_could_know(sim: Simulator, shelf: str, settings: Settings):
    """One that was put back from before later changes is compared as of its own line of the journal."""
    await back_up(settings)
    archive = settings.archive.path
    older = shutil.copy(archive / "manifest.db.backup", archive.parent / "older.db")
    sim.workspaces[shelf].repaint(sim.workspaces[shelf].ids[0])
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[1])
    await back_up(settings)
    await recorded(archive)
    shutil.copy(older, archive / "manifest.db.backup")
    assert (await verified(archive)).told == []

    changed(archive / "manifest.db.backup")

    assert {*(await verified(archive)).told} == {("manifest", "manifest.db.backup")}


async def test_a_copy_of_an_archive_that_holds_nothing_yet_is_fine(configured, sim: Simulator):
    """The first run of all may have found no workspace: nothing was told, and the copy knows of nothing."""
    sim.workspaces.clear()
    settings = configured()
    text = (settings.archive.path.parent / "syncer.toml").read_text()
    config = settings.archive.path.parent / "every.toml"
    config.write_text(text.partition("[[workspaces]]")[0] + '[[workspaces]]\nid = "*"')
    await back_up(settings_of(config))
    assert (settings.archive.path / "manifest.db.backup").exists()

    assert (await verified(settings.archive.path)).told == []


async def test_without_the_manifest_the_copy_is_still_compared(archive: Path):
    """On the very day that it is for."""
    await recorded(archive)
    (archive / "manifest.db").unlink()
    assert (await verified(archive)).told == [("missing", "manifest.db")]

    changed(archive / "manifest.db.backup")

    assert {*(await verified(archive)).told} == {("missing", "manifest.db"), ("manifest", "manifest.db.backup")}


async def test_a_copy_is_compared_where_no_line_tells_of_the_archive_itself(archive: Path):
    """After a rebuild without any journal its first line is missing for good: that is nothing against the copy."""
    shutil.rmtree(archive / "journal")
    await rebuilt(archive)
    (archive / "manifest.db").unlink()

    assert (await verified(archive)).told == [("missing", "manifest.db")]


# --- verifications --------------------------------------------------------------------------------------


async def test_a_changed_row_of_a_verification_is_named(archive: Path):
    """Nobody can make a verification look better than it was."""
    await recorded(archive)
    with closing(sqlite3.connect(archive / "manifest.db")) as db, db:
        db.execute("update verifications set damage = 1")

    found = await verified(archive)

    assert found.told == [("manifest", "manifest.db")]
    assert "damage" in found.findings[0].detail


async def test_a_manifest_that_has_not_learnt_of_a_verification_is_not_behind(archive: Path):
    """Nothing that is held is missing from it; the next backup tells it."""
    before = (archive / "manifest.db").read_bytes()
    await recorded(archive)
    (archive / "manifest.db").write_bytes(before)

    assert (await verified(archive)).told == []


# --- archives of before ---------------------------------------------------------------------------------


def aged(database: Path) -> None:
    """Make a manifest as version 2 had it."""
    db = Database(database)
    try:
        db.table("verifications").drop()
        db.table("uploads").drop()
        columns = ("workspace_id", "source", "sha256", "state", "image_id", "intended_at", "settled_at")
        db.table("uploads").create(dict.fromkeys(columns, str), pk=("workspace_id", "sha256"))
        for index in ("images_by_time", "images_of_all_by_time", "images_by_state"):
            db.execute(f"drop index {index}")
        db.table("_sqlite_migrations").delete_where("name > 'm003'")
        db.conn.commit()
        db.execute("pragma user_version = 2")
        db.execute("vacuum")
        db.execute("pragma journal_mode = delete")
    finally:
        db.close()


@pytest.fixture
async def old(sim: Simulator, shelf: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive from before passes told what they read and verifications were remembered."""
    with monkeypatch.context() as patched:
        patched.setattr(BackupPass, "_tell_read", Pass._tell_read)
        await back_up(settings)
        sim.workspaces[shelf].repaint(sim.workspaces[shelf].ids[0])
        await back_up(settings)
    archive = settings.archive.path
    for name in ("manifest.db", "manifest.db.backup"):
        aged(archive / name)
    assert events(archive, "workspace.read") == []
    return archive


def test_a_manifest_that_is_migrated_is_as_one_that_was_made_so(tmp_path: Path):
    """Else a verification would call its tables not as they were made."""
    made = []
    for step in ("m003_verifications", "m004_uploads", "m005_images_by_time", "m006_images_by_state", None):
        db = Database(memory=True)
        migrations.MIGRATIONS.apply(db, stop_before=step)
        migrations.MIGRATIONS.apply(db)
        made.append(set(db.execute("select name, sql from sqlite_master").fetchall()))
        db.close()
    assert all(one == made[-1] for one in made)


async def test_an_archive_of_before_verifies_without_complaint(old: Path):
    """And what is wrong with its manifest or its copy is found all the same."""
    assert (await verified(old)).told == []

    for name in ("manifest.db", "manifest.db.backup"):
        whole = (old / name).read_bytes()
        changed(old / name)
        assert {*(await verified(old)).told} == {("manifest", name)}
        (old / name).write_bytes(whole)


async def test_a_verification_of_an_archive_of_before_is_remembered(old: Path, settings: Settings):
    """By its journal; its manifest stays as it is, for a program of before may still be at work, until a backup."""
    before = (old / "manifest.db").read_bytes()

    await recorded(old)

    assert (old / "manifest.db").read_bytes() == before
    assert (await verified(old)).told == []
    await back_up(settings)
    assert [row["damage"] for row in rows(old, "verifications")] == [0]
    assert (await verified(old)).told == []


async def test_an_archive_of_before_goes_on(old: Path, settings: Settings):
    """The next backup finds all unchanged; then it verifies, and its copy is not passed over."""
    ran = await back_up(settings)
    assert (ran.report.complete, ran.report.new, ran.report.changed) == (True, 0, 0)
    assert len(events(old, "workspace.read")) == 1
    await recorded(old)

    changed(old / "manifest.db.backup")
    assert {*(await verified(old)).told} == {("manifest", "manifest.db.backup")}


async def test_an_archive_of_before_is_rebuilt(old: Path):
    """Row for row."""
    before = tables(old, "verifications")

    await rebuilt(old)

    assert tables(old, "verifications") == before
    assert rows(old, "verifications") == []
    assert (await verified(old)).told == []
