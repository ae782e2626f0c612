"""Prove that an image at the service is the content that was sent: its document, then its bytes.

Where the file is at hand the bytes are compared as they come, and none are kept. Other bytes may be the same picture,
for a service that encodes anew: then both are looked at, one pair at a time, since pictures take room. What may be said
of an upload afterwards is the answer; nothing is written here.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace

from syncer.archive import proof
from syncer.archive.pictures import HEAD, judge
from syncer.errors import Damaged, NotFound, Refused
from syncer.model import Image, Upload, UploadState
from syncer.operations.likeness import Look, alike, look
from syncer.operations.rooms import Looking

HELD = 64 << 20  # bytes of a served picture that are held to be looked at; of a larger one only the hash is known
PATIENCE = (1.0, 2.0, 4.0)  # seconds: a new image may be known by its id a moment after it was made

WITHOUT_FILE = "the service serves other bytes, and the file is not there to compare the two"


@dataclass(frozen=True, slots=True)
class Served:
    """What the service serves for an image; `body` is None where it is too large to be held."""

    sha256: str
    size: int
    body: bytes | None = field(repr=False)


async def serves(rooms: Looking, image: Image, mine: bytes) -> bool:
    """Say whether the service serves exactly these bytes for an image. Raises what `content` raises."""

    async def attempt() -> bool:
        at = 0
        async with rooms.service.content(image) as content:
            if content.length not in {None, len(mine)}:
                return False
            async for chunk in content.chunks:
                if mine[at : at + len(chunk)] != chunk:
                    return False
                at += len(chunk)
        return at == len(mine)

    return await rooms.service.retrying(attempt)


async def served(rooms: Looking, image: Image) -> Served:
    """Fetch what the service serves for an image.

    Raises what `content` raises, `Damaged` for what is no whole picture, `Refused` above limits.image_bytes.
    """
    most = rooms.settings.limits.image_bytes

    async def attempt() -> Served:
        digest, size, body, whole = hashlib.sha256(), 0, bytearray(), True
        async with rooms.service.content(image) as content:
            async for chunk in content.chunks:
                size += len(chunk)
                if size > most:
                    raise Refused("the picture is larger than the limit", hint="raise limits.image_bytes", limit=most)
                digest.update(chunk)
                whole = whole and size <= HELD
                if whole or len(body) < HEAD:
                    body += chunk
                else:
                    del body[HEAD:]
        if not size:
            raise proof.nothing(image, content)
        if whole:
            await asyncio.to_thread(proof.prove, body, image, content)
        else:
            judge(content.media_type, bytes(body[:HEAD]))
        return Served(digest.hexdigest(), size, bytes(body) if whole else None)

    return await rooms.service.retrying(attempt)


@dataclass(frozen=True, slots=True)
class Prover:
    """Proves uploads, and holds at most one served picture at a time while it does."""

    rooms: Looking
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def prove(self, upload: Upload, mine: bytes | None) -> Upload:
        """Say what an upload with an image id has become, given the file's bytes where they are at hand.

        `DONE`, `REENCODED`, or `REFUSED` for another picture; `UNDECIDED` where it takes the file to tell. Raises
        `NotFound` where the service does not know the image, and other errors where nothing can be said for now.
        """
        image = await self._document(upload)
        if mine is not None and await serves(self.rooms, image, mine):
            return _proven(upload, upload.sha256)
        async with self.looking:
            theirs = await self._content(image)
            if theirs.sha256 == upload.sha256 or upload.size is None:  # of an address there is nothing to compare with
                return _proven(upload, theirs.sha256)
            if mine is None:
                return replace(upload, state=UploadState.UNDECIDED, reason=WITHOUT_FILE)
            reason = await asyncio.to_thread(_contradiction, mine, theirs.body, image)
        if reason is not None:
            reason = f"the service made another picture of it, image {image.id}: {reason}"
            return replace(upload, state=UploadState.REFUSED, served_sha256=theirs.sha256, reason=reason)
        return replace(upload, state=UploadState.REENCODED, served_sha256=theirs.sha256, reason=None)

    async def look(self, image: Image) -> tuple[str, Look | None]:
        """Return the hash of what the service serves for an image, and what it looks like, where that can be told."""
        async with self.looking:
            theirs = await self._content(image)
            return theirs.sha256, await asyncio.to_thread(look, theirs.body) if theirs.body is not None else None

    async def _document(self, upload: Upload) -> Image:
        assert upload.image_id is not None  # noqa: S101  only what has become an image can be proven
        for pause in PATIENCE:
            try:
                return await self.rooms.service.image(upload.workspace_id, upload.image_id)
            except NotFound:
                await self.rooms.sleep(pause)
        return await self.rooms.service.image(upload.workspace_id, upload.image_id)

    async def _content(self, image: Image) -> Served:
        try:
            return await served(self.rooms, image)
        except NotFound as error:  # the image is known, so nothing is said about it by this
            raise Damaged("the service does not find the image's content", image=image.id) from error


def _proven(upload: Upload, served_sha256: str) -> Upload:
    return replace(upload, state=UploadState.DONE, served_sha256=served_sha256, reason=None)


def _contradiction(mine: bytes, theirs: bytes | None, image: Image) -> str | None:
    """Say why two files are not the same picture; None where they are, or where nothing speaks against it."""
    ours, shown = look(mine), look(theirs) if theirs is not None else None
    if ours is None:
        return None
    width, height = (shown.width, shown.height) if shown is not None else (image.width, image.height)
    if width is not None and height is not None and {width, height} != {ours.width, ours.height}:  # it may be turned
        return f"{width} × {height} pixels instead of {ours.width} × {ours.height}"
    return "it looks different" if shown is not None and alike(ours, shown) is False else None
