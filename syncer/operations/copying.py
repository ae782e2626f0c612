"""Keep a copy of the manifest beside it, checked, for the day on which the manifest itself is damaged."""

from __future__ import annotations

from pathlib import Path

from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.operations.tree import COPY


def copied(root: Path) -> bool:
    """Say whether there is a copy, and none that was begun and not finished."""
    return (root / COPY).exists() and not (root / f"{COPY}.new").exists()


async def keep_copy(archive: Archive, manifest: Manifest, file: Path) -> None:
    """Copy a manifest that lies in `file`, unless that would take the disk below its reserve."""
    if archive.has_room(file.stat().st_size):
        await manifest.copy(archive.root / COPY)
