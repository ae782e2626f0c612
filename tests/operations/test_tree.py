"""Reading the files of an archive: as slowly as asked, and no longer than wanted."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from syncer.operations.tree import Reader, Stopped


def test_reading_is_paced_over_all_threads(tmp_path: Path):
    """Together they read no faster than they may."""
    times = iter([0.0, 0.0, 0.0])
    waits: list[float] = []
    reader = Reader(100, lambda: next(times))
    reader.stop.wait = lambda delay=None: waits.append(delay or 0.0) or False  # type: ignore[method-assign]
    for _ in range(3):
        reader.pace(50)
    assert waits == [0.5, 1.0]


def test_reading_can_be_stopped(tmp_path: Path):
    """However slowly it goes."""
    (tmp_path / "a").write_bytes(b"x")
    reader = Reader(1)
    reader.stop.set()
    with pytest.raises(Stopped):
        reader.sha256(tmp_path / "a")


def test_a_file_is_hashed_alone_whatever_was_read_before_it(tmp_path: Path):
    """The memory to read into is used again, and nothing of a longer file is left in a shorter one's hash."""
    reader = Reader()
    for name, data in (("long", b"x" * 5_000_000), ("short", b"y"), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        assert reader.sha256(tmp_path / name) == (sha256(data).hexdigest(), len(data))
