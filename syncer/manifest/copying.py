"""A second copy of the manifest beside it: made while nobody writes, checked before it counts, replaced in one step.

It can be made anew from the archive at any time, so it may be replaced, unlike all else there; it is for the day on
which the manifest is damaged and the statistics of its runs are wanted.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from syncer.errors import ArchiveUnwritable


def copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database into one file. Raises what SQLite raises, and `ArchiveUnwritable`."""
    fresh = target.with_name(f"{target.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as made:
            source.backup(made, pages=-1)
            made.execute("pragma journal_mode = delete")  # one file, which a read-only medium can hold
            (verdict,) = made.execute("pragma integrity_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(str(verdict))
        _sync(fresh)
        fresh.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise ArchiveUnwritable(
            "the manifest cannot be copied", path=target.name, reason=error.strerror or str(error)
        ) from error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
