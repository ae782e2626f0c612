"""Uploads in the manifest: all of a workspace's, or those in some states."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sqlite_utils import Database

from syncer.manifest.manifest import Manifest
from syncer.model import Upload, UploadState


async def test_uploads_are_returned_by_their_states(tmp_path: Path):
    """In the order of intent, of one workspace; without a word, all."""
    made = [
        Upload(workspace, f"{number}", state, "a.png", 1, f"2026-11-22T12:00:0{9 - number}Z", "2026-11-22T13:00:00Z")
        for workspace in ("w", "v")
        for number, state in enumerate(UploadState)
    ]
    async with Manifest.open(tmp_path / "manifest.db") as manifest:
        await manifest.record(made)
        mine = made[len(UploadState) - 1 :: -1]
        assert await manifest.uploads("w") == mine
        states = {UploadState.UNKNOWN, UploadState.UPLOADED}
        assert await manifest.uploads("w", states) == [upload for upload in mine if upload.state in states]
        assert await manifest.uploads("w", ()) == []


async def test_a_full_text_index_of_the_users_own_follows(tmp_path: Path):
    """As Datasette searches with, kept by triggers: an upload that comes to another state is replaced."""
    path = tmp_path / "manifest.db"
    begun = Upload("w", "1", UploadState.INTENDED, "a.png", 1, "2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z")
    async with Manifest.open(path) as manifest:
        await manifest.record([begun])
    with closing(sqlite3.connect(path)) as db:
        Database(db).table("uploads").enable_fts(["state"], create_triggers=True)

    async with Manifest.open(path) as manifest:
        await manifest.record([replace(begun, state=UploadState.DONE)])

    with closing(sqlite3.connect(path)) as db:
        found = {
            word: len(db.execute("select 1 from uploads_fts where uploads_fts match ?", [word]).fetchall())
            for word in ("intended", "done")
        }
    assert found == {"intended": 0, "done": 1}
