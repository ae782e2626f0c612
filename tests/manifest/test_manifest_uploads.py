"""Uploads in the manifest: all of a workspace's, or those in some states."""

from __future__ import annotations

from pathlib import Path

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
