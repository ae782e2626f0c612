"""What becomes of a verification: a line in the journal, a row in the manifest, or neither where that would harm."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from logs import logging_as_before
from structlog.testing import capture_logs
from support import back_up, rows
from verifying import Found, events, recorded, settings_for, verified

from syncer import app
from syncer.archive import journal as journal_room
from syncer.archive import lock
from syncer.archive.journal import JournalLine
from syncer.errors import AlreadyRunning
from syncer.model import Harm
from syncer.operations import recording
from syncer.operations.verification import Options, Part, Verification
from syncer.settings import Settings


def one_picture(archive: Path) -> Path:
    return archive / str(rows(archive, "images", "state = 'live' and revision = 1")[0]["path"])


async def test_a_verification_is_told_with_what_it_looked_at(archive: Path):
    """Its part, its files and bytes, and that nothing was found; in journal and manifest alike."""
    whole = (await verified(archive)).result
    at = [(await recorded(archive)).at, (await recorded(archive, quick=True, part=Part(2, 3))).at]

    told = events(archive, "archive.verified")
    assert told[0] == {
        "part": 1,
        "parts": 1,
        "quick": False,
        "resumed": False,
        "files": whole.pictures + whole.sidecars,
        "bytes": whole.bytes,
        "damage": 0,
        "findings": {},
    }
    assert (told[1]["part"], told[1]["parts"], told[1]["quick"], told[1]["bytes"]) == (2, 3, True, 0)
    assert [{**row, "verified_at": None} for row in rows(archive, "verifications")] == [
        {**facts, "findings": "{}", "verified_at": None} for facts in told
    ]
    assert [row["verified_at"] for row in rows(archive, "verifications")] == at
    assert (await verified(archive)).told == []


async def test_what_was_found_is_told_by_kind(archive: Path):
    """How often each, and how much of it is damage."""
    one_picture(archive).write_bytes(b"x")
    (archive / "note.txt").write_text("mine")

    await recorded(archive)

    (told,) = events(archive, "archive.verified")
    assert told["findings"] == {"corrupt": 1, "stray": 1}
    assert told["damage"] == 2
    assert json.loads(rows(archive, "verifications")[0]["findings"]) == told["findings"]


def test_what_an_interrupted_one_had_found_counts(archive: Path):
    """One that goes on behind damage is not one that found none; what is no damage is not counted as such."""
    result = Verification()
    result.found[Harm.UNRECORDED] = 3

    told = recording.verified(Options(after="w/x.png"), result, "2026-11-22T00:00:00.000Z", damage=2)

    assert (told.resumed, told.damage, told.findings) == (True, 2, {"unrecorded": 3})


async def test_the_manifest_knows_at_once_and_has_nothing_to_catch_up_with(archive: Path):
    """Its seal is the verification's own line; one that an earlier verification could not tell it comes with it."""
    before = (archive / "manifest.db").read_bytes()
    await recorded(archive)
    (archive / "manifest.db").write_bytes(before)

    await recorded(archive)

    assert len(rows(archive, "verifications")) == 2
    assert (await verified(archive)).told == []


async def test_the_next_backup_tells_an_older_manifest(settings: Settings):
    """As it does with all that the journal tells beyond it."""
    await back_up(settings)
    archive = settings.archive.path
    before = (archive / "manifest.db").read_bytes()
    await recorded(archive)
    expected = rows(archive, "verifications")
    (archive / "manifest.db").write_bytes(before)

    await back_up(settings, quick=True)

    assert rows(archive, "verifications") == expected != []


# --- where it harms ---------------------------------------------------------------------------------------


async def test_a_manifest_with_damage_is_not_written(archive: Path):
    """The journal tells of the verification; the manifest stays as it was found, byte for byte."""
    with closing(sqlite3.connect(archive / "manifest.db")) as db:
        db.execute("update images set width = 7")
        db.commit()
        db.execute("pragma journal_mode = delete")
    before = (archive / "manifest.db").read_bytes()

    told = await recorded(archive)

    assert told.findings["manifest"] == told.damage > 0
    assert (archive / "manifest.db").read_bytes() == before
    assert not list(archive.glob("manifest.db-*"))
    assert len(events(archive, "archive.verified")) == 1


async def test_without_a_manifest_none_is_made(archive: Path):
    """The journal alone remembers."""
    (archive / "manifest.db").unlink()

    await recorded(archive)

    assert events(archive, "archive.verified")[0]["findings"] == {"missing": 1}
    assert not (archive / "manifest.db").exists()


async def test_another_archives_manifest_is_not_written(archive: Path):
    """Even where a verification would not have seen that it is one."""
    with closing(sqlite3.connect(archive / "manifest.db")) as db, db:
        db.execute("update archive set archive_id = 'other'")
    told = recording.verified(Options(), Verification(), "2026-11-22T00:00:00.000Z")

    async with app.held(settings_for(archive), "verify") as (held, journal, _):
        await recording.write_down(held, journal, told, Verification())

    assert rows(archive, "verifications") == []


def broken(archive: Path) -> None:
    last = max((archive / "journal").iterdir())
    last.write_bytes(last.read_bytes().replace(b'"n":0', b'"n":1', 1))


def without_journal(archive: Path) -> None:
    (archive / "journal").rename(archive.parent / "journal")


def torn(archive: Path) -> None:
    last = max((archive / "journal").iterdir())
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))


def unlocked(archive: Path) -> None:
    (archive / ".staging" / "lock").unlink()


def unsettled(archive: Path) -> None:
    (archive / ".staging" / "home").unlink()


def moved(archive: Path) -> None:
    shutil.copytree(archive / ".staging", archive / "copied")
    shutil.rmtree(archive / ".staging")
    (archive / "copied").rename(archive / ".staging")


