"""Reading the files of an archive: as slowly as asked, and no longer than wanted."""

from __future__ import annotations

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
