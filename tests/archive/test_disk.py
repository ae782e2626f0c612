"""`disk`: errors speak to people, threads are waited for, and the quick sync is used only where it can be believed."""

import asyncio
import errno
import os
import threading

import pytest
from archive_parts import opened

from syncer.archive import disk
from syncer.archive.disk import Disk, in_thread, translated
from syncer.errors import ArchiveUnwritable, StorageFull


@pytest.mark.parametrize(
    ("code", "error", "hint"),
    [
        (errno.ENOSPC, StorageFull, "make room"),
        (errno.EDQUOT, StorageFull, "quota"),
        (errno.EROFS, ArchiveUnwritable, "mount"),
        (errno.EACCES, ArchiveUnwritable, "right"),
        (errno.EIO, ArchiveUnwritable, "health"),
        (errno.EMFILE, ArchiveUnwritable, "ulimit"),
        (errno.ENAMETOOLONG, ArchiveUnwritable, ""),
    ],
)
def test_errors_of_the_system_become_ours(tmp_path, code, error, hint):
    """Each says what is wrong, where, and what to do."""
    with pytest.raises(error) as raised, translated(tmp_path):
        raise OSError(code, os.strerror(code), str(tmp_path / "ws" / "a.png"))
    assert type(raised.value) is error
    assert raised.value.facts == {"path": "ws/a.png", "reason": os.strerror(code)}
    assert hint in raised.value.hint


def test_errors_without_a_path(tmp_path):
    """A failed write knows no name, and one outside the archive is told in full."""
    with pytest.raises(StorageFull) as raised, translated(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    assert raised.value.facts["path"] is None
    with pytest.raises(ArchiveUnwritable) as raised, translated(tmp_path):
        raise OSError(errno.EACCES, "no", "/elsewhere")
    assert raised.value.facts["path"] == "/elsewhere"


async def test_an_archive_that_cannot_be_made(tmp_path):
    """Where a file stands in the way, that is said, not thrown as a bug."""
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveUnwritable):
        async with opened(tmp_path / "file" / "archive"):
            pass


async def test_a_thread_is_waited_for():
    """Cancelled, even twice, the waiting ends only when the thread has."""
    begun, go, log = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go.wait(5)
        log.append("worked")
        raise OSError("seen by nobody")

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 5)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["worked"]


@pytest.mark.parametrize(
    ("kind", "release", "believed"),
    [
        ("ext4", "6.1.0-13-amd64", True),
        ("ext4", "4.18.0-500.el8", False),
        ("fuseblk", "6.1.0", False),
        ("nfs4", "6.1.0", False),
    ],
)
def test_where_one_sync_is_enough(tmp_path, monkeypatch, kind, release, believed):
    """`syncfs` counts only where it reaches the platter and says so when it fails."""
    uname = os.uname()
    monkeypatch.setattr(disk.os, "uname", lambda: os.uname_result((uname[0], uname[1], release, uname[3], uname[4])))
    assert (disk._syncfs(tmp_path, kind) is not None) == believed


def test_the_file_systems_type_is_known(tmp_path):
    """The type is that of the deepest mount above the folder."""
    assert disk._type(disk.Path("/proc/self")) == "proc"
    assert disk._type(tmp_path) not in {"", "proc"}


def test_a_system_that_lists_no_mounts_can_keep_an_archive(tmp_path, monkeypatch):
    """Only what is known to be safe on a type of file system is not done there."""
    read = disk.Path.read_text

    def none_there(path, **options):
        if path.is_relative_to("/proc"):
            raise FileNotFoundError(path)
        return read(path, **options)

    monkeypatch.setattr(disk.Path, "read_text", none_there)
    opened = disk.Disk(tmp_path)
    opened.write(tmp_path / "file", memoryview(bytes(256 << 10)))
    opened.close()
    assert (tmp_path / "file").stat().st_size == 256 << 10


def test_a_sync_that_fails_says_so(tmp_path):
    """A failed `syncfs` is an error, not a return value."""
    syncfs = disk._syncfs(tmp_path, "ext4")
    if syncfs is None:
        pytest.skip("this kernel's syncfs is not used")
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(-1)


def test_room(tmp_path):
    """The free bytes are those of the file system."""
    room = Disk(tmp_path)
    assert 0 < room.free() <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    room.settle_all()
    room.close()
