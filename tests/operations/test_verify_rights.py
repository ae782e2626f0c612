"""`verify` where it may not, or cannot, read: it says so, and looks at all that it can."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rebuilding import rebuilt
from support import rows
from verifying import verified

from syncer.archive import journal
from syncer.archive.journal import Break
from syncer.errors import ArchiveUnwritable

DAC = 1 << 1 | 1 << 2  # the rights by which root reads and searches whatever it likes
HEAD = struct.pack("Ii", 0x20080522, 0)


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """Take root's right to pass over permissions from this thread, and from those that it starts."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.create_string_buffer(24)
    assert libc.capget(HEAD, before) == 0
    effective, *rest = struct.unpack("6I", before.raw)
    assert libc.capset(HEAD, struct.pack("6I", effective & ~DAC, *rest)) == 0
    try:
        yield
    finally:
        assert libc.capset(HEAD, before) == 0


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Take all permissions from a file or folder."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with an_ordinary_user():
            yield
    finally:
        path.chmod(mode)


async def test_an_archive_that_may_not_be_looked_into_is_no_bug_of_ours(archive: Path):
    """What is wrong, and what to do about it, is said."""
    with closed(archive), pytest.raises(ArchiveUnwritable) as refused:
        await verified(archive)
    assert refused.value.facts["reason"] == "Permission denied"
    assert refused.value.hint


@pytest.mark.parametrize("name", [".staging", ".staging/lock"])
async def test_without_the_right_to_the_lock_the_archive_is_verified(archive: Path, name: str):
    """Nothing can be held there, and everything can be read."""
    with closed(archive / name):
        found = await verified(archive)
    assert found.told == []
    assert found.result.pictures


@pytest.mark.parametrize("name", ["manifest.db", "manifest.db.backup"])
async def test_a_manifest_that_may_not_be_read_is_not_called_damaged(archive: Path, name: str):
    """Nobody is to make anew what is whole."""
    with closed(archive / name), pytest.raises(ArchiveUnwritable) as refused:
        await verified(archive)
    assert (refused.value.facts["path"], refused.value.facts["reason"]) == (name, "Permission denied")


async def test_a_folder_in_the_manifests_place_is_named(archive: Path):
    """That is nothing of rights, and the pictures are looked at all the same."""
    (archive / "manifest.db").unlink()
    (archive / "manifest.db").mkdir()
    found = await verified(archive)
    assert found.told == [("manifest", "manifest.db")]
    assert found.result.pictures


async def test_a_journal_whose_folder_cannot_be_read_is_a_finding(archive: Path):
    """The manifest speaks for the pictures, and all of them are looked at."""
    with closed(archive / "journal"):
        (found,) = journal.read(archive)
        told = await verified(archive)
    assert found == Break("", 0, "the folder cannot be read: Permission denied")
    assert {("broken_chain", "journal/"), ("unreadable", "journal")} == {*told.told}
    assert told.result.pictures == len({row["path"] for row in rows(archive, "revisions")})


async def test_a_rebuild_forgets_nothing_because_the_journal_cannot_be_read(
    archive: Path, monkeypatch: pytest.MonkeyPatch
):
    """A disk that fails just now is no reason to make a manifest of the sidecars alone."""
    before = (archive / "manifest.db").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(journal, "read", lambda _: iter([Break("", 0, "the folder cannot be read: I/O error")]))
        with pytest.raises(ArchiveUnwritable):
            await rebuilt(archive)
    assert (archive / "manifest.db").read_bytes() == before
    assert (await verified(archive)).told == []
