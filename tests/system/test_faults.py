"""Disks and databases that fail under a backup: it stops with a word for it, keeps what it promises, and heals.

What the outcome has to be is the same everywhere: an exit code and a hint a person can act on, an archive that is
sound as it was left, and a next run that ends as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import kill_sweep
import pytest
from kill_sweep import prepared, spread, verified
from outside import Outside
from soundness import files, state, unsound
from support import back_up, rows

from syncer.archive import journal
from syncer.errors import ArchiveUnwritable, StorageFull
from syncer.manifest import opening
from syncer.operations.events import Event, PictureReceived
from syncer.settings import Settings
from syncer.simulator.server import Simulator

Make = Callable[..., Outside]
Mount = Callable[..., Path]


def lacking(what: str) -> None:
    """Skip for want of something; where everything has to be tested, fail instead."""
    (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)(what)


@pytest.fixture
def strace() -> str:
    if kill_sweep.STRACE is None:
        lacking("strace is not installed")
    return str(kill_sweep.STRACE)


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount a small file system in memory: `mount(folder, "1m")`; again, to change its size."""
    places: list[Path] = []

    def mounted(place: Path, size: str) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        how = f"remount,size={size}" if place in places else f"size={size}"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            lacking(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        places.append(place)
        return place

    yield mounted
    for place in dict.fromkeys(places):
        if place.is_mount():
            subprocess.run(["umount", place], check=True)


# --- the disk says no -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
async def test_whichever_call_fails_the_run_stops_and_the_next_one_heals(strace: str, tmp_path: Path, fault: str):
    """A sync, write, rename or unlink that fails, of picture, folder, journal or manifest: 9, sound, and made good."""
    async with prepared(tmp_path, "next") as sweep:
        struck = await sweep.strike_all(spread(sweep.points, 6), fault, jobs=2)

    assert [one.point for one in struck if not one.fired] == []
    assert {one.point: one.wrong for one in struck if one.wrong} == {}
    assert {one.code for one in struck if one.point.call in {"fsync", "rename", "write"}} == {9}


@pytest.mark.slow
async def test_a_sync_of_the_whole_disk_that_fails_keeps_nothing_of_its_batch(
    strace: str, sim: Simulator, shelf: str, make: Make, mount: Mount, tmp_path: Path
):
    """EIO from `syncfs`: no picture of the batch has a row, the hint names the disk, and the next run is complete."""
    sim.workspaces[shelf].add_many(10)
    outside = make()
    mount(outside.archive, "64m")
    trace = tmp_path / "trace"
    inject = ("-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO:when=1")

    async with outside.started("backup", under=(strace, "-f", "-qq", "-o", str(trace), *inject)) as process:
        ran = await outside.end(process)

    assert "(INJECTED)" in trace.read_text()
    assert ran.code == 9
    assert "Input/output error" in ran.err
    assert "smartctl" in ran.err
    assert outside.images() == {}
    assert unsound(outside.archive) == []
    assert (await outside.backup()).counts == {"new": len(sim.workspaces[shelf])}
    state(outside.archive)


@pytest.mark.parametrize("size", ["100k", "300k", "500k", "900k"])
async def test_a_disk_that_is_full_at_any_moment(
    sim: Simulator, shelf: str, settings: Settings, mount: Mount, size: str
):
    """However early: `StorageFull`, what is there is sound, and with room the next run does the rest."""
    disk = mount(settings.archive.path, size)
    sim.workspaces[shelf].add_many(10)

    with pytest.raises(StorageFull):
        await back_up(settings)

    assert unsound(disk) == []
    mount(disk, "64m")
    assert (await back_up(settings)).report.complete
    assert len(state(disk)["images"]) == len(sim.workspaces[shelf])


async def test_a_disk_that_is_full_when_the_journal_is_written(
    sim: Simulator, shelf: str, settings: Settings, mount: Mount
):
    """Pictures that stand get no row without their line in the journal; the next run takes them up as they are."""
    archive = settings.archive.path
    await back_up(settings)
    before = rows(archive, "revisions")
    folder = (archive / "journal").rename(archive.with_name("aside"))
    small = mount(archive / "journal", "64k")
    shutil.copytree(folder, small, dirs_exist_ok=True)
    (small / "filler").write_bytes(bytes(shutil.disk_usage(small).free - 4096))
    added = sim.workspaces[shelf].add_many(12)  # their lines need more than the page that is left

    with pytest.raises(StorageFull):
        await back_up(settings)

    assert rows(archive, "revisions") == before
    assert len(files(archive)) == 2 * (len(before) + len(added))
    assert unsound(archive) == []
    (small / "filler").unlink()
    sim.counts.clear()
    assert (await back_up(settings)).report.complete
    assert sim.counts["content"] == 0
    assert len(state(archive)["images"]) == len(sim.workspaces[shelf])
    assert unsound(archive) == []


@pytest.mark.slow
@pytest.mark.parametrize("files", [8, 10, 16, 18])
async def test_too_few_open_files_are_9_with_the_limit_named(outside: Outside, files: int):
    """EMFILE, from the first look at the disk to the middle of the downloads, harms nothing and blames no image."""
    async with outside.started("backup", under=("prlimit", f"--nofile={files}")) as process:
        ran = await outside.end(process)

    assert ran.code == 9
    assert "open files" in ran.err or "unable to open" in ran.err
    assert unsound(outside.archive) == []
    assert (await outside.backup()).code == 0
    assert state(outside.archive)["failures"] == []


# --- the manifest says no -------------------------------------------------------------------------------


async def test_a_writer_that_holds_the_manifest_for_a_while_is_waited_for(sim: Simulator, settings: Settings):
    """Somebody else's transaction costs a second, not the run."""
    await back_up(settings)
    with holding(settings, "begin immediate") as other:
        freed = asyncio.get_running_loop().call_later(1, other.rollback)
        ran = await back_up(settings)

    assert freed.when() < asyncio.get_running_loop().time()
    assert ran.report.complete


async def test_a_reader_that_never_ends_does_not_stop_the_writer(sim: Simulator, shelf: str, settings: Settings):
    """A transaction that reads through the whole run sees its own moment; the run is complete all the same."""
    await back_up(settings)
    sim.workspaces[shelf].add_many(3)
    with holding(settings, "begin") as other:
        (before,) = other.execute("select count(*) from images").fetchone()
        ran = await back_up(settings)
        (after,) = other.execute("select count(*) from images").fetchone()

    assert ran.report.complete
    assert ran.report.new == 3
    assert before == after
    assert len(rows(settings.archive.path, "images")) == before + 3


async def test_a_writer_that_never_ends_is_named(
    sim: Simulator, shelf: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """Locked out in the middle of the run: 9 with the reason, and nothing is lost."""
    await back_up(settings)
    added = sim.workspaces[shelf].add_many(3)
    with monkeypatch.context() as patched, closing(sqlite3.connect(settings.archive.path / "manifest.db")) as other:
        patched.setattr(opening, "BUSY_SECONDS", 0.2)

        def lock(event: Event) -> None:
            if isinstance(event, PictureReceived) and not other.in_transaction:
                other.execute("begin immediate")

        with pytest.raises(ArchiveUnwritable) as raised:
            await back_up(settings, watch=lock)

    assert "another program" in raised.value.hint
    assert unsound(settings.archive.path) == []
    assert (await back_up(settings)).report.complete
    assert set(added) <= {row["image_id"] for row in state(settings.archive.path)["images"]}


async def test_a_manifest_with_a_page_of_noise_is_damaged_and_not_touched(settings: Settings):
    """Whichever page: 9, the way out is named, and neither manifest nor archive is written to."""
    await back_up(settings)
    path = settings.archive.path / "manifest.db"
    good = path.read_bytes()
    for page in range(0, len(good) // 4096, 5):
        path.write_bytes(good[: page * 4096] + b"noise..." * 512 + good[(page + 1) * 4096 :])
        damaged, kept = path.read_bytes(), files(settings.archive.path)

        with pytest.raises(ArchiveUnwritable) as raised:
            await back_up(settings)

        assert "syncer rebuild" in raised.value.hint
        assert path.read_bytes() == damaged
        assert files(settings.archive.path) == kept
    path.write_bytes(good)
    assert (await back_up(settings)).report.complete


async def test_an_empty_manifest_is_made_anew_from_the_journal(sim: Simulator, shelf: str, settings: Settings):
    """A file of no bytes, as some crashes of a file system leave it: every row comes back, those of gone images too."""
    archive = settings.archive.path
    await back_up(settings)
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[3])
    await back_up(settings)
    expected = state(archive)
    os.truncate(archive / "manifest.db", 0)
    sim.counts.clear()

    assert (await back_up(settings)).report.complete

    assert state(archive) == expected
    assert sim.counts["content"] == 0


# --- an older manifest ----------------------------------------------------------------------------------


async def test_a_manifest_restored_from_an_older_copy_catches_up_with_the_archive(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """Pairs that it does not know are taken up: the state is what it was, and nothing is written over or twice."""
    archive, images = settings.archive.path, sim.workspaces[shelf]
    await back_up(settings)
    older = shutil.copy(archive / "manifest.db", tmp_path / "older.db")
    images.add_many(3)
    images.repaint(images.ids[4])
    images.change(images.ids[5], prompt="reworded")
    images.delete(images.ids[6])
    await back_up(settings)
    expected = state(archive)
    stamps = {place: (archive / place).stat().st_mtime_ns for place in files(archive)}
    shutil.copy(older, archive / "manifest.db")
    sim.counts.clear()

    ran = await back_up(settings)

    assert ran.report.complete
    assert state(archive) == expected
    assert {place: (archive / place).stat().st_mtime_ns for place in files(archive)} == stamps
    assert sim.counts["content"] == 0


@pytest.mark.slow
async def test_a_log_that_is_lost_after_a_crash_costs_rows_and_no_pictures(strace: str, tmp_path: Path):
    """Killed, and then without `manifest.db-wal`: the rows in it are won back from the archive."""
    async with prepared(tmp_path, "next") as sweep:
        for point in spread([point for point in sweep.points if point.call in {"fsync", "rename"}], 4):
            async with sweep.struck(point, "kill") as (config, fired, _):
                assert fired
                (config.parent / "archive" / "manifest.db-wal").unlink()
                (config.parent / "archive" / "manifest.db-shm").unlink(missing_ok=True)
                assert unsound(config.parent / "archive") == []
                assert await sweep.heal(config) == []


async def test_a_manifest_and_a_journal_from_an_older_copy_catch_up_with_the_pictures(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """Where nothing but the pairs themselves tell of them, they are used again: no download of what is new."""
    archive, images = settings.archive.path, sim.workspaces[shelf]
    await back_up(settings)
    older = shutil.copy(archive / "manifest.db", tmp_path / "older.db")
    told = set((archive / "journal").iterdir())
    images.add_many(3)
    images.repaint(images.ids[4])
    images.change(images.ids[5], prompt="reworded")
    await back_up(settings)
    expected = state(archive)
    stamps = {place: (archive / place).stat().st_mtime_ns for place in files(archive)}
    shutil.copy(older, archive / "manifest.db")
    for path in set((archive / "journal").iterdir()) - told:
        path.unlink()
    sim.counts.clear()

    ran = await back_up(settings)

    assert ran.report.complete
    assert (ran.report.new, ran.report.changed) == (3, 2)
    assert state(archive) == expected
    assert {place: (archive / place).stat().st_mtime_ns for place in files(archive)} == stamps
    assert sim.counts["content"] == 2  # what changed is asked for again, and found to be there
    assert await verified(archive) == []


@pytest.mark.slow
async def test_verify_after_a_kill_between_two_names_finds_no_damage(strace: str, tmp_path: Path):
    """A picture that has its name while its sidecar waits for its own is unfinished work, which the next run ends."""
    async with prepared(tmp_path, "next") as sweep:
        for point in [point for point in sweep.points if point.call == "rename"][2:12:3]:
            async with sweep.struck(point, "kill") as (config, fired, _):
                assert fired
                assert await verified(config.parent / "archive", lambda harm: harm.damage) == []


@pytest.mark.slow
async def test_a_first_run_killed_while_its_tables_are_made_leaves_no_half_schema(strace: str, tmp_path: Path):
    """The next run makes what is missing of the manifest, and verify finds nothing."""
    async with prepared(tmp_path, "first") as sweep:
        early = [point for point in sweep.points if point.call == "pwrite64"][12:26:2]
        struck = await sweep.strike_all(early, "kill", jobs=2)

    assert {one.point: one.wrong for one in struck if one.wrong} == {}


# --- the journal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 40, 400])
async def test_a_torn_end_of_the_journal_is_gone_on_behind(sim: Simulator, shelf: str, settings: Settings, cut: int):
    """A last line without its end counts as not written; the chain goes on from the last whole one."""
    await back_up(settings)
    (first,) = (settings.archive.path / "journal").iterdir()
    os.truncate(first, first.stat().st_size - cut)
    sim.workspaces[shelf].add_many(2)

    assert (await back_up(settings)).report.complete

    lines = list(journal.read(settings.archive.path))
    assert [line for line in lines if isinstance(line, journal.Break)] == []
    assert {line.file for line in lines if isinstance(line, journal.JournalLine)} == {
        path.name for path in (settings.archive.path / "journal").iterdir()
    }


@contextmanager
def holding(settings: Settings, begin: str) -> Iterator[sqlite3.Connection]:
    """Hold a transaction on the manifest in another connection."""
    with closing(sqlite3.connect(settings.archive.path / "manifest.db", isolation_level=None)) as other:
        other.execute(begin)
        yield other
