"""Bring one image in: ask, stream, check, stage; and turn what fails into an outcome, here and nowhere else."""

from __future__ import annotations

from syncer.archive.commit import Staged
from syncer.errors import Damaged, NotFound, SyncerError
from syncer.log import redact
from syncer.model import Failed, Fetch, Image, Outcome, Reason, Stored, Vanished
from syncer.operations.rooms import Rooms
from syncer.service.wire import decode_image

CONSISTENT_TRIES = 3


async def fetch(rooms: Rooms, action: Fetch, folder: str) -> tuple[Outcome, Staged | None]:
    """Fetch an image's bytes and stage them with its document. Raises only what ends the run."""
    image = action.image
    try:
        if action.reason is Reason.NEW and (kept := await rooms.archive.adopt(image, folder)) is not None:
            # An earlier run stored it and died before it could write the row, or the manifest is an older copy.
            # The row tells what is held, so it is read from what is held.
            held = decode_image(kept.document, image.workspace_id)
            return Stored(held, kept, Reason.NEW, notes=("found in the archive, not downloaded again",)), None
        image, staged = await _consistent_pair(rooms, action, folder)
        return Stored(image, staged.revision, action.reason, staged.notes), staged
    except NotFound as error:
        return await _without_content(rooms, image, error), None
    except SyncerError as error:
        if error.fatal:
            raise
        return _failed(rooms, image, error), None


async def _consistent_pair(rooms: Rooms, action: Fetch, folder: str) -> tuple[Image, Staged]:
    """Stage bytes and the document that belongs to them, though either may change while we look.

    Bytes of another size than the document promises are either the service's habit or a change between its two
    answers; asking for the document again tells which.
    """
    image = action.image
    for _ in range(CONSISTENT_TRIES):
        staged = await stage(rooms, image, action, folder)
        if image.size is None or image.size == staged.revision.size:
            return image, staged
        try:
            fresh = await rooms.service.image(image.workspace_id, image.id)
        except SyncerError as error:
            if error.fatal:
                raise
            return image, staged  # noted by the archive; a change would show as another updatedAt next time
        if fresh.updated_at == image.updated_at and fresh.size == image.size:
            return image, staged
        rooms.archive.discard(staged)
        image = fresh
    raise Damaged("the image changes faster than it can be copied", image=image.id)


async def stage(rooms: Rooms, image: Image, action: Fetch, folder: str) -> Staged:
    """Ask for the bytes until they are staged with this document, or until asking again would not help."""

    async def attempt() -> Staged:
        async with rooms.service.content(image) as content:
            if rooms.copies is not None and (match := await rooms.copies.match(content)) is not None:
                content = match.content
            return await rooms.archive.stage(image, content, folder=folder, entry=action.entry, run=rooms.run)

    return await rooms.service.retrying(attempt)


async def _without_content(rooms: Rooms, image: Image, error: NotFound) -> Outcome:
    """Tell an image that was deleted meanwhile from one whose bytes the service has lost."""
    try:
        await rooms.service.image(image.workspace_id, image.id)
    except NotFound:
        return Vanished(image.workspace_id, image.id, _now(rooms))
    except SyncerError as other:
        if other.fatal:
            raise
    return _failed(rooms, image, error)


def _failed(rooms: Rooms, image: Image, error: SyncerError) -> Failed:
    reason = redact(str(error)).encode("utf-8", "replace").decode()  # journal and manifest take whole letters only
    return Failed(image.workspace_id, image.id, reason, _now(rooms))


def _now(rooms: Rooms) -> str:
    return rooms.now().isoformat(timespec="seconds").replace("+00:00", "Z")
