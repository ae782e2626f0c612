"""Open a manifest for its one writer: checked, in the mode that promise 1 asks for, and migrated forward.

Raises `ConfigError` for a manifest of a newer version, `ArchiveUnwritable` for one that is damaged or that cannot be
written.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from syncer.manifest import schema
from syncer.manifest.database import Database
from syncer.manifest.faults import translated
from syncer.manifest.reader import connect

BUSY_SECONDS = 60  # a reader may hold the database for this long (a backup of it, someone's query) before we give up
CHECK_BELOW = 32 * 2**20  # a manifest up to this many bytes is checked whole when it is opened: some 0.1 s


def writing(path: Path) -> Database:
    """Open the manifest at `path`, or make a new one, checked and migrated forward."""
    with translated():
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rwc", uri=True, timeout=BUSY_SECONDS)
        try:
            return _prepare(Database(connection), path)
        except BaseException:
            connection.close()
            raise


def dry(path: Path) -> Database:
    """Open for looking only: what is not there yet is an empty manifest in memory."""
    with translated():
        if not path.exists():
            db = Database(sqlite3.connect(":memory:"))
            _migrate(db)
            return db
        return connect(path)


def _prepare(db: Database, path: Path) -> Database:
    version = schema.version(db)
    if version and path.stat().st_size <= CHECK_BELOW:
        (verdict,) = db.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")  # a row outlives a power cut, as the files before it do
    db.execute("pragma foreign_keys = on")
    db.execute("pragma recursive_triggers = on")  # else a full-text index of the user's own misses what is replaced
    if version < schema.VERSION:
        _migrate(db)
    return db


def _migrate(db: Database) -> None:
    from syncer.manifest.migrations import migrate  # most manifests are of our version, and need no sqlite-utils

    migrate(db)
