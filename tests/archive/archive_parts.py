"""Builders for the archive's tests: pictures, images, contents, and a look at the tree."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image as Picture

from syncer.archive.store import Archive
from syncer.model import Content, Entry, Image, Revision, State

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
FOLDER = "ws"
DAY = f"{FOLDER}/2026/03/01"


@cache
def picture(kind: str = "PNG", seed: int = 0, edge: int = 24) -> bytes:
    """Draw a picture of noise; another seed gives other bytes."""
    drawn = Picture.frombytes("RGB", (edge, edge), Random(seed).randbytes(3 * edge * edge))
    file = io.BytesIO()
    drawn.save(file, kind)
    return file.getvalue()


def image(id: str = "img", **fields: Any) -> Image:  # noqa: A002
    document = {"id": id, "updatedAt": fields.get("updated_at", "2026-03-02T00:00:00Z"), "seed": 1}
    given = {
        "workspace_id": "ws",
        "updated_at": "2026-03-02T00:00:00Z",
        "created_at": "2026-03-01T10:00:00Z",
        "document": json.dumps(document, separators=(",", ":")).encode(),
    }
    return Image(id=id, **{**given, **fields})


async def _chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[at : at + size]


def content(data: bytes, *, length: int | None = -1, chunk: int = 1 << 16, **fields: Any) -> Content:
    """Serve bytes under a header that says their true length, if not told otherwise."""
    return Content(_chunks(data, chunk), length=len(data) if length == -1 else length, **fields)


def opened(root: Path, **options: Any) -> AbstractAsyncContextManager[Archive]:
    given = {"reserve": 0, "image_bytes": 64 << 20, "clock": lambda: NOON}
    return Archive.open(root, **{**given, **options})


async def stored(
    archive: Archive, what: Image, data: bytes, *, entry: Entry | None = None, folder: str = FOLDER
) -> Revision:
    """Stage and commit one picture."""
    staged = await archive.stage(what, content(data), folder=folder, entry=entry, run="r1")
    await archive.commit([staged])
    return staged.revision


def remembered(revision: Revision) -> Entry:
    """Make the manifest's entry for a revision."""
    return Entry(
        image_id=revision.image_id,
        state=State.LIVE,
        revision=revision.number,
        updated_at="2026-03-02T00:00:00Z",
        sha256=revision.sha256,
        size=revision.size,
        media_type=revision.media_type,
        path=revision.path,
        sidecar=revision.sidecar,
    )


def tree(root: Path) -> list[str]:
    """List all files of an archive but the lock and the note of where it lives."""
    files = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in files if path not in {".staging/lock", ".staging/home"})
