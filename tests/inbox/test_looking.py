"""`looking`: what lies in a folder, and who has a file open for writing."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inbox_parts import writing

from syncer.inbox.drop import Signature
from syncer.inbox.looking import look, walk, writer_of
from syncer.inbox.stillness import Writer

CAP_LEASE = 1 << 28
HEAD = struct.pack("Ii", 0x20080522, 0)


@contextmanager
def without_lease() -> Iterator[None]:
    """Take root's right to have a lease on others' files from this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.create_string_buffer(24)
    assert libc.capget(HEAD, before) == 0
    effective, *rest = struct.unpack("6I", before.raw)
    assert libc.capset(HEAD, struct.pack("6I", effective & ~CAP_LEASE, *rest)) == 0
    try:
        yield
    finally:
        assert libc.capset(HEAD, before) == 0


def test_another_process_that_writes_is_noticed(tmp_path: Path):
    """For as long as it has the file open, whether it writes at this moment or not."""
    path = tmp_path / "a.png"
    with writing(path) as writer:
        assert writer_of(path) is Writer.SOMEBODY
        writer.close()
        assert writer_of(path) is Writer.NOBODY


def test_a_file_that_is_mapped_for_writing_is_noticed(tmp_path: Path):
    """Even after it was closed: no event tells of what is written so."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    assert writer_of(path) is Writer.SOMEBODY
    mapped.close()
    assert writer_of(path) is Writer.NOBODY


def test_whoever_reads_is_no_writer(tmp_path: Path):
    """A viewer that has the picture open holds up nothing."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    with path.open("rb"):
        assert writer_of(path) is Writer.NOBODY


def test_a_look_leaves_nothing_behind(tmp_path: Path):
    """No lease that would hold up who comes next, and no open file."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert writer_of(path) is Writer.NOBODY
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # would fail under a lease


def test_a_file_that_a_server_holds_for_a_writer_counts_as_written(tmp_path: Path):
    """Samba takes a lease of its own for a client that may write: it is not waited for."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with path.open("r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            assert writer_of(path) is Writer.SOMEBODY
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_of_others_files_it_is_not_known_who_writes(tmp_path: Path):
    """The system does not tell, without a right of its own; that is no error."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    os.chown(path, 12345, -1)
    with without_lease(), path.open("ab"):
        assert writer_of(path) is Writer.UNKNOWN
    with path.open("ab"):
        assert writer_of(path) is Writer.SOMEBODY


def test_a_look_waits_for_nobody(tmp_path: Path):
    """A FIFO that nobody writes to, and a file that is not there."""
    os.mkfifo(tmp_path / "fifo")
    seen = look(tmp_path / "fifo", most=10)
    assert seen is not None
    assert (seen.fault, seen.writer) == ("a FIFO, not a file", Writer.NOBODY)
    assert look(tmp_path / "missing", most=10) is None


def test_a_walk_comes_by_all_files_and_no_others(tmp_path: Path):
    """In sub-folders too; not through symlinks, and not into what is passed over."""
    for name in ("a.png", "b/c/d.png", ".syncer/done/x.png", "e.part", "f.tmp/x.png", "elsewhere/x.png"):
        path = tmp_path / "watched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    watched = tmp_path / "watched"
    (watched / "elsewhere").rename(tmp_path / "elsewhere")
    (watched / "link").symlink_to(tmp_path / "elsewhere")
    entered: list[Path] = []
    found = walk(watched, entered.append)
    assert {path for path, _ in found.files} == {watched / "a.png", watched / "b/c/d.png", watched / "link"}
    assert dict(found.files)[watched / "a.png"] == Signature.of((watched / "a.png").lstat())
    assert {path for path, _ in found.ignored} == {watched / ".syncer", watched / "e.part", watched / "f.tmp"}
    assert entered == [watched, watched / "b", watched / "b/c"]


def test_a_folder_is_entered_before_it_is_read(tmp_path: Path):
    """Else what appears between the two would be missed."""

    def enter(folder: Path) -> None:
        (folder / "late.png").touch()

    assert [path.name for path, _ in walk(tmp_path, enter).files] == ["late.png"]


def test_a_folder_that_goes_away_ends_no_walk(tmp_path: Path):
    """Nor does one that may not be entered, which is told."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()

    def enter(folder: Path) -> None:
        if folder.name == "gone":
            folder.rmdir()
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")

    found = walk(tmp_path, enter)
    assert [path.name for path, _ in found.files] == ["a.png"]
    assert [path.name for path, _ in found.unreadable] == ["closed"]
