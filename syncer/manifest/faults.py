"""SQLite's errors, translated once into ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from syncer.errors import ArchiveUnwritable, StorageFull

DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"}
BYTES_FOR_TEXT = "JSON cannot hold BLOB values"  # of rows that are asked for as one text; nobody here writes bytes


@contextmanager
def translated() -> Iterator[None]:
    """Raise what SQLite raises as `StorageFull` or `ArchiveUnwritable`, with what to do about it."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT"  # ours, from a check, has no name
        kind = "_".join(name.split("_")[:2])
        if kind == "SQLITE_FULL":
            raise StorageFull("the disk of the archive is full", hint="make room and run again") from error
        if kind in DAMAGED or str(error) == BYTES_FOR_TEXT:
            raise ArchiveUnwritable(
                "the manifest is damaged",
                hint="the pictures and sidecars do not depend on it: `syncer rebuild` makes it anew from them",
                sqlite=str(error),
            ) from error
        if kind == "SQLITE_BUSY":
            hint = "another program holds a transaction on manifest.db; close it and run again"
        elif kind in {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"}:
            hint = "see that the archive's folder can be written by this user"
        else:
            hint = "look into the system's log for errors of the disk"
        raise ArchiveUnwritable("the manifest cannot be written", hint=hint, sqlite=f"{error} [{name}]") from error
