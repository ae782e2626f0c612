"""Bring one image in: ask, stream, check, stage; and turn what fails into an outcome, here and nowhere else."""

from __future__ import annotations

from dataclasses import replace

from structlog.contextvars import bind_contextvars

from syncer.archive.commit import Staged
from syncer.errors import Damaged, NotFound, SyncerError
from syncer.model import Failed, Fetch, Image, Outcome, Reason, Stored, Vanished
from syncer.operations.rooms import Rooms
from syncer.redaction import redact
from syncer.service.wire import decode_image

CONSISTENT_TRIES = 3


async def fetch(rooms: Rooms, action: Fetch, folder: str) -> tuple[Outcome, Staged | None]:
    """Fetch an image's bytes and stage them with its document. Raises only what ends the run."""
    image = action.image
    bind_contextvars(image=image.id)  # each image has a task, and so a context, of its own
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

    Bytes of the size that the document states belong to it. Where it states none, or another one, which may be the
    service's habit as well as a change between its two answers, asking for the document again tells which. A change
    that leaves a stated size as it was goes unseen here; the next run sees it by its `updatedAt`. Where the document
    cannot be had again the pair is kept and noted: these may be the last bytes that there are. Raises `Damaged` for an
    image that is another one each time, and what `stage` raises.
    """
    image = action.image
    for _ in range(CONSISTENT_TRIES):
        staged = await stage(rooms, image, action, folder)
        size = staged.revision.size
        if image.size == size:
            return image, staged
        try:
            fresh = await rooms.service.image(image.workspace_id, image.id)
        except NotFound:
            return image, _noted(staged, "deleted at the service while it was copied")
        except SyncerError as error:
            if error.fatal:
                raise
            return image, _noted(staged, "the service did not say whether it changed while it was copied")
        if _same(image, fresh, size):
            return image, staged
        rooms.archive.discard(staged)
        image = fresh
    raise Damaged("the image changes faster than it can be copied", image=image.id)


def _same(before: Image, after: Image, size: int) -> bool:
    """Say whether a document that was read before and after `size` bytes came is of one state of the image.

    A listing may leave out the size that the image's own document states; that one has to be the bytes'.
    """
    stated = after.size == before.size or (before.size is None and after.size == size)
    return stated and after.updated_at == before.updated_at


def _noted(staged: Staged, note: str) -> Staged:
    return replace(staged, notes=(*staged.notes, note))


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
