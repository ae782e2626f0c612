"""A verification remembers itself: what `verify` writes and does not, and what `status` tells of it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_parts import Syncer
from support import rows

from syncer.archive import journal
from syncer.archive import lock as lock_room
from syncer.archive.journal import JournalLine
from syncer.cli.resuming import Note, Stop
from syncer.operations import recording
from syncer.operations.verification import Options, Part, Verification
from syncer.simulator.server import Simulator


def told(config: Path) -> list[dict[str, Any]]:
    """What the journal tells of verifications."""
    lines = journal.read(config.parent / "archive")
    return [line.facts for line in lines if isinstance(line, JournalLine) and line.event == "archive.verified"]


def stamps(config: Path) -> dict[Path, int]:
    """When each file of the archive was last written."""
    return {path: path.stat().st_mtime_ns for path in (config.parent / "archive").rglob("*")}


def damage(config: Path) -> Path:
    """Change a byte of a picture, and return it."""
    folder = config.parent / "archive"
    picture = folder / str(rows(folder, "images", "state = 'live' and revision = 1")[0]["path"])
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    return picture


# --- verify ---------------------------------------------------------------------------------------------


def test_a_verification_is_remembered(syncer: Syncer, archive: Path):
    """One line in the journal, one row; said to programs, and in no word to people."""
    ran = syncer("verify", "--json")

    assert (ran.code, ran.summary["recorded"]) == (0, True)
    assert "not told" not in ran.err
    (facts,) = told(archive)
    assert facts["files"] == ran.summary["pictures"] + ran.summary["sidecars"]
    assert (facts["bytes"], facts["damage"]) == (ran.summary["bytes"], 0)
    assert len(rows(archive.parent / "archive", "verifications")) == 1
    assert syncer("verify").code == 0
    assert syncer("verify", "--subset", "2/3", "--quick").code == 0
    assert [(one["part"], one["parts"], one["quick"]) for one in told(archive)[1:]] == [(1, 1, False), (2, 3, True)]


def test_damage_is_remembered(syncer: Syncer, archive: Path):
    """With its kind; the exit code is the verification's own."""
    damage(archive)

    assert syncer("verify").code == 4

    assert (told(archive)[0]["damage"], told(archive)[0]["findings"]) == (1, {"corrupt": 1})


def test_an_auditor_leaves_nothing_behind(syncer: Syncer, archive: Path):
    """With `--no-record` not a file is made or changed, and nothing is said about it."""
    before = stamps(archive)

    ran = syncer("verify", "--no-record", "--json")

    assert (ran.code, ran.summary["recorded"]) == (0, False)
    assert "not told" not in ran.err
    assert stamps(archive) == before