def killed(archive: Path) -> None:
    (archive / ".staging" / "lock").write_text('{"pid":1}\n')


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (torn, "the journal's end is missing"),
        (without_journal, "no journal"),
        (unlocked, "a copy"),
        (unsettled, "a copy"),
        (moved, "a copy"),
        (killed, "did not end in peace"),
    ],
)
async def test_what_speaks_against_it(archive: Path, make: Callable[[Path], None], why: str):
    """What may be missing stays so, a copy stays a copy, what a crash left waits for a backup: said in plain words."""
    make(archive)

    reason = recording.against(archive, (await verified(archive)).result)

    assert reason is not None
    assert why in reason


async def test_another_users_archive_is_left_alone(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """A root operator's line would be a file that the service's own user cannot read."""
    result = (await verified(archive)).result
    other = (archive / "journal").stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    monkeypatch.setattr(recording, "owner", lambda _: other)

    assert recording.against(archive, result) == "the archive belongs to another user"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_root_leaves_the_services_archive_alone(archive: Path):
    """As above, with a real owner; and trying it leaves no trace."""
    result = (await verified(archive)).result
    os.chown(archive / "journal", 12345, 12345)
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}

    assert recording.against(archive, result) == "the archive belongs to another user"
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before


async def test_a_share_that_gives_all_files_one_owner_is_ours(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """What counts is whose our line would be, not who we are."""
    owner = (archive / "journal").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    await recorded(archive)

    assert len(rows(archive, "verifications")) == 1


async def test_an_archive_that_cannot_be_written_is_left_alone(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a medium that is read-only."""
    result = (await verified(archive)).result
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere

    assert recording.against(archive, result) == "the archive cannot be written"


async def test_who_reads_the_archive_is_not_disturbed(archive: Path):
    """Another verification holds the lock as well: ours is not told, and nobody waits."""
    before = sorted((archive / "journal").iterdir())
    with (archive / ".staging" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(AlreadyRunning):
            await recorded(archive)

    assert sorted((archive / "journal").iterdir()) == before


# --- copies -----------------------------------------------------------------------------------------------


async def test_a_copy_can_still_be_refreshed_after_it_was_verified(settings: Settings):
    """Its journal is not forked: what is copied over it later goes on where it ended."""
    await back_up(settings)
    archive = settings.archive.path
    copy = Path(shutil.copytree(archive, archive.with_name("copy")))

    reason = recording.against(copy, (await verified(copy)).result)
    await recorded(archive)
    shutil.copytree(archive, copy, dirs_exist_ok=True)

    assert reason is not None
    assert "a copy" in reason
    assert (await verified(copy)).told == []


async def test_a_copy_that_is_backed_up_to_is_an_archive_of_its_own(settings: Settings):
    """As one that was put back after a loss."""
    await back_up(settings)
    archive = settings.archive.path
    copied = Path(shutil.copytree(archive, archive.with_name("copy")))
    shutil.rmtree(archive)
    copied.rename(archive)
    assert recording.against(archive, (await verified(archive)).result) is not None

    await back_up(settings)

    await recorded(archive)


# --- damage that has to be seen ---------------------------------------------------------------------------


async def test_a_broken_chain_is_told(archive: Path):
    """Backups append to it anyway; whoever asks for the status has to hear of it."""
    broken(archive)

    found = await remembered(archive)

    assert found.result.damage > 0
    assert [row["damage"] for row in rows(archive, "verifications")] == [found.result.damage]
    last = [line for line in journal_room.read(archive) if isinstance(line, JournalLine)][-1]
    assert (last.event, last.facts["findings"][str(Harm.CHAIN)]) == ("archive.verified", found.result.found[Harm.CHAIN])


async def remembered(archive: Path) -> Found:
    """Verify, and tell it as the command does, whose last word it is."""
    found = await verified(archive)
    assert await app.remember_verified(settings_for(archive), "verify", Options(), found.result) is None
    return found


async def test_a_torn_end_leaves_no_lasting_finding(settings: Settings):
    """A verification between the loss and the next backup tells nothing that the manifest would not learn of."""
    await back_up(settings)
    archive = settings.archive.path
    await recorded(archive)
    torn(archive)

    found = await verified(archive)
    reason = await app.remember_verified(settings_for(archive), "verify", Options(), found.result)
    await back_up(settings)

    assert reason == "the journal's end is missing, or the manifest is of another journal"
    (finding,) = found.findings
    assert "the journal's end is missing, or the manifest is of another journal" in finding.detail
    details = [finding.detail for finding in (await verified(archive)).findings]
    assert not [detail for detail in details if "is missing" in detail]


async def test_catching_up_says_that_it_could_not(settings: Settings):
    """Where the line is not met that the manifest is written up to."""
    await back_up(settings)
    torn(settings.archive.path)

    with logging_as_before(), capture_logs() as logs:
        await back_up(settings)

    assert [line["log_level"] for line in logs if line["event"] == "manifest.seal_unmet"] == ["warning"]


# --- together with others ---------------------------------------------------------------------------------


async def test_verifications_side_by_side_are_all_told(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """Each waits a moment for the others, those that read and those that write."""
    monkeypatch.setattr(lock, "PATIENCE", 60)  # the slowest machine

    await asyncio.gather(*(remembered(archive) for _ in range(6)))

    assert len(events(archive, "archive.verified")) == 6
    assert (await verified(archive)).told == []


async def test_who_writes_for_a_moment_only_is_waited_for(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """A verification begins once the lock is free."""
    monkeypatch.setattr(lock, "PATIENCE", 60)
    with (archive / ".staging" / "lock").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        asyncio.get_running_loop().call_soon(fcntl.flock, writer, fcntl.LOCK_UN)  # once we wait

        assert (await verified(archive)).told == []
