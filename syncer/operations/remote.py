"""Compare what is held with what the service says and serves now: for changes that `updatedAt` does not show.

Each image of the part is asked for by its id, and its bytes are fetched again. What differs is kept as a new revision
beside the one that was held, and told as what it is: silent where `updatedAt` stayed, a plain change where it moved. An
image that the service does not know is left to the next full backup, which decides about deletions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from syncer.errors import NotFound, SyncerError
from syncer.model import Entry, Fetch, Image, Reason, Stored, Workspace
from syncer.operations.fetch import stage
from syncer.operations.ledger import Ledger
from syncer.operations.pool import Pool
from syncer.operations.rooms import Rooms
from syncer.operations.verification import Part

BATCH = 200  # images whose entries are looked up at once


@dataclass(frozen=True, slots=True)
class Differs:
    """An image that is not as it is held: both versions are kept from now on."""

    workspace_id: str
    image_id: str
    revision: int  # that holds what the service has now
    bytes_differ: bool
    document_differs: bool
    silent: bool  # `updatedAt` says that nothing changed


@dataclass(slots=True)
class Comparison:
    """What a comparison came to."""

    compared: int = 0
    silent: int = 0
    changed: int = 0
    not_found: int = 0
    unanswered: int = 0


async def compare(rooms: Rooms, part: Part, watch: Callable[[Differs], None], result: Comparison) -> None:
    """Compare the live images of the part, workspace by workspace. Raises what ends the run."""
    for workspace in await rooms.manifest.workspaces():
        async with Ledger(rooms.archive, rooms.journal, rooms.manifest, lambda _: None) as ledger:
            await _Comparing(rooms, workspace, ledger, watch, result).all(part)


class _Comparing:
    """The comparison of one workspace."""

    def __init__(
        self, rooms: Rooms, workspace: Workspace, ledger: Ledger, watch: Callable[[Differs], None], result: Comparison
    ) -> None:
        self._rooms = rooms
        self._workspace = workspace
        self._ledger = ledger
        self._watch = watch
        self._result = result

    async def all(self, part: Part) -> None:
        live = await self._rooms.manifest.absent(self._workspace.id, frozenset())
        chosen = [image_id for image_id in live if part(self._workspace.id, image_id)]
        async with Pool(self._rooms.slots) as pool:
            for start in range(0, len(chosen), BATCH):
                entries = await self._rooms.manifest.entries(self._workspace.id, chosen[start : start + BATCH])
                for entry in entries.values():
                    await pool.submit(self._one, entry)

    async def _one(self, entry: Entry) -> None:
        try:
            image = await self._rooms.service.image(self._workspace.id, entry.image_id)
            await self._compare(image, entry)
        except NotFound:
            self._result.not_found += 1
        except SyncerError as error:
            if error.fatal:
                raise
            self._result.unanswered += 1

    async def _compare(self, image: Image, entry: Entry) -> None:
        held = await self._rooms.manifest.document(self._workspace.id, entry.image_id, entry.revision)
        staged = await stage(self._rooms, image, Fetch(image, Reason.CHANGED, entry), folder="")
        self._result.compared += 1
        bytes_differ = staged.revision.sha256 != entry.sha256
        document_differs = _meaning(image.document) != _meaning(held)
        if not (bytes_differ or document_differs):
            self._rooms.archive.discard(staged)
            return
        silent = image.updated_at == entry.updated_at
        notes = ("changed at the service without a new updatedAt",) if silent else ()
        changed = Stored(image, staged.revision, Reason.CHANGED, (*staged.notes, *notes))
        await self._ledger.settle(changed, staged)
        if silent:
            self._result.silent += 1
        else:
            self._result.changed += 1
        number = staged.revision.number
        self._watch(Differs(image.workspace_id, image.id, number, bytes_differ, document_differs, silent))


def _meaning(document: bytes) -> dict[str, bytes]:
    """Read a document without its links, which may be signed anew for every answer.

    Its fields stay text: not every number that JSON can write has a value here.
    """
    fields = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    fields.pop("_links", None)
    return {name: _text(bytes(value)) for name, value in fields.items()}


def _text(value: bytes) -> bytes:
    try:
        return _canonical(value)
    except RecursionError:  # nested deeper than we can go: as it stands, without its white space
        return msgspec.json.format(value, indent=-1)


def _canonical(text: bytes) -> bytes:
    """Write a value without white space, the names in its objects sorted and their letters spelled in one way."""
    match text.strip()[:1]:
        case b"{":
            fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            pairs = (
                msgspec.json.encode(name) + b":" + _canonical(bytes(value)) for name, value in sorted(fields.items())
            )
            return b"{" + b",".join(pairs) + b"}"
        case b"[":
            items = msgspec.json.decode(text, type=list[msgspec.Raw])
            return b"[" + b",".join(_canonical(bytes(item)) for item in items) + b"]"
        case b'"':
            return msgspec.json.encode(msgspec.json.decode(text, type=str))
        case _:
            return text.strip()
