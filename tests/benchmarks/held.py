"""An archive whose manifest already knows what a listing shows, for passes that find nothing new.

A first backup of a million images takes too long to be made for a benchmark of the second one. So the rows are written
by the product's own `Manifest`, from the very pages that are served, and journal and marker by the product as well.
The pictures and sidecars are left out: an unchanged pass looks at neither (`strace` shows no call for any).
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from corpus import WORKSPACE

from syncer.archive import layout
from syncer.archive.journal import Journal
from syncer.archive.sidecar import render
from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.model import Change, Image, Introduced, Reason, Revision, Stored
from syncer.operations.chronicle import Made, digest, tell, tell_made
from syncer.operations.copying import keep_copy
from syncer.service.wire import decode_page

RUN = "20261101-000000-bench"
MADE = "2026-11-01T00:00:00Z"
FOLDER = "bench"
BATCH = 20_000


async def hold(root: Path, pages: Path) -> int:
    """Make an archive that holds all that the pages in a folder show; returns how many images that is."""
    held = 0
    async with (
        Archive.open(root, reserve=0, image_bytes=1 << 28) as archive,
        Journal.open(root, RUN) as journal,
        Manifest.open(root / layout.MANIFEST) as manifest,
    ):
        archive_id = archive.create_marker()
        tell_made(journal, Made(archive_id, MADE, digest((root / layout.MARKER).read_bytes())))
        introduced = Introduced(WORKSPACE, "bench", FOLDER)
        tell(journal, introduced, render)
        await journal.flush()
        await manifest.bind(archive_id, MADE)
        await manifest.record([introduced])
        batch: list[Change] = []
        for page in range(len(list(pages.iterdir())), 0, -1):  # the oldest first, as years of backups would have it
            images = decode_page((pages / f"{page}.json").read_bytes(), WORKSPACE).images
            batch += [stored(image) for image in reversed(images)]
            if len(batch) >= BATCH or page == 1:
                await manifest.record(batch, journal.seal)
                held, batch = held + len(batch), []
        await keep_copy(archive, manifest, root / layout.MANIFEST)
    return held


def stored(image: Image) -> Stored:
    """Say of an image what a backup would have said after keeping it."""
    day = f"{FOLDER}/{(image.created_at or '')[:10].replace('-', '/')}"
    revision = Revision(
        workspace_id=image.workspace_id,
        image_id=image.id,
        number=1,
        sha256=sha256(image.id.encode()).hexdigest(),
        size=image.size or 0,
        media_type="image/png",
        path=f"{day}/{image.id}.png",
        sidecar=f"{day}/{image.id}.json",
        fetched_at="2026-11-01T00:00:00.000Z",
        run=RUN,
        document=image.document,
    )
    return Stored(image, revision, Reason.NEW)