@pytest.mark.parametrize("way", ["read", "owned by another", "copied", "read-only"])
def test_what_is_in_the_way_is_said_and_changes_nothing(
    syncer: Syncer, archive: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    """In one line; the exit code stays, nobody is waited for for long, and nothing is written."""
    folder = archive.parent / "archive"
    lock = (folder / ".staging" / "lock").open("rb")
    match way:
        case "read":
            fcntl.flock(lock, fcntl.LOCK_SH)
            monkeypatch.setattr(lock_room, "PATIENCE", 0)
        case "owned by another":
            other = (folder / "journal").stat().st_uid + 1
            monkeypatch.setattr(os, "geteuid", lambda: other)
            monkeypatch.setattr(recording, "owner", lambda _: other)
        case "copied":
            (folder / ".staging" / "home").unlink()
        case "read-only":
            monkeypatch.setattr(os, "access", lambda *_: False)
    before = stamps(archive)

    ran = syncer("verify", "--json")

    lock.close()
    assert (ran.code, ran.summary["recorded"]) == (0, False)
    assert ran.err.count("not told to the archive's journal") == 1
    assert stamps(archive) == before


def test_a_broken_chain_shows(syncer: Syncer, archive: Path):
    """Also to those who only ask for the status."""
    last = max((archive.parent / "archive" / "journal").iterdir())
    last.write_bytes(last.read_bytes().replace(b'"n":0', b'"n":1', 1))

    ran = syncer("verify", "--json")

    assert (ran.code, ran.summary["recorded"]) == (4, True)
    assert "damage found" in syncer("status").out
    assert syncer("status", "--json").summary["verified"]["whole"]["damage"] == ran.summary["damage"]


def test_one_that_goes_on_says_so(syncer: Syncer, archive: Path, tmp_path: Path):
    """And the damage that was found before it was interrupted is not forgotten."""
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    folder = archive.parent / "archive"
    middle = sorted(str(row["path"]) for row in rows(folder, "revisions"))[2]
    Note.of(folder, Options(), state).save(Verification(reached=middle), Stop(damage=2))

    assert syncer("verify", "--resume", env=state).code == 4

    (facts,) = told(archive)
    assert (facts["resumed"], facts["damage"], facts["findings"]) == (True, 2, {})


def test_a_repair_is_remembered_with_what_it_left(syncer: Syncer, sim: Simulator, config: Path):
    """What was found and put back is told by its kind, and is no damage any more; what could not be is."""
    assert syncer("backup").code == 0
    damage(config)

    assert syncer("verify", "--repair").code == 0
    assert "no damage" in syncer("status").out
    damage(config)
    (config.parent / "archive" / "stray.txt").write_text("mine")
    assert syncer("verify", "--repair").code == 4

    assert [(one["damage"], one["findings"]) for one in told(config)] == [
        (0, {"corrupt": 1}),
        (1, {"corrupt": 1, "stray": 1}),
    ]


def test_a_repair_leaves_nothing_to_go_on_with(syncer: Syncer, sim: Simulator, config: Path):
    """The damage that an interrupted verification counted may be mended now, in whichever part it was."""
    state = {"XDG_STATE_HOME": str(config.parent / "state")}
    assert syncer("backup").code == 0
    damage(config)
    for part in (Part(), Part(2, 3)):
        interrupted = Note.of(config.parent / "archive", Options(part=part), state)
        interrupted.save(Verification(reached="a"), Stop(damage=1))

    assert syncer("verify", "--repair", env=state).code == 0

    assert list((config.parent / "state" / "syncer").iterdir()) == []


def test_an_old_note_is_not_gone_on_with(syncer: Syncer, archive: Path, tmp_path: Path):
    """All is hashed again, and said so."""
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    folder = archive.parent / "archive"
    last = max(str(row["path"]) for row in rows(folder, "revisions"))
    Note.of(folder, Options(), state).save(Verification(reached=last), Stop(damage=2, begun="2026-01-01T00:00:00Z"))

    ran = syncer("verify", "--resume", "--json", env=state)

    assert (ran.code, ran.summary["damage_before"]) == (0, 0)
    assert "more than 7 days ago" in ran.err
    assert told(archive)[0]["resumed"] is False


def test_a_comparison_is_no_verification(syncer: Syncer, sim: Simulator, config: Path):
    """`--remote` hashes nothing of what is held."""
    assert syncer("backup").code == 0
    assert syncer("verify", "--remote").code == 0
    assert told(config) == []


def test_an_archive_that_is_not_there_is_none(syncer: Syncer, config: Path):
    """What ends before its end is not remembered, and makes nothing."""
    assert syncer("verify").code == 5
    assert not (config.parent / "archive").exists()


# --- status ---------------------------------------------------------------------------------------------


def test_status_tells_when_it_was_verified(syncer: Syncer, archive: Path):
    """Never; then as a whole, and the last part, and that damage was found."""
    assert "never as a whole" in syncer("status").out
    assert syncer("status", "--json").summary["verified"] == {"whole": None, "last": None}

    assert syncer("verify").code == 0
    assert "s ago, no damage" in syncer("status").out
    verified = syncer("status", "--json").summary["verified"]
    assert (verified["whole"]["damage"], verified["whole"]["parts"]) == (0, 1)
    assert verified["last"].items() >= {"part": 1, "parts": 1, "quick": False, "damage": 0, "findings": {}}.items()

    damage(archive)
    codes = [syncer("verify", "--subset", f"{part}/3").code for part in (1, 2, 3)]
    assert sorted(codes) == [0, 0, 4]
    shown = syncer("status")
    assert "damage found (1)" in shown.out
    assert "last part 3/3" in shown.out
    verified = syncer("status", "--json").summary["verified"]
    assert (verified["whole"]["parts"], verified["whole"]["damage"], verified["last"]["part"]) == (3, 1, 3)

    assert syncer("verify", "--quick").code == 0
    assert "last quick look" in syncer("status").out


def test_status_reads_a_manifest_of_before(syncer: Syncer, archive: Path):
    """One without the table, which is not written for it."""
    manifest = archive.parent / "archive" / "manifest.db"
    with closing(sqlite3.connect(manifest)) as db:
        db.execute("drop table verifications")
        db.execute("pragma user_version = 2")
        db.execute("pragma journal_mode = delete")
    before = manifest.read_bytes()

    ran = syncer("status", "--json")

    assert ran.code == 0
    assert ran.summary["verified"] == {"whole": None, "last": None}
    assert "never as a whole" in syncer("status").out
    assert manifest.read_bytes() == before
