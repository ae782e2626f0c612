"""Builders for the ledger's tests: a ledger in its real rooms, and a disk that takes its time."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Picture

from syncer.archive.commit import Staged
from syncer.archive.journal import Journal, JournalLine, read
from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.model import Content, Failed, Image, Outcome, Reason, Stored
from syncer.operations.ledger import Ledger

WS, NOON = "ws", "2026-11-22T12:00:00Z"
PROMPT = "the words of a customer"


@dataclass
class Desk:
    """A ledger in its rooms; `settled` is what it has told as done, `time` what its clock shows."""

    archive: Archive
    journal: Journal
    manifest: Manifest
    settled: list[Outcome] = field(default_factory=list)
    time: float = 0.0

    def ledger(self) -> Ledger:
        return Ledger(self.archive, self.journal, self.manifest, self.settled.append, lambda: self.time)

    async def picture(self, name: str) -> tuple[Stored, Staged]:
        """Stage a picture, as a download does."""
        image = Image(name, WS, NOON, created_at=NOON, prompt=PROMPT, document=json.dumps({"prompt": PROMPT}).encode())
        drawn = io.BytesIO()
        Picture.new("RGB", (4, 4), sum(name.encode())).save(drawn, "PNG")

        async def chunks() -> AsyncIterator[bytes]:
            yield drawn.getvalue()

        staged = await self.archive.stage(image, Content(chunks()), folder=WS, entry=None, run="r")
        return Stored(image, staged.revision, Reason.NEW), staged

    def files(self) -> set[str]:
        """The names of the pictures and sidecars under their final names."""
        return {path.name for path in (self.archive.root / WS).rglob("*") if path.is_file()}

    def events(self) -> list[tuple[str, object]]:
        """What the journal tells, and of which image."""
        lines = [line for line in read(self.archive.root) if isinstance(line, JournalLine)]
        return [(line.event, line.facts["image"]) for line in lines]

    async def known(self, *ids: str) -> set[str]:
        return set(await self.manifest.entries(WS, ids))


@asynccontextmanager
async def furnished(root: Path) -> AsyncIterator[Desk]:
    async with (
        Archive.open(root, reserve=0, image_bytes=1 << 20) as archive,
        Manifest.open(root / "manifest.db") as manifest,
        Journal.open(root, "r") as journal,
    ):
        yield Desk(archive, journal, manifest)


def failed(name: str) -> Failed:
    return Failed(WS, name, "no answer", NOON)


async def returned(*settling: asyncio.Task[None]) -> list[bool]:
    """Give each some turns of the loop; says which have returned."""
    for _ in range(20):
        await asyncio.sleep(0)
    return [one.done() for one in settling]
