"""Errors of SQLite, told as what they mean for a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from manifest_parts import MAY, WS, stored

from syncer.errors import ArchiveUnwritable
from syncer.manifest.manifest import Manifest

Ask = Callable[[Manifest], Awaitable[object]]


@pytest.mark.parametrize(
    ("column", "ask"),
    [
        ("updated_at", lambda manifest: manifest.newest(WS, (MAY, ""), 9)),
        ("image_id", lambda manifest: manifest.listed(WS, lambda ids: ids, ())),
    ],
)
async def test_a_text_that_became_bytes_is_damage(tmp_path: Path, column: str, ask: Ask):
    """One bit that flips does that, and no check of SQLite's sees it: what helps is to rebuild."""
    path = tmp_path / "manifest.db"
    async with Manifest.open(path) as manifest:
        await manifest.record([stored("a"), stored("b")])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"update images set {column} = cast({column} as blob) where image_id = 'a'")

    async with Manifest.open(path) as manifest:
        with pytest.raises(ArchiveUnwritable, match="damaged") as raised:
            await ask(manifest)

    assert "rebuild" in raised.value.hint
